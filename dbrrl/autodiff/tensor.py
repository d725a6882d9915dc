"""`Tensor`: an array that remembers how it was computed. The op files attach its operators, the engine `backward`."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from dbrrl.autodiff.dispatch import FUNCTIONS, PLAIN_FUNCTIONS, PLAIN_UFUNCS, UFUNCS, refuse
from dbrrl.autodiff.memory import UNSHARED, Memory, change
from dbrrl.autodiff.recording import no_grad as no_grad
from dbrrl.autodiff.recording import observing as observing
from dbrrl.autodiff.recording import state as state
from dbrrl.backend import to_device_of, to_numpy
from dbrrl.errors import DtypeError, GraphError, ShapeError


class Tensor:
    """An array that remembers how it was computed.

    Tensors decide the dtype: numbers, plain arrays (float64 ones too) and integer tensors that meet a
    floating-point tensor are cast to its type, so that float32 stays float32. Of two floating-point tensors the
    wider wins, as in NumPy.

    Args:
        data: array, nested list or number; copied, so that later changes of it cannot reach the graph.
            Python floats become float32; arrays keep their dtype.
        requires_grad: whether `backward` leaves a gradient in `grad`. Floating-point data only.

    Raises:
        DtypeError: integers, booleans or objects that ask for gradients.
        ShapeError: nested lists of unequal lengths.
        GraphError: a tensor that requires gradients; with requires_grad=True it makes a new leaf.
    """

    array: Any  # the values; library code reads this, users read `data`. Read-only where a graph computed them
    requires_grad: bool = False
    grad: Any = None  # array of the same shape (a Tensor after create_graph=True), or None
    op: Any = None  # the op that made this tensor; None for a leaf
    memory: Memory = UNSHARED  # knows when the values were changed; one for all tensors that share them

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = (data if requires_grad else constant(data, "Tensor(data)")).array
        known = isinstance(data, np.generic) or hasattr(data, "dtype")
        try:
            array = data.copy() if known and hasattr(data, "__array__") else np.array(data)
        except ValueError as error:
            raise ShapeError(f"Tensor expected a number or rows of equal lengths: {error}: pad the rows") from None
        array = np.asarray(array) if isinstance(array, np.generic) else array
        if not known and array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiub":
            raise DtypeError(f"Tensor expected numbers, got dtype {array.dtype}: pass a numeric array")
        self.array = array
        if requires_grad:
            self.requires_grad_()

    # Attached by the op files, which import this one.
    __add__: ClassVar[Callable[..., "Tensor"]]
    __radd__: ClassVar[Callable[..., "Tensor"]]
    __sub__: ClassVar[Callable[..., "Tensor"]]
    __rsub__: ClassVar[Callable[..., "Tensor"]]
    __mul__: ClassVar[Callable[..., "Tensor"]]
    __rmul__: ClassVar[Callable[..., "Tensor"]]
    __truediv__: ClassVar[Callable[..., "Tensor"]]
    __rtruediv__: ClassVar[Callable[..., "Tensor"]]
    __pow__: ClassVar[Callable[..., "Tensor"]]
    __rpow__: ClassVar[Callable[..., "Tensor"]]
    __matmul__: ClassVar[Callable[..., "Tensor"]]
    __rmatmul__: ClassVar[Callable[..., "Tensor"]]
    __neg__: ClassVar[Callable[..., "Tensor"]]
    __mod__: ClassVar[Callable[..., "Tensor"]]
    __rmod__: ClassVar[Callable[..., "Tensor"]]
    __floordiv__: ClassVar[Callable[..., Any]]
    __rfloordiv__: ClassVar[Callable[..., Any]]
    __abs__: ClassVar[Callable[..., "Tensor"]]
    __getitem__: ClassVar[Callable[..., "Tensor"]]
    sum: ClassVar[Callable[..., "Tensor"]]
    mean: ClassVar[Callable[..., "Tensor"]]
    var: ClassVar[Callable[..., "Tensor"]]
    std: ClassVar[Callable[..., "Tensor"]]
    max: ClassVar[Callable[..., "Tensor"]]
    min: ClassVar[Callable[..., "Tensor"]]
    reshape: ClassVar[Callable[..., "Tensor"]]
    transpose: ClassVar[Callable[..., "Tensor"]]
    swapaxes: ClassVar[Callable[..., "Tensor"]]
    squeeze: ClassVar[Callable[..., "Tensor"]]
    astype: ClassVar[Callable[..., Any]]
    copy: ClassVar[Callable[..., "Tensor"]]
    cumprod: ClassVar[Callable[..., "Tensor"]]
    cumsum: ClassVar[Callable[..., "Tensor"]]
    diagonal: ClassVar[Callable[..., "Tensor"]]
    dot: ClassVar[Callable[..., "Tensor"]]
    flatten: ClassVar[Callable[..., "Tensor"]]
    prod: ClassVar[Callable[..., "Tensor"]]
    ravel: ClassVar[Callable[..., "Tensor"]]
    repeat: ClassVar[Callable[..., "Tensor"]]
    take: ClassVar[Callable[..., "Tensor"]]
    trace: ClassVar[Callable[..., "Tensor"]]
    all: ClassVar[Callable[..., Any]]
    any: ClassVar[Callable[..., Any]]
    argmax: ClassVar[Callable[..., Any]]
    argmin: ClassVar[Callable[..., Any]]
    argsort: ClassVar[Callable[..., Any]]
    nonzero: ClassVar[Callable[..., Any]]
    round: ClassVar[Callable[..., Any]]
    clip: ClassVar[Callable[..., "Tensor"]]
    to: ClassVar[Callable[..., "Tensor"]]
    unchain: ClassVar[Callable[..., "Tensor"]]
    backward: ClassVar[Callable[..., None]]

    @property
    def data(self) -> Any:
        """The values, read-only on the CPU. A leaf takes others by `data = ...`, or in place inside `no_grad()`."""
        return _read_only(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self.array:
            value = np.asarray(value, dtype=self.dtype) if not hasattr(value, "dtype") else value
            if value.shape != self.shape:
                raise ShapeError(f"data: expected shape {self.shape}, got {value.shape}: make a new Tensor instead")
            if self.op is not None or self.memory.fixed:
                raise GraphError("data: expected a leaf, got a computed tensor, whose values a graph needs: copy it")
            self._make_room()
            self.array[...] = to_device_of(self.array, plain(value))  # in place: it may be a view into a flat vector
        self.changed()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one element."""
        return self.array.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.array.size  # type: ignore[no-any-return]

    @property
    def T(self) -> "Tensor":
        """The tensor with its axes reversed."""
        return self.transpose()

    @property
    def is_leaf(self) -> bool:
        """Whether a user made this tensor, rather than an op."""
        return self.op is None

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len(): expected at least one axis, got a scalar: use .item()")
        return self.shape[0]

    def __iter__(self) -> "Iterator[Tensor]":
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        made = f", op={type(self.op).__name__}" if self.op is not None else ""
        grad = ", requires_grad=True" if self.requires_grad and not made else ""
        values = np.array2string(to_numpy(self.array), separator=", ", threshold=20)
        return f"Tensor({values}, dtype={self.dtype}{grad}{made})"

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self._number("float"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def _number(self, kind: str) -> Any:
        """The value for Python's and NumPy's conversions, which ask for it without a word in `b[0] = tensor` too."""
        if self.requires_grad and state.recording:
            raise TypeError(
                f"{kind}() of a tensor that requires gradients, which would leave the graph in silence: expected "
                "tensor.item(), or tensor.detach() inside an array; to keep the gradient join tensors with F.stack"
            )
        return self.item()

    def __index__(self) -> int:
        return operator.index(to_numpy(self.array))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __eq__(self, other: object) -> Any:
        return self.array == to_device_of(self.array, plain(other))

    def __ne__(self, other: object) -> Any:
        return self.array != to_device_of(self.array, plain(other))

    def __lt__(self, other: Any) -> Any:
        return self.array < to_device_of(self.array, plain(other))

    def __le__(self, other: Any) -> Any:
        return self.array <= to_device_of(self.array, plain(other))

    def __gt__(self, other: Any) -> Any:
        return self.array > to_device_of(self.array, plain(other))

    def __ge__(self, other: Any) -> Any:
        return self.array >= to_device_of(self.array, plain(other))

    __hash__ = object.__hash__

    def __setitem__(self, index: Any, value: Any) -> None:
        self.refuse_in_place(value)
        self.array[to_device_of(self.array, index)] = to_device_of(self.array, plain(value))
        self.changed()

    def refuse_in_place(self, value: Any) -> None:
        """GraphError where a change in place by `value` would spoil or cut a graph; else get ready for it."""
        if self.op is not None or self.memory.fixed or (self.requires_grad and state.recording):
            raise GraphError(
                "in-place change of a tensor that takes part in a graph: expected a new tensor; "
                "write x = x + ..., use where() or concatenate(), or wrap the change in no_grad() if it is a leaf"
            )
        if state.recording and isinstance(value, Tensor) and value.requires_grad:
            raise GraphError(
                "in-place change by a tensor that requires gradients, which is not recorded: expected plain values; "
                "write x = x + ..., use where(), stack() or concatenate(), or value.detach() to leave the graph"
            )
        self._make_room()

    def _make_room(self) -> None:
        """Let a single number of NumPy's, which cannot be changed, be an array without axes."""
        if isinstance(self.array, np.generic):
            self.array = np.asarray(self.array)

    def share(self) -> Memory:
        """The memory of the values, for one that shows them too; of values that a graph computed it is fixed."""
        if self.memory is UNSHARED:
            self.memory = Memory(fixed=self.op is not None)
        return self.memory

    def changed(self) -> None:
        """Say that the values were changed in place: a graph recorded before refuses to go backward."""
        self.share().changed = change()

    def move(self, array: Any) -> None:
        """Hold the values in `array` from now on, as a memory of its own."""
        self.array, self.memory = array, Memory(self.memory.changed)

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number; ShapeError for any other."""
        if self.array.size != 1:
            raise ShapeError(f"item(): expected one element, got shape {self.shape}: reduce or index it first")
        return self.array.item()

    def numpy(self) -> Any:
        """The values as a NumPy array: read-only as `data`, or a copy from the GPU."""
        return to_numpy(self.data)

    def detach(self) -> "Tensor":
        """The same values cut off from the graph: a view, whose changes are changes of this tensor."""
        tensor = wrap(self.array)
        tensor.memory = self.share()
        return tensor

    def __copy__(self) -> "Tensor":
        self.share()
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def requires_grad_(self, value: bool = True) -> "Tensor":
        """Ask (or stop asking) for gradients of this leaf; returns it.

        Raises:
            DtypeError: it is of integers or booleans.
            GraphError: it is no leaf, and asking no more would cut its graph.
        """
        if not value and self.op is not None:
            raise GraphError(
                f"requires_grad_(False): expected a leaf, got what {type(self.op).__name__} computed, whose graph that "
                "would cut: use detach() for the values alone"
            )
        if value and self.array.dtype.kind != "f":
            raise DtypeError(
                f"requires_grad expected a floating-point tensor, got {self.array.dtype}: "
                "convert the data first, for example data.astype(numpy.float32)"
            )
        self.requires_grad = value
        return self

    def __pos__(self) -> "Tensor":
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values, for functions that want an array; refused where that would silently cut the graph."""
        if self.requires_grad:
            raise TypeError(
                "a Tensor that requires gradients was used as a plain array: expected tensor.numpy() or "
                "tensor.detach(), which say that the graph ends here; or F.stack([...]), which joins tensors"
            )
        return np.array(self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not None and name != "subok"}
        if given:
            raise TypeError(
                f"numpy.{ufunc.__name__}({'=..., '.join(given)}=...) is not recorded for a Tensor: expected no "
                "keywords; write the plain expression, a = a + b instead of a += b, and x.astype(dtype)"
            )
        if method == "__call__":
            function = UFUNCS.get(ufunc)
            if function is not None:
                return function(*inputs)
            if ufunc in PLAIN_UFUNCS:
                return ufunc(*(plain(x) for x in inputs))
        raise refuse(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        function = FUNCTIONS.get(func)
        if func in PLAIN_FUNCTIONS:
            return func(*map(plain, args), **{name: plain(x) for name, x in kwargs.items()})
        if function is None:
            raise refuse(func.__name__)
        return function(*args, **kwargs)


def wrap(array: Any) -> Tensor:
    """A tensor over `array` itself, without a copy."""
    tensor: Tensor = Tensor.__new__(Tensor)
    tensor.array = array
    return tensor


def wants_gradients(x: Any) -> bool:
    """Whether a gradient for `x` would be recorded now."""
    return isinstance(x, Tensor) and x.requires_grad and state.recording


def constant(x: Any, name: str) -> Any:
    """`x` where an op takes no gradient for it; GraphError, with the `name` of the argument, if it wants one."""
    if wants_gradients(x):
        raise GraphError(
            f"{name}: expected a constant, got a tensor that requires gradients, which it would not get: "
            "pass tensor.detach()"
        )
    return x


def kept(x: Any) -> Any:
    """The array inside a tensor, copied: for an op to keep, out of reach of later changes."""
    if isinstance(x, Tensor):
        return x.array.copy()
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def plain(x: Any) -> Any:
    """The array inside a tensor, an array of a list; anything else unchanged."""
    if isinstance(x, Tensor):
        return x.array
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def _read_only(array: Any) -> Any:
    if not isinstance(array, (np.ndarray, np.generic)):
        return array
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
