"""What a trace notes: steps, and the buffers that they read and write."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dbrrl.errors import DbrrlError


class Untraceable(DbrrlError):
    """What was computed cannot be part of a program; the message says what, and in which line."""


class Buffer:
    """Memory that steps read and write.

    Attributes:
        kind: "input", "own" or "fixed".
        array: the memory while tracing: a contiguous array, or for "fixed" its owner.
        size: bytes.
    """

    __slots__ = ("address", "array", "kind", "size")

    def __init__(self, kind: str, array: np.ndarray) -> None:
        self.kind, self.array, self.size = kind, array, array.nbytes
        self.address = array.__array_interface__["data"][0]


@dataclass(frozen=True, slots=True)
class Operand:
    """A place in a buffer, with the axes of an array there, strides in bytes."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int

    @property
    def extent(self) -> int:
        """Bytes from the first element to the end of the last; strides are not negative where it is asked for."""
        steps = zip(self.shape, self.strides, strict=True)
        return sum((n - 1) * stride for n, stride in steps) + self.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow one another in C order."""
        expected = self.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True


@dataclass(slots=True)
class Step:
    """One instruction: `name` of a loop or reduction, or of another kind; the first operand is written."""

    kind: str
    name: str
    operands: tuple[Operand, ...]
    numbers: tuple[int, ...] = ()
    flags: int = 0


@dataclass
class Recording:
    """The steps of one trace, and the arrays that they read and that were made by nobody we know."""

    steps: list[Step] = field(default_factory=list)
    inputs: list[Buffer] = field(default_factory=list)
    fixed: dict[int, Buffer] = field(default_factory=dict)
    learned: list[np.ndarray] = field(default_factory=list)  # memory of parameters, among what is fixed
    scalars: dict[tuple[Any, str], Buffer] = field(default_factory=dict)

    def buffer_of(self, array: np.ndarray) -> Buffer:
        """Return the buffer of an array that is not traced: the memory of its owner."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        found = self.fixed.get(id(owner))
        if found is None:
            found = self.fixed[id(owner)] = Buffer("fixed", owner)
        return found

    def scalar(self, value: Any, dtype: np.dtype[Any]) -> Buffer:
        """Return the buffer of a number as an array without axes."""
        array = np.asarray(value, dtype)
        key = (array.tobytes(), dtype.char)
        buffer = self.scalars.get(key)
        if buffer is None:
            buffer = self.scalars[key] = Buffer("fixed", array)
        return buffer


class _State(threading.local):
    recording: Recording | None = None


_state = _State()


@contextmanager
def recording(into: Recording) -> Iterator[Recording]:
    """Note what is computed with traced arrays inside a `with` block."""
    before, _state.recording = _state.recording, into
    try:
        yield into
    finally:
        _state.recording = before


def is_recording() -> bool:
    """Whether this thread records."""
    return _state.recording is not None


def are_fixed(arguments: Any) -> bool:
    """Whether all traced arrays are in memory of somebody else: another thread may use them while one traces."""
    if isinstance(arguments, tuple | list):
        return all(map(are_fixed, arguments))
    buffer = getattr(arguments, "buffer", None)
    return not isinstance(buffer, Buffer) or buffer.kind == "fixed"


def now() -> Recording:
    """Return the recording under way."""
    if _state.recording is None:
        raise Untraceable("an array of a trace was used after it: a program keeps no results but those it returns")
    return _state.recording


def place() -> str:
    """Return the line that is computing now: the first one outside of NumPy and of what records."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and (frame.f_globals.get("__name__") or "").startswith(("dbrrl.kernels", "numpy")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def refuse(what: str) -> Untraceable:
    """Return the error for what cannot be part of a program."""
    return Untraceable(f"{what}, in {place()}")
