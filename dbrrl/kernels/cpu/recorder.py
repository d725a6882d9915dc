"""Records a function of arrays, and the gradient of a loss, as a program."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dbrrl.autodiff.recording import tracing
from dbrrl.backend import add_kind, replaces
from dbrrl.backend.arrays import namespaces
from dbrrl.backend.capture import recorder
from dbrrl.kernels.cpu import numpy_functions, steps
from dbrrl.kernels.cpu.program import Program
from dbrrl.kernels.cpu.record import Recording, Step, Untraceable, recording
from dbrrl.kernels.cpu.trace import CODES, Traced, given, move, traced

Learned = Sequence[tuple[Any, np.ndarray, np.ndarray]]
"""Parameters, each with its array and the array of its gradient, which are views into the vectors of an optimizer."""


Closing = Callable[[Traced, Traced], list[Step]]


class Namespace:
    """NumPy, whose functions that make arrays of nothing make traced ones."""

    empty = staticmethod(numpy_functions.empty)
    zeros = staticmethod(numpy_functions.zeros)
    full = staticmethod(numpy_functions.full)
    ones = staticmethod(lambda shape, dtype=np.float64: numpy_functions.full(shape, 1, dtype))

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


namespaces[Traced] = Namespace()
add_kind(Traced, "program")


class Draws:
    """A generator whose draws are inputs of the program.

    Attributes:
        calls: the name and the arguments of each draw.
        drawn: what was drawn.
    """

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.drawn: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def draw(*arguments: Any, **options: Any) -> Traced:
            array = getattr(self._rng, name)(*arguments, **options)
            self.calls.append((name, arguments, options))
            self.drawn.append(array)
            return given(array).copy()

        return draw


class Recorded:
    """A recorded function.

    Attributes:
        program: what runs.
        results: the arrays with axes that were found, as the latest run left them.
        drawn: what the function drew while it was traced.
    """

    def __init__(self, record: Recording, found: Mapping[str, Any], written: Any, draws: Draws, end: Any) -> None:
        self.numbers = {name: value for name, value in found.items() if type(value) is not Traced}
        arrays = {name: value for name, value in found.items() if type(value) is Traced}
        self.scalars = [name for name, value in arrays.items() if not value.ndim]
        self.vectors = [name for name, value in arrays.items() if value.ndim]
        with recording(record):
            arrays = {name: x.copy() if x.buffer.kind == "input" else x for name, x in arrays.items()}
            packed = numpy_functions.empty(len(self.scalars) + (end is not None))
            for i, name in enumerate(self.scalars):
                move(packed[i], arrays[name])
            last = [] if end is None else end(packed[-1])
        self.program = Program(record, [packed, *(arrays[name] for name in self.vectors)], written, last)
        self.packed, *self.results = self.program.outputs
        self.run = self.program.run
        self.draws, self.drawn = draws.calls, draws.drawn
        self.fixed = [buffer.array for buffer in (*record.fixed.values(), *record.scalars.values())]
        self.steps = [(step.kind, step.name, step.numbers, step.flags) for step in record.steps]

    def draw(self, rng: Any) -> list[np.ndarray]:
        """Return what the function draws, from a generator: the last inputs of a run."""
        if len(self.draws) == 1:
            ((name, arguments, options),) = self.draws
            return [getattr(rng, name)(*arguments, **options)]
        return [getattr(rng, name)(*arguments, **options) for name, arguments, options in self.draws]

    def named(self, numbers: Sequence[float], vectors: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return results by name: of those without axes, in their order, and of the others."""
        scalars = dict(zip(self.scalars, numbers, strict=False))  # the norm is not among the metrics
        return scalars | self.numbers | dict(zip(self.vectors, vectors, strict=True))

    def differs(self, other: "Recorded") -> str:
        """Return what another trace of the same function did differently; "" if nothing."""
        if self.steps != other.steps:
            return "it computes something else from one step to the next"
        for one, two in zip(self.fixed, other.fixed, strict=True):
            if one is not two and (one.dtype != two.dtype or one.tobytes() != two.tobytes()):
                return f"an array {one.shape} of {one.dtype} is made by NumPy, and of other numbers at each step"
        return ""


class Recorder:
    """Records functions as programs of the processor."""

    refusal = Untraceable
    closing = staticmethod(steps.closing)

    @staticmethod
    def record(
        function: Callable[..., Mapping[str, Any]],
        arrays: Sequence[np.ndarray],
        learned: Learned = (),
        others: Iterable[Any] = (),
        rng: np.random.Generator | None = None,
        closing: Closing | None = None,
    ) -> Recorded:
        """Run `function` once on traced copies of `arrays`, and return it as a program.

        Args:
            function: returns arrays and numbers by name. It may leave gradients in the parameters.
            arrays: examples of the inputs; later ones have their shapes and types.
            learned: the parameters whose gradients, 0 where there is none, are written into their arrays.
            others: tensors that the function may read, whose arrays may change between calls.
            closing: returns steps that come last, given the last input, and the place of a number that they compute.
            rng: a generator; the function gets first what draws from it: the same kind of numbers at each call.

        Raises:
            Untraceable: something in it cannot be part of a program.
        """
        record = Recording()
        with np.errstate(all="ignore"), recording(record), lifted(record, learned, others):
            draws = Draws(rng)
            traced_arrays = list(map(given, arrays))
            found = function(*traced_arrays) if rng is None else function(draws, *traced_arrays)
            grads = [p.grad for p, _, _ in learned]
            written = [
                (numpy_functions.zeros(own.shape, own.dtype) if grad is None else traced(grad), own)
                for grad, (_, _, own) in zip(grads, learned, strict=True)
            ]
            end = None if closing is None else functools.partial(closing, traced_arrays[-1])
        return Recorded(record, found, written, draws, end)


@contextmanager
def lifted(record: Recording, learned: Learned, others: Iterable[Any]) -> Iterator[None]:
    """Let parameters have traced arrays and no gradients inside a `with` block."""
    tensors = {id(p): p for p in (*(p for p, _, _ in learned), *others)}.values()
    before = [(p, p.array, p.grad) for p in tensors]
    tracing.append(beside_traced)
    for p, array, _ in before:
        if array.dtype in CODES:
            p.array, p.grad = Traced(array, record.buffer_of(array)), None
    try:
        yield
    finally:
        tracing.remove(beside_traced)
        for p, array, grad in before:
            p.array, p.grad = array, grad


def beside_traced(arrays: list[Any]) -> list[Any]:
    """Return the inputs of an op with traced arrays in place of NumPy's, if one of them is traced."""
    if not any(type(x) is Traced for x in arrays):
        return arrays
    return [traced(x) if isinstance(x, np.ndarray) else x for x in arrays]


@replaces(recorder, "cpu")
def _recorder(device: str) -> Any:
    return Recorder if device == "cpu" else NotImplemented
