"""Arrays that record what is computed with them: `Traced` does as NumPy does, and notes each step for a program.

The code of a loss, of its backward pass and of networks runs once on such arrays, on real numbers, as it runs on
NumPy's. What is noted are operands in memory: which buffer, from which byte on, with which strides. A buffer is an
input of the program, memory of its own, or an array of somebody else that stays where it is, such as a parameter.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from dbrrl.kernels.cpu.record import Buffer, Operand, Step, are_fixed, is_recording, now, refuse

CODES = {
    np.dtype(np.float32): "f4", np.dtype(np.float64): "f8", np.dtype(np.int64): "i8", np.dtype(np.int32): "i4",
    np.dtype(np.int8): "i1",
    np.dtype(np.bool_): "b1", np.dtype(np.uint8): "b1",
}  # fmt: skip
HANDLERS: dict[str, Callable[..., Any]] = {}  # what traced arrays do with ufuncs, functions and indices


def plain(x: Any) -> Any:
    """Return the numbers of a traced array, alone or in a tuple or list; all else as it is."""
    if type(x) is Traced:
        return x.values
    return type(x)(plain(item) for item in x) if isinstance(x, tuple | list) else x


def given(array: np.ndarray) -> "Traced":
    """Return an input of the program, with the numbers of an array."""
    buffer = Buffer("input", np.ascontiguousarray(array))
    now().inputs.append(buffer)
    return Traced(buffer.array.reshape(array.shape), buffer)


def fresh(values: Any) -> "Traced":
    """Return an array in memory of the program's own, with these numbers."""
    own = np.array(values, order="C")
    return Traced(own, Buffer("own", own))


def traced(x: Any, dtype: Any = None) -> "Traced":
    """Return an array or a number as a traced array; one of somebody else is read where it is."""
    if type(x) is Traced:
        return x
    if isinstance(x, np.ndarray):
        if x.dtype not in CODES:
            raise refuse(f"an array of {x.dtype}")
        if not x.flags.aligned:
            raise refuse("an array that is not aligned in memory")
        return Traced(x, now().buffer_of(x))
    if isinstance(x, bool | int | float | np.generic):
        number = now().scalar(x, np.dtype(dtype) if dtype is not None else np.asarray(x).dtype)
        return Traced(number.array, number)
    raise refuse(f"an operand of type {type(x).__name__}")


class Traced(NDArrayOperatorsMixin):
    """An array whose uses are recorded.

    Args:
        values: the numbers, in the memory of the buffer.
        buffer: that memory.
    """

    __slots__ = ("buffer", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: np.ndarray, buffer: Buffer) -> None:
        self.values, self.buffer = values, buffer

    # ---- what an array says of itself ----

    dtype = property(lambda self: self.values.dtype)
    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    itemsize = property(lambda self: self.values.itemsize)
    strides = property(lambda self: self.values.strides)
    flags = property(lambda self: self.values.flags)

    @property
    def base(self) -> Any:
        """The buffer's own array, of which this one is a view; None where it is all of it."""
        return None if self.values is self.buffer.array else self.buffer

    @property
    def operand(self) -> Operand:
        """Where it is in its buffer."""
        offset = self.values.__array_interface__["data"][0] - self.buffer.address
        return Operand(self.buffer, offset, self.values.shape, self.values.strides, self.values.itemsize)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator["Traced"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Traced{self.shape} of {self.dtype}"

    # ---- what would make Python depend on a number ----

    def _number(self, *_: Any, **__: Any) -> Any:
        raise refuse("Python reads a number that the program computes (float(), if, item(), a copy to NumPy)")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = _number
    __array__ = item = tolist = get = tobytes = _number

    # ---- NumPy's protocols ----

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method != "at" and not all(type(x) in _OPERANDS or isinstance(x, np.generic) for x in inputs):
            return NotImplemented  # a tensor, for instance, does it itself
        if not is_recording() and are_fixed(inputs):
            return getattr(ufunc, method)(*plain(inputs), out=out, **options)
        return HANDLERS["ufunc"](ufunc, method, inputs, out, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if not all(t in _OPERANDS for t in types):
            return NotImplemented
        if not is_recording() and are_fixed(arguments):
            return function(*plain(arguments), **options)
        return HANDLERS["function"](function, arguments, options)

    # ---- views ----

    def _view(self, values: np.ndarray) -> "Traced":
        return Traced(values, self.buffer)

    @property
    def T(self) -> "Traced":
        """The transposed view."""
        return self._view(self.values.T)

    def transpose(self, *axes: Any) -> "Traced":
        """A view with its axes in another order."""
        return self._view(self.values.transpose(*axes))

    def swapaxes(self, one: int, other: int) -> "Traced":
        """A view with two axes exchanged."""
        return self._view(self.values.swapaxes(one, other))

    def squeeze(self, axis: Any = None) -> "Traced":
        """A view without axes of length 1."""
        return self._view(self.values.squeeze(axis))

    def reshape(self, *shape: Any, **options: Any) -> "Traced":
        """A view of another shape, or a copy where none is possible."""
        if options.get("order", "C") != "C":
            raise refuse("reshape() in another order")
        shape = shape[0] if len(shape) == 1 else shape
        view = self.values.reshape(shape, **options)
        if np.may_share_memory(view, self.values) or not view.size:
            return self._view(view)
        return self._view_of_copy(shape)

    def _view_of_copy(self, shape: Any) -> "Traced":
        copy = self.copy()
        return copy._view(copy.values.reshape(shape))

    def ravel(self, order: str = "C") -> "Traced":
        """All elements in a row."""
        return self.reshape(-1, order=order)

    def flatten(self, order: str = "C") -> "Traced":
        """All elements in a row, copied."""
        return self.ravel(order).copy()

    # ---- the rest: written with NumPy's functions ----

    def copy(self, order: str = "C") -> "Traced":
        """A copy in memory of the program's own."""
        result = fresh(self.values)
        move(result, self)
        return result

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        """The numbers in another type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self.copy() if copy else self
        return cast(self, dtype)

    def fill(self, value: Any) -> None:
        """Set all elements."""
        move(self, traced(value, self.dtype))

    def dot(self, other: Any) -> Any:
        """The matrix product."""
        if np.ndim(other) > 2:
            raise refuse("dot() by an array of more than two axes")
        return np.matmul(self, other) if self.ndim and np.ndim(other) else self * other

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
        """Elements, or rows along an axis, by their numbers."""
        if out is None and mode == "raise" and axis in (0, None) and (self.ndim == 1 or axis == 0):
            return self[indices]
        raise refuse(f"take() along axis {axis}")

    def __getitem__(self, index: Any) -> Any:
        return HANDLERS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        HANDLERS["setitem"](self, index, value)


def _method(name: str) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(np, name)(self, *arguments, **options)

    call.__name__, call.__doc__ = name, f"`numpy.{name}`."
    return call


for _name in (
    "sum", "mean", "max", "min", "prod", "any", "all", "argmax", "argmin", "std", "var", "clip", "repeat", "argsort",
    "cumsum",
):  # fmt: skip
    setattr(Traced, _name, _method(_name))


_OPERANDS = {Traced, np.ndarray, int, float, bool}


# ---- steps ----


def note(kind: str, name: str, operands: Sequence[Traced], numbers: Sequence[int] = (), flags: int = 0) -> None:
    """Note one step whose result is the first operand."""
    found = tuple(x.operand for x in operands)
    now().steps.append(Step(kind, name, found, tuple(numbers), flags))


def loop(name: str, out: Traced, *inputs: Traced) -> Traced:
    """Note an elementwise loop, whose inputs are broadcast to the shape of `out`."""
    if not out.size:
        return out
    spread = [x if x.shape == out.shape else x._view(np.broadcast_to(x.values, out.shape)) for x in inputs]
    note("loop", name, (out, *spread))
    return out


def cast(x: Traced, dtype: np.dtype[Any]) -> Traced:
    """Return x in another type."""
    if x.dtype == np.uint8 and dtype == np.bool_:
        return loop("not_equal_b1", fresh(x.values != 0), x, traced(0, np.uint8))
    check_cast(x.dtype, dtype)
    result = fresh(x.values.astype(dtype))
    return loop(f"{CODES[dtype]}_from_{CODES[x.dtype]}", result, x)


def as_type(x: Any, dtype: Any) -> Traced:
    """Return an operand in the type in which is computed."""
    array = traced(x, dtype) if isinstance(x, bool | int | float) else traced(x)
    return array if array.dtype == dtype else cast(array, dtype)


def check_own(to: Traced) -> None:
    """Refuse a write into an input of the program, or into an array of somebody else."""
    if to.buffer.kind != "own":
        raise refuse("a write into an array that is not the program's")


def move(to: Traced, x: Traced) -> None:
    """Note a copy of x, broadcast and cast, into `to`; its numbers are copied, too."""
    check_own(to)
    check_cast(x.dtype, to.dtype)
    if x.buffer is to.buffer and np.may_share_memory(x.values, to.values) and x.operand != to.operand:
        x = x.copy()  # the two may overlap
    if to.values is not x.values:
        to.values[...] = x.values
    if to.size and (x.buffer is not to.buffer or x.operand != to.operand):
        loop(f"{CODES[to.dtype]}_from_{CODES[x.dtype]}", to, x)


def check_cast(x: np.dtype[Any], to: np.dtype[Any]) -> None:
    """Refuse casts to and from bytes that no loop does: those of booleans have 0 and 1 alone."""
    if x not in CODES or to not in CODES or (x != to and (to == np.uint8 or (x == np.uint8 and to == np.bool_))):
        raise refuse(f"a cast from {x} to {to}")


def in_one_piece(x: Traced) -> bool:
    """Whether the elements follow one another in C order."""
    return x.operand.contiguous if x.ndim else True


def in_order(x: Traced) -> Traced:
    """Return x, or a copy of it whose elements follow one another in C order."""
    return x if in_one_piece(x) else x.copy()
