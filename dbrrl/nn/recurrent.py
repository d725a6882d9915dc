"""Recurrent networks: one step at a time (cells), or layers over whole sequences (RNN, GRU, LSTM)."""

import math
from typing import Any, ClassVar

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff import lstm, recurrent
from dbrrl.autodiff.sequence import Recurrence, run
from dbrrl.backend import array_module
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.nn import init
from dbrrl.nn.layers import check_sizes, generator
from dbrrl.nn.module import Module, Parameter

HiddenState = tuple[Any, ...]  # arrays (B, hidden_size): (h,), or (h, c) of an LSTM


class Cell(Module):
    """Base of the cells: maps an input (B, input_size) and a state to the next state.

    The weights of all gates are one matrix for the input (`weight_ih`) and one for the state (`weight_hh`).

    Args:
        bias: whether there are b_i and b_h.
        gain: weights orthogonal with this gain and b = 0; by default all uniform with bound 1 / √(hidden_size).
        rng: generator or seed of the initial weights; from the system's entropy if None.
    """

    op: ClassVar[type[Recurrence]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        if hidden_size < 1:
            raise ConfigError(f"{type(self).__name__}: expected a hidden_size of 1 or more, got {hidden_size}")
        rng, rows, bound = generator(rng), self.op.gates * hidden_size, 1 / math.sqrt(hidden_size)

        def start(*shape: int) -> Parameter:
            if gain is None:
                return Parameter(init.uniform(rng, shape, bound))
            return Parameter(init.orthogonal(rng, shape, gain) if len(shape) > 1 else np.zeros(shape, np.float32))

        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh = start(rows, input_size), start(rows, hidden_size)
        self.bias_ih, self.bias_hh = (start(rows) if bias else None for _ in range(2))

    def forward(self, x: Any, state: Any = None) -> Any:
        """The next state, given x (B, input_size) and the state before (zeros if None)."""
        if len(x.shape) != 2:
            raise ShapeError(f"{type(self).__name__}: expected x (B, {self.weight_ih.shape[1]}), got {x.shape}")
        one = self.op.parts == 1
        before = self.zeros(x.shape[0]) if state is None else (state,) if one else tuple(state)
        after = self.step(self.project(x), before)
        return after[0] if one else after

    def zeros(self, batch: int) -> HiddenState:
        """The state at the start of a sequence."""
        weight = self.weight_hh.array
        return (array_module(weight).zeros((batch, self.hidden_size), weight.dtype),) * self.op.parts

    def project(self, x: Any) -> Any:
        """The input's share of the gates, for all steps at once: (..., input_size) to (..., gates · hidden_size)."""
        return self.op.project(x, self.weight_ih, self.biases())

    def step(self, projected: Any, state: HiddenState) -> HiddenState:
        """The next state, given the projected input (B, gates · hidden_size)."""
        return self.op.step(projected, state, self.weight_hh, self.biases())

    def biases(self) -> tuple[Any, ...]:
        """(b_i, b_h), or () for a cell without biases."""
        return () if self.bias_ih is None else (self.bias_ih, self.bias_hh)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight_ih.shape[1]}, {self.hidden_size}"


class RNNCell(Cell):
    """One step of `functional.rnn` (Elman 1990)."""

    op = recurrent.RNN


class GRUCell(Cell):
    """One step of `functional.gru` (Cho et al. 2014): PyTorch's form and order of gates (r, z, n)."""

    op = recurrent.GRU


class LSTMCell(Cell):
    """One step of `functional.lstm` (Hochreiter & Schmidhuber 1997): PyTorch's order of gates (i, f, g, o)."""

    op = lstm.LSTM


class Recurrent(Module):
    """Base of RNN, GRU and LSTM: a stack of cells over sequences (T, B, input_size).

    Args:
        num_layers: each layer reads the outputs of the one below.
        batch_first: sequences, resets and outputs are (B, T, ...).
        bias, gain, rng: see Cell.
    """

    cell: ClassVar[type[Cell]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        bias: bool = True,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if num_layers < 1:
            raise ConfigError(f"{type(self).__name__}: expected num_layers of 1 or more, got {num_layers}")
        rng = generator(rng)
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.cells = [self.cell(size, hidden_size, bias, gain, rng) for size in sizes]
        self.batch_first = batch_first

    def forward(self, x: Any, state: Any = None, reset: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """The outputs of the last layer (T, B, hidden_size), and the state after the last step.

        Args:
            x: (T, B, input_size).
            state: (num_layers, B, hidden_size), for an LSTM a pair (h, c) of such arrays; zeros if None.
            reset: booleans (T, B): the state is zeroed before these steps (first steps of episodes).
            lengths: integers (B,), the steps in each sequence; later outputs are 0, and the state stays as it was.

        Raises:
            ShapeError: the shapes of x, the state, reset and lengths do not fit together.
        """
        if self.batch_first:
            x, reset = F.swapaxes(x, 0, 1), None if reset is None else np.transpose(reset)
        steps, ends = x.shape[0], []
        for cell, start in zip(self.cells, self._checked(x, state), strict=True):
            y = run(cell.op, x, cell.weight_ih, cell.weight_hh, start, cell.biases(), reset, lengths)
            x = y[:steps]
            ends.append([y[steps + k : steps + k + 1] for k in range(cell.op.parts)])
        final = ends[0] if len(ends) == 1 else [F.concatenate(part) for part in zip(*ends, strict=True)]
        outputs = F.swapaxes(x, 0, 1) if self.batch_first else x
        return outputs, final[0] if len(final) == 1 else tuple(final)

    def _checked(self, x: Any, state: Any) -> list[HiddenState]:
        """The initial state of each layer."""
        name, bottom = type(self).__name__, self.cells[0]
        size = bottom.weight_ih.shape[1]
        if len(x.shape) != 3 or x.shape[2] != size or not x.shape[0]:
            raise ShapeError(f"{name}: expected x (T, B, {size}) of at least one step, got {x.shape}: reshape it")
        if state is None:
            return [cell.zeros(x.shape[1]) for cell in self.cells]
        parts = (state,) if bottom.op.parts == 1 else tuple(state)
        expected = (len(self.cells), x.shape[1], bottom.hidden_size)
        got = [part.shape for part in parts]
        if got != [expected] * bottom.op.parts:
            raise ShapeError(f"{name}: expected {bottom.op.parts} states {expected}, got {got}: give what it returned")
        return [tuple(part[i] for part in parts) for i in range(len(self.cells))]

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.cells[0].describe()}, num_layers={len(self.cells)}"


class RNN(Recurrent):
    """Layers of RNNCell over sequences; the state is h (num_layers, B, hidden_size)."""

    cell = RNNCell


class GRU(Recurrent):
    """Layers of GRUCell over sequences; the state is h (num_layers, B, hidden_size)."""

    cell = GRUCell


class LSTM(Recurrent):
    """Layers of LSTMCell over sequences; the state is (h, c), each (num_layers, B, hidden_size)."""

    cell = LSTMCell
