"""Records a function of arrays, and the gradient of a loss, as a program."""

import functools
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dbrrl.autodiff.recording import tracing
from dbrrl.backend import add_kind, replaces
from dbrrl.backend.arrays import namespaces
from dbrrl.backend.capture import recorder
from dbrrl.kernels.cpu import numpy_functions, steps
from dbrrl.kernels.cpu.draws import Draws, drawing
from dbrrl.kernels.cpu.names import native
from dbrrl.kernels.cpu.program import Program
from dbrrl.kernels.cpu.record import Recording, Step, Untraceable, is_recording, recording
from dbrrl.kernels.cpu.trace import CODES, Traced, given, move, plain, traced

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


class Recorded:
    """A recorded function.

    Attributes:
        program: what runs.
        results: the arrays with axes that were found, as the latest run left them.
        runs: how many were compared with what the ops compute.
        lock: held from the draws of a run until its results are read.
        drawn: what the function drew while it was traced, until a run takes it.
        latest_draws: what the latest run was given of it.
    """

    def __init__(self, record: Recording, found: Mapping[str, Any], written: Any, draws: Draws, end: Any) -> None:
        self.lock, self.runs = threading.Lock(), 0
        self.steps, self.learned = signature(record), {id(x) for x in record.learned}
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
        self.draws, self.drawn = draws.calls, [call.drawn for call in draws.calls]
        self._settings = np.zeros(self.program.inputs[-1].size // 8 if end is not None else 0)
        self._pack = struct.Struct(f"{len(self._settings)}d").pack_into
        self.latest_draws: list[np.ndarray] = []
        self._rng: Any = None  # the generator that `_drawing` draws from
        self._drawing: list[Callable[[], np.ndarray]] = []
        self._evaluate = functools.partial(native.program_evaluate, self.program.code, tuple(self.results))
        self.fixed = [buffer.array for buffer in (*record.fixed.values(), *record.scalars.values())]

    def settings(self, values: Sequence[float]) -> np.ndarray:
        """Return the last input of a run of a gradient step: its numbers as one array, in a third of the time in which
        NumPy makes one. The array is the same at each call.
        """
        self._pack(self._settings.data, 0, *values)
        return self._settings

    def _draw(self, rng: Any) -> list[np.ndarray]:
        """Return what the function draws, the last inputs of a run: first what it drew while it was traced."""
        if self.drawn:
            drawn, self.drawn = self.drawn, []
            return drawn
        if rng is not self._rng:
            self._rng, self._drawing = rng, [drawing(rng, call) for call in self.draws]
        return [draw() for draw in self._drawing]

    def run_each(self, arrays: Sequence[np.ndarray], rows: list[np.ndarray], settings: Any) -> list[list[float]]:
        """Run a gradient step for each array of rows, with a row of settings each; return the packed numbers of each.

        There are fewer where a step did not come to its end: the ops have to take it, or to say what is wrong.
        """
        found = np.empty((len(rows), self.packed.size))
        table = np.array(settings, np.float64)
        done = native.program_run_each(self.program.code, self.packed, found, table, rows, *arrays)
        return found[:done].tolist()  # type: ignore[no-any-return]

    def evaluate(self, inputs: Sequence[np.ndarray], rng: Any = None) -> list[np.ndarray] | None:
        """Draw what the function draws from `rng`, run, and return copies of the results with axes; None where the ops
        have to compute them, or to say what is wrong. `latest_draws` is then what was drawn.
        """
        with self.lock:
            drawn = self.latest_draws = self._draw(rng) if self.draws else []
            try:
                return self._evaluate(*inputs, *drawn)  # type: ignore[no-any-return]
            except BufferError:  # an array that is not in one piece
                return self._evaluate(*map(np.ascontiguousarray, (*inputs, *drawn)))  # type: ignore[no-any-return]
            except IndexError:
                return None

    def named(self, numbers: Sequence[float], vectors: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return results by name: of those without axes, in their order, and of the others."""
        scalars = dict(zip(self.scalars, numbers, strict=False))  # the norm is not among the metrics
        return scalars | self.numbers | dict(zip(self.vectors, vectors, strict=True))

    def differs(self, other: "Recorded") -> str:
        """Return what another trace of the same function did differently; "" if nothing."""
        if self.steps != other.steps or self.draws != other.draws or len(self.fixed) != len(other.fixed):
            return "it computes something else from one step to the next"
        for name, value in self.numbers.items():
            if name not in other.numbers or not same_number(value, other.numbers[name]):
                return f"{name!r} is a number that Python computes, and another one at each step"
        for one, two in zip(self.fixed, other.fixed, strict=True):
            if one is not two and (id(one) in self.learned or id(two) in other.learned):
                return "it computes with other parameters from one step to the next"
            if one is not two and (one.dtype != two.dtype or one.tobytes() != two.tobytes()):
                return f"an array {one.shape} of {one.dtype} is made by NumPy, and of other numbers at each step"
        return ""


def signature(record: Recording) -> list[Any]:
    """Return the steps of a trace and where their operands are, such that it is the same for the same computation."""
    numbers = {id(buffer): i for i, buffer in enumerate(record.inputs)}
    return [
        (
            step.kind, step.name, step.numbers, step.flags,
            [(numbers.setdefault(id(x.buffer), len(numbers)), x.offset, x.shape, x.strides) for x in step.operands],
        )
        for step in record.steps
    ]  # fmt: skip


def same_number(one: Any, two: Any) -> bool:
    """Whether two results that were not traced are the same, NaN being NaN."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        return one.shape == two.shape and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    return bool(one == two) or (one != one and two != two)


_tracing = threading.Lock()  # parameters have traced arrays meanwhile


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
        if is_recording():
            raise Untraceable("a program inside of a program")
        record = Recording()
        with _tracing, np.errstate(all="ignore"), recording(record), lifted(record, learned, others):
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
            buffer = record.buffer_of(array)
            record.learned.append(buffer.array)
            p.array, p.grad = Traced(array, buffer), None
    try:
        yield
    finally:
        tracing.remove(beside_traced)
        for p, array, grad in before:
            p.array, p.grad = array, grad


def beside_traced(arrays: list[Any]) -> list[Any]:
    """Return the inputs of an op with traced arrays in place of NumPy's, if one of them is traced.

    In another thread than that which traces, return NumPy's arrays.
    """
    if not is_recording():
        return [plain(x) for x in arrays]
    if not any(type(x) is Traced for x in arrays):
        return arrays
    return [traced(x) if isinstance(x, np.ndarray) else x for x in arrays]


@replaces(recorder, "cpu")
def _recorder(device: str) -> Any:
    return Recorder if device == "cpu" else NotImplemented
