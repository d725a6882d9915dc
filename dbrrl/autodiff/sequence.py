"""`Recurrence`: the base of recurrent networks over whole sequences as one op, a loop forwards and one backwards."""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from dbrrl.autodiff.arithmetic import where
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.linear import linear
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.shape import reshape, stack
from dbrrl.autodiff.tensor import Tensor, plain, state
from dbrrl.backend import array_module, to_device_of
from dbrrl.errors import ShapeError

Arrays = tuple[Any, ...]
Masks = dict[int, Any]  # booleans (B, 1) of those steps at which not all are True
CHUNK = 1 << 19  # bytes of gates that are computed in one call: many steps, and still in cache
SMALL = 1 << 13  # elements of a gate's matrix up to which a product per step and gate is as quick as one for all
FEW = 64  # rows of all steps together for which reordering the weights costs more than it saves


class Recurrence(Op, abc.ABC):
    """State t from x[t] and state t - 1, for all t; its gradient is backpropagation through time (Werbos 1990).

    Inputs: x (T, B, n), W_i (gates H, n), W_h (gates H, H), each part of the state (B, H), then b_i and b_h (gates H,)
    or none. The output (T + parts, B, H) is h of every step, and under it the parts of the state after the last.

    Args:
        keep: where the state is kept before a step, not set to 0.
        alive: where a sequence still goes on; elsewhere the output is 0 and the state stays.
        saves: whether a backward pass may follow.
    """

    gates: ClassVar[int]
    parts: ClassVar[int] = 1  # arrays in a state
    slots: ClassVar[int]  # kinds of gradients: one per gate, or more where input and state do not share it

    def __init__(self, keep: Masks, alive: Masks, saves: bool = True) -> None:
        self.keep, self.alive, self.saves = keep, alive, saves

    @staticmethod
    def bias(biases: Arrays) -> Any:
        """Return the bias that is added to the input's share of the gates; None if there is none."""
        return biases[0] + biases[1] if biases else None

    @classmethod
    def project(cls, x: Any, w: Any, biases: Arrays) -> Any:
        """The input's share of the gates: (..., n) to (..., gates H), for all steps at once."""
        return linear(x, w, cls.bias(biases))

    @staticmethod
    @abc.abstractmethod
    def step(projected: Any, state: Arrays, w: Any, biases: Arrays) -> Arrays:
        """The next state, given the projected input (B, gates H), in recorded ops."""

    @abc.abstractmethod
    def forwards(self, projected: Iterator[Any], w: Any, biases: Arrays, y: Any) -> Callable[..., Arrays]:
        """A function from each state to the next, which writes its h to the next row of y.

        `projected` gives the input's share (gates, B, H) of each step, `bias` included; `w` (gates, H, H) is W_h with
        each gate's matrix transposed.
        """

    @abc.abstractmethod
    def backwards(self, d: Any, w: Any, y: Any, before: Any) -> Callable[..., Arrays]:
        """A function from the gradient of each state to that of the one before it, from the last step to the first.

        It writes those of the gates to `d` (T, B, slots H); `before` (T, B, H) is h before each step.
        """

    @staticmethod
    def shares(d: Any) -> tuple[Any, Any]:
        """Split slots (..., slots H) into the gradients (..., gates H) of the input's and of the state's share."""
        return d, d

    def room(self, y: Any, steps: int, *shape: int) -> Any:
        """An empty array for each step: one and the same if no backward pass will read it."""
        return empty(y, steps, *shape) if self.saves else [empty(y, *shape)] * steps

    def forward(self, x: Any, w_ih: Any, w_hh: Any, *rest: Any) -> Any:
        (steps, batch, n), size = x.shape, w_hh.shape[1]
        state, biases = rest[: self.parts], rest[self.parts :]
        y = array_module(x).empty((steps + self.parts, batch, size), np.result_type(x, w_ih, w_hh, *rest))
        w_ih, w_hh = w_ih.reshape(-1, size, n).transpose(0, 2, 1), w_hh.reshape(-1, size, size).transpose(0, 2, 1)
        if steps * batch > FEW:
            w_ih, w_hh = w_ih.copy(), w_hh.copy()
        step = self.forwards(_projected(x, w_ih, self.bias(biases)), w_hh, biases, y)
        for t in range(steps):
            if t in self.keep:
                state = tuple(part * self.keep[t] for part in state)
            after = step(*state)
            if t in self.alive:
                after = tuple(np.where(self.alive[t], new, old) for new, old in zip(after, state, strict=True))
                y[t] *= self.alive[t]
            state = after
        for t, part in enumerate(state, steps):
            y[t] = part
        return y

    def backward(self, g: Any, y: Any, *inputs: Any) -> Any:
        if isinstance(g, Tensor):
            return _gradients(self.recorded, inputs, g)
        x, w_ih, w_hh, h = inputs[:4]
        steps, batch, n = x.shape
        before = np.concatenate([h[None], y[: steps - 1]])
        for t, mask in self.keep.items():
            before[t] *= mask
        d = empty(y, steps, batch, self.slots * w_hh.shape[1])
        flow = self.scan_back(g, y, inputs, before, d)
        d = d.reshape(steps * batch, d.shape[-1])
        gx = self.shares(d)[0].dot(w_ih).reshape(x.shape) if self.needs(0) else None
        biases = range(3 + self.parts, len(inputs))
        if not any(self.needs(i) for i in (1, 2, *biases)):
            return gx, None, None, *flow, *(None for _ in biases)
        ones = np.ones_like(y, shape=(steps, batch, 1))
        read = np.concatenate([x, ones, before], -1).reshape(steps * batch, n + 1 + w_hh.shape[1])
        ih, hh = self.shares(read.T.dot(d))  # the gradients of all weights in one product
        return gx, ih[:n].T, hh[n + 1 :].T, *flow, *((ih[n], hh[n]) if biases else ())

    def scan_back(self, g: Any, y: Any, inputs: Arrays, before: Any, d: Any) -> Arrays:
        """Fill `d` (T, B, slots H) from the last step to the first; return the gradient of the first state."""
        step = self.backwards(d, inputs[2], y, before)
        flow: Arrays = tuple(g[len(d) :].copy())  # the gradient of the state after step t
        for t in range(len(d) - 1, -1, -1):
            arriving, mask = g[t], self.alive.get(t)
            if mask is not None:
                past = tuple(part * ~mask for part in flow)
                arriving, flow = arriving * mask, tuple(part * mask for part in flow)
            h = flow[0]
            h += arriving
            flow = step(*flow)
            if mask is not None:
                flow = tuple(a + b for a, b in zip(flow, past, strict=True))
            if t in self.keep:
                flow = tuple(part * self.keep[t] for part in flow)
        return flow

    def recorded(self, x: Any, w_ih: Any, w_hh: Any, *rest: Any) -> Any:
        """The output of `forward` step by step in recorded ops, whose gradients can be differentiated again."""
        state, biases = rest[: self.parts], rest[self.parts :]
        outputs = []
        for t, projected in enumerate(_rows(self.project(x, w_ih, biases))):
            if t in self.keep:
                state = tuple(part * self.keep[t] for part in state)
            after = self.step(projected, state, w_hh, biases)
            outputs.append(after[0])
            if t in self.alive:
                outputs[t] = outputs[t] * self.alive[t]
                after = tuple(where(self.alive[t], new, old) for new, old in zip(after, state, strict=True))
            state = after
        return stack([*outputs, *state])


def empty(near: Any, *shape: int) -> Any:
    """An array without values, of the type and on the device of `near`."""
    return array_module(near).empty(shape, near.dtype)


def chunks(steps: int, bytes_of_one: int) -> Iterator[slice]:
    """Slices of the steps, from the last to the first, of CHUNK bytes or a little more."""
    size = CHUNK // max(1, bytes_of_one) + 1
    for end in range(steps, 0, -size):
        yield slice(max(end - size, 0), end)


def _projected(x: Any, w: Any, bias: Any) -> Iterator[Any]:
    """The input's share of the gates (gates, B, H), step by step."""
    (steps, batch, n), (gates, _, size) = x.shape, w.shape
    bias = None if bias is None else bias.reshape(gates, 1, size)
    for part in reversed([*chunks(steps, gates * batch * size * w.itemsize)]):
        rows = x[part]
        if n * size <= SMALL:
            share = np.matmul(rows[:, None], w)
        else:
            share = np.matmul(rows.reshape(len(rows) * batch, n), w).reshape(gates, len(rows), batch, size)
            share = share.swapaxes(0, 1)
        if bias is not None:
            share += bias
        yield from share


def run(
    kind: type[Recurrence],
    x: Any,
    w_ih: Any,
    w_hh: Any,
    start: Arrays,
    biases: Arrays,
    reset: Any = None,
    lengths: Any = None,
) -> Any:
    """The output of a Recurrence of this kind; `reset` and `lengths` as in `rnn`.

    Raises:
        ShapeError: the arguments do not fit one another.
    """
    inputs, name = (x, w_ih, w_hh, *start, *biases), kind.__name__.lower()
    got, rows, size = [a.shape for a in inputs], kind.gates, w_hh.shape[-1]
    steps, batch, n = got[0] if len(got[0]) == 3 else (0, 0, 0)
    expected = [(steps, batch, n), (rows * size, n), (rows * size, size), *[(batch, size)] * kind.parts]
    if not steps or got != [*expected, *[(rows * size,)] * len(biases)] or len(biases) == 1:
        raise ShapeError(
            f"{name}: expected x (T, B, n) of at least one step, weights ({rows} H, n) and ({rows} H, H), "
            f"{kind.parts} (B, H) of state, both biases ({rows} H,) or none, got {got}: reshape them"
        )
    keep, alive = ({}, {}) if reset is lengths is None else _masks(name, (steps, batch), reset, lengths, plain(w_hh))
    tracked = state.recording and any(isinstance(a, Tensor) and a.requires_grad for a in inputs)
    return kind(keep, alive, tracked)(*inputs)


def parted(kind: type[Recurrence], x: Any, w_ih: Any, w_hh: Any, start: Arrays, biases: Arrays, *ends: Any) -> Arrays:
    """The outputs, then each part of the last state."""
    y = run(kind, x, w_ih, w_hh, start, tuple(b for b in biases if b is not None), *ends)
    return y[: len(x)], *(y[len(x) + k] for k in range(kind.parts))


def _masks(name: str, shape: tuple[int, int], reset: Any, lengths: Any, near: Any) -> tuple[Masks, Masks]:
    """`keep` and `alive` of a Recurrence over (T, B), as arrays on the device of `near`."""
    keep = np.ones(shape, bool) if reset is None else ~np.asarray(reset, bool)
    alive = np.ones(shape, bool) if lengths is None else np.arange(shape[0])[:, None] < np.asarray(lengths)
    for argument, mask in (("reset", keep), ("lengths", alive)):
        if mask.shape != shape:
            given = f"{name}: expected {argument} for {shape[0]} steps of {shape[1]} sequences"
            raise ShapeError(f"{given}, got {mask.shape}: one entry each")
    keep |= ~alive  # what comes after the end of a sequence is no part of it
    found = []
    for mask in (keep, alive):
        steps = np.flatnonzero(~mask.all(1)).tolist()
        found.append(dict(zip(steps, to_device_of(near, mask[steps][..., None]), strict=True)))
    return found[0], found[1]


def _rows(x: Any) -> Sequence[Any]:
    """The steps x[0], x[1], ...: halved again and again, so that the gradients of all T slices cost T log T, not T²."""
    steps: int = x.shape[0]
    if steps == 1:
        return [reshape(x, x.shape[1:])]
    if not (isinstance(x, Tensor) and x.requires_grad):
        return x  # type: ignore[no-any-return]
    return [*_rows(x[: steps // 2]), *_rows(x[steps // 2 :])]


def _gradients(function: Callable[..., Any], inputs: Arrays, g: Tensor) -> Arrays:
    """Gradients, themselves recorded, of `function` for each input that wants one, given that of its output.

    The walk that finds them must stop at the inputs, which the walk now under way has still to go through: so it sees
    copies that are leaves, and only then are these tied to the inputs, for the walk of the second derivatives.
    """
    copies = [reshape(x, x.shape) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
    wanted = [x for x in copies if isinstance(x, Tensor) and x.requires_grad]
    ties = [x.op for x in wanted]
    for x in wanted:
        x.op = None
    try:
        found = iter(grad(function(*copies), wanted, g, create_graph=True, allow_unused=True))
    finally:
        for x, op in zip(wanted, ties, strict=True):
            x.op = op
    return tuple(next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in copies)
