"""Recurrent networks: one step at a time (cells), or whole sequences in a Python loop (RNN, GRU, LSTM)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module, device_name, to_device
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.nn import init
from dbrrl.nn.layers import generator
from dbrrl.nn.module import Module, Parameter

State = tuple[Any, ...]  # one array (B, hidden_size) per part: (h,), or (h, c) of an LSTM


class Cell(Module):
    """Base of the cells: (B, input_size) and a state to the next state; all gates' weights lie in one matrix each.

    Args:
        bias: whether there are b_i and b_h.
        gain: weights orthogonal with this gain and b = 0; by default all uniform with bound 1 / √(hidden_size).
        rng: generator or seed of the initial weights; from the system's entropy if None.
    """

    gates: ClassVar[int] = 1
    parts: ClassVar[int] = 1  # arrays in a state

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if hidden_size < 1:
            raise ConfigError(f"{type(self).__name__}: expected a hidden_size of 1 or more, got {hidden_size}")
        rng, rows, bound = generator(rng), self.gates * hidden_size, 1 / math.sqrt(hidden_size)

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
        before = self.zeros(x.shape[0]) if state is None else (state,) if self.parts == 1 else tuple(state)
        after = self.step(self.project(x), before)
        return after[0] if self.parts == 1 else after

    def zeros(self, batch: int) -> State:
        """The state at the start of a sequence."""
        weight = self.weight_hh.array
        return (array_module(weight).zeros((batch, self.hidden_size), weight.dtype),) * self.parts

    def project(self, x: Any) -> Any:
        """What the input adds to the gates: (..., input_size) to (..., gates · hidden_size), for all steps at once."""
        return F.linear(x, self.weight_ih, None if self.bias_ih is None else self.bias_ih + self.bias_hh)

    def step(self, projected: Any, state: State) -> State:
        """The next state, given the projected input (B, gates · hidden_size)."""
        raise NotImplementedError

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight_ih.shape[1]}, {self.hidden_size}"


class RNNCell(Cell):
    """h' = tanh(W_i x + b_i + W_h h + b_h) (Elman 1990)."""

    def step(self, projected: Any, state: State) -> State:
        """One step of tanh."""
        return (F.tanh(projected + F.linear(state[0], self.weight_hh)),)


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014) in PyTorch's form and order of gates (r, z, n).

    r = σ(W_ir x + b_ir + W_hr h + b_hr), z = σ(W_iz x + b_iz + W_hz h + b_hz),
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.
    """

    gates = 3

    def project(self, x: Any) -> Any:
        """The input's share alone: b_hn is gated by r, so that b_h belongs to the state's share."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def step(self, projected: Any, state: State) -> State:
        """Two gates, then the candidate."""
        (h,), n = state, self.hidden_size
        recurrent = F.linear(h, self.weight_hh, self.bias_hh)
        gates = F.sigmoid(projected[:, : 2 * n] + recurrent[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        candidate = F.tanh(projected[:, 2 * n :] + r * recurrent[:, 2 * n :])
        return (candidate + z * (h - candidate),)


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000).

    The order of gates is PyTorch's (i, f, g, o):
    (i, f, o) = σ(W_i x + b_i + W_h h + b_h), g = tanh(the same with its own rows), c' = f c + i g, h' = o tanh c'.
    """

    gates, parts = 4, 2

    def step(self, projected: Any, state: State) -> State:
        """Four gates, then cell and output."""
        (h, c), n = state, self.hidden_size
        a = projected + F.linear(h, self.weight_hh)
        gates = F.sigmoid(a)  # one call for three gates is quicker than three; that of g's columns goes unused
        g = F.tanh(a[:, 2 * n : 3 * n])
        c = gates[:, n : 2 * n] * c + gates[:, :n] * g
        return gates[:, 3 * n :] * F.tanh(c), c


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
        """Outputs of the last layer (T, B, hidden_size), and the state after the last step, to go on from.

        Args:
            x: (T, B, input_size).
            state: (num_layers, B, hidden_size), for an LSTM a pair (h, c) of them; zeros if None.
            reset: booleans (T, B): the state is zeroed before these steps (first steps of episodes).
            lengths: integers (B,): a sequence ends after so many steps; later outputs are 0, and its state stays.

        Raises:
            ShapeError: x, the state, reset or lengths do not fit one another.
        """
        x = F.swapaxes(x, 0, 1) if self.batch_first else x
        states = self._checked(x, state)
        keep, alive = self._masks(x.shape[:2], reset, lengths)
        ends = []
        for cell, start in zip(self.cells, states, strict=True):
            x, end = _run(cell, x, start, keep, alive)
            ends.append(end)
        final = tuple(F.stack(part) for part in zip(*ends, strict=True))
        outputs = F.swapaxes(x, 0, 1) if self.batch_first else x
        return outputs, final[0] if len(final) == 1 else final

    def _checked(self, x: Any, state: Any) -> list[State]:
        """One state per layer."""
        name, bottom = type(self).__name__, self.cells[0]
        size = bottom.weight_ih.shape[1]
        if len(x.shape) != 3 or x.shape[2] != size or not x.shape[0]:
            raise ShapeError(f"{name}: expected x (T, B, {size}) of at least one step, got {x.shape}: reshape it")
        if state is None:
            return [cell.zeros(x.shape[1]) for cell in self.cells]
        parts = (state,) if bottom.parts == 1 else tuple(state)
        expected = (len(self.cells), x.shape[1], bottom.hidden_size)
        got = [np.shape(part) for part in parts]
        if got != [expected] * bottom.parts:
            raise ShapeError(f"{name}: expected {bottom.parts} states {expected}, got {got}: give what it returned")
        return [tuple(part[i] for part in parts) for i in range(len(self.cells))]

    def _masks(self, shape: tuple[int, int], reset: Any, lengths: Any) -> tuple[Any, Any]:
        """Plain booleans (T, B, 1): where the state is kept before a step, and where a sequence still goes on."""
        keep = alive = None
        if reset is not None:
            reset = np.asarray(reset, bool)
            keep = ~(reset.T if self.batch_first else reset)[..., None]
        if lengths is not None:
            alive = (np.arange(shape[0])[:, None] < np.asarray(lengths))[..., None]
        for name, mask in (("reset", keep), ("lengths", alive)):
            if mask is not None and mask.shape != (*shape, 1):
                where = f"{type(self).__name__}: expected {name} for {shape[0]} steps of {shape[1]} sequences"
                raise ShapeError(f"{where}, got {mask.shape[:-1]}: one entry each")
        return keep, alive

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.cells[0].describe()}, num_layers={len(self.cells)}"


def _run(cell: Cell, x: Any, state: State, keep: Any, alive: Any) -> tuple[Any, State]:
    """Outputs of one layer for all steps of x (T, B, n), and its last state."""
    outputs, device = [], device_name(cell.weight_hh.array)
    for t, projected in enumerate(_rows(cell.project(x))):
        if keep is not None and not keep[t].all():
            mask = to_device(keep[t], device)
            state = tuple(part * mask for part in state)
        after = cell.step(projected, state)
        output = after[0]
        if alive is not None and not alive[t].all():
            mask = to_device(alive[t], device)
            after = tuple(F.where(mask, new, old) for new, old in zip(after, state, strict=True))
            output = output * mask
        state = after
        outputs.append(output)
    return F.stack(outputs), state


def _rows(x: Any) -> Sequence[Any]:
    """The steps x[0], x[1], ...: halved again and again, so that the gradients of all T slices cost T log T, not T²."""
    steps: int = x.shape[0]
    if steps == 1:
        return [F.reshape(x, x.shape[1:])]
    if not (isinstance(x, Tensor) and x.requires_grad):
        return x  # type: ignore[no-any-return]
    return [*_rows(x[: steps // 2]), *_rows(x[steps // 2 :])]


class RNN(Recurrent):
    """Layers of RNNCell over sequences; the state is h (num_layers, B, hidden_size)."""

    cell = RNNCell


class GRU(Recurrent):
    """Layers of GRUCell over sequences; the state is h (num_layers, B, hidden_size)."""

    cell = GRUCell


class LSTM(Recurrent):
    """Layers of LSTMCell over sequences; the state is (h, c), each (num_layers, B, hidden_size)."""

    cell = LSTMCell
