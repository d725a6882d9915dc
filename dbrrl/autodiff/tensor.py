"""The define-by-run engine: `Tensor` holds an array, `Op` records how it was made, `walk` goes back."""

import functools
import heapq
import itertools
import operator
import sys
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import numpy as np

from dbrrl.backend import to_device, to_numpy
from dbrrl.errors import DbrrlError, DtypeError, GraphError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")
UFUNCS: dict[Any, Callable[..., Any]] = {}  # np.tanh -> the op's function; filled by the op files
FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # np.concatenate -> the op's function


class _State(threading.local):
    recording = True
    observer: Any = None  # while debugging: calls an op's forward and backward in the engine's place


state = _State()
observing: list[Any] = []  # the observers of all threads: quicker to find empty than a thread's own
_order = itertools.count(0, -1)  # newer ops get smaller numbers: a heap yields the newest first
_watched: "dict[int, weakref.ref[Any]]" = {}  # arrays that `data` handed out and that are still alive


class no_grad:
    """Context manager and decorator: ops inside compute without recording a graph (this thread only)."""

    def __enter__(self) -> None:
        self.before = state.recording
        state.recording = False

    def __exit__(self, *_: object) -> None:
        state.recording = self.before

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with recording switched off inside."""

        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with no_grad():
                return function(*args, **kwargs)

        return inside


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
    """

    array: Any  # the values; library code reads this, users read `data`
    requires_grad: bool = False
    grad: Any = None  # array of the same shape (a Tensor after create_graph=True), or None
    op: "Op | None" = None  # the op that made this tensor; None for a leaf
    version: int = 0  # counts in-place changes
    handed_out: int = 0  # arrays from `data` that are alive, through which the values may change unseen
    fingerprint: int = 0  # of the values when last looked at

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.array
        known = isinstance(data, np.generic) or hasattr(data, "dtype")
        array = data.copy() if known and hasattr(data, "__array__") else np.array(data)
        array = np.asarray(array) if isinstance(array, np.generic) else array
        if not known and array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiub":
            raise DtypeError(f"Tensor expected numbers, got dtype {array.dtype}: pass a numeric array")
        self.array = array
        if requires_grad:
            self.requires_grad_()

    # Attached by the op files, which stand on the floor above.
    __add__: ClassVar[Callable[..., Any]]
    __radd__: ClassVar[Callable[..., Any]]
    __sub__: ClassVar[Callable[..., Any]]
    __rsub__: ClassVar[Callable[..., Any]]
    __mul__: ClassVar[Callable[..., Any]]
    __rmul__: ClassVar[Callable[..., Any]]
    __truediv__: ClassVar[Callable[..., Any]]
    __rtruediv__: ClassVar[Callable[..., Any]]
    __pow__: ClassVar[Callable[..., Any]]
    __rpow__: ClassVar[Callable[..., Any]]
    __matmul__: ClassVar[Callable[..., Any]]
    __rmatmul__: ClassVar[Callable[..., Any]]
    __neg__: ClassVar[Callable[..., Any]]
    __abs__: ClassVar[Callable[..., Any]]
    __getitem__: ClassVar[Callable[..., Any]]
    sum: ClassVar[Callable[..., Any]]
    mean: ClassVar[Callable[..., Any]]
    var: ClassVar[Callable[..., Any]]
    std: ClassVar[Callable[..., Any]]
    max: ClassVar[Callable[..., Any]]
    min: ClassVar[Callable[..., Any]]
    reshape: ClassVar[Callable[..., Any]]
    transpose: ClassVar[Callable[..., Any]]
    swapaxes: ClassVar[Callable[..., Any]]
    squeeze: ClassVar[Callable[..., Any]]
    astype: ClassVar[Callable[..., Any]]
    clip: ClassVar[Callable[..., Any]]

    @property
    def data(self) -> Any:
        """The values. Read-only for a computed tensor; a change of a leaf's values is noticed by `backward`."""
        return _read_only(self.array) if self.op is not None else _hand_out(self)

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self.array:
            value = np.asarray(value, dtype=self.dtype) if not hasattr(value, "dtype") else value
            if value.shape != self.shape:
                raise ShapeError(f"data: expected shape {self.shape}, got {value.shape}: make a new Tensor instead")
            if self.op is not None:
                raise GraphError("data: expected a leaf, got a computed tensor, whose values a graph needs: copy it")
            self.array[...] = value  # into the same memory: it may be a view into a flat vector
        self.version += 1
        self.fingerprint = _fingerprint(self.array)

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
    def T(self) -> Any:
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

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        made = f", op={type(self.op).__name__}" if self.op is not None else ""
        grad = ", requires_grad=True" if self.requires_grad and not made else ""
        values = np.array2string(to_numpy(self.array), separator=", ", threshold=20)
        return f"Tensor({values}, dtype={self.dtype}{grad}{made})"

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.array)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __eq__(self, other: object) -> Any:
        return self.array == plain(other)

    def __ne__(self, other: object) -> Any:
        return self.array != plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.array < plain(other)

    def __le__(self, other: Any) -> Any:
        return self.array <= plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.array > plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.array >= plain(other)

    __hash__ = object.__hash__

    def __setitem__(self, index: Any, value: Any) -> None:
        self._refuse_in_place()
        if not self.requires_grad and self.array.base is None and sys.getrefcount(self.array) > 2:
            self.array = self.array.copy()  # a view of it may be needed by a graph
        self.array[index] = plain(value)
        self.version += 1

    def _refuse_in_place(self) -> None:
        if self.op is not None or (self.requires_grad and state.recording):
            raise GraphError(
                "in-place change of a tensor that takes part in a graph: expected a new tensor; "
                "use where() or concatenate(), or wrap the change in no_grad() if it is a leaf"
            )

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        return self.array.item()

    def numpy(self) -> Any:
        """The values as a NumPy array (copied from the GPU where needed); as `data`, read-only if computed."""
        return to_numpy(np.asarray(self.data) if isinstance(self.array, np.generic) else self.data)

    def detach(self) -> "Tensor":
        """The same values cut off from the graph."""
        return wrap(self.data)

    def requires_grad_(self, value: bool = True) -> "Tensor":
        """Ask (or stop asking) for gradients of this leaf; returns it."""
        if value and self.array.dtype.kind != "f":
            raise DtypeError(
                f"requires_grad expected a floating-point tensor, got {self.array.dtype}: "
                "convert the data first, for example data.astype(numpy.float32)"
            )
        self.requires_grad = value
        return self

    def to(self, device: str) -> "Tensor":
        """The same values on `device` ("cpu", "cuda", "cuda:1"), cut off from the graph; itself if already there."""
        moved = to_device(self.array, device)
        if moved is self.array:
            return self
        return wrap(moved).requires_grad_(self.requires_grad)

    def backward(self, grad: Any = None, create_graph: bool = False, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to `grad` of every leaf it was computed from.

        Args:
            grad: gradient of the final quantity with respect to this tensor, same shape; 1 for a scalar.
            create_graph: record the backward pass too, so that gradients can be differentiated again.
            retain_graph: keep the graph for another backward; otherwise it is freed as it is walked.

        Raises:
            GraphError: a non-scalar without `grad`, nothing to differentiate, a graph walked before and freed,
                or an array that was changed in place since it was recorded.
        """
        backward([self], [grad], create_graph, retain_graph)

    def __pos__(self) -> "Tensor":
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values, for functions that want an array; refused where that would silently cut the graph."""
        if self.requires_grad:
            raise TypeError(
                "a Tensor that requires gradients was used as a plain array: expected tensor.numpy() or "
                "tensor.detach(), which say that the graph ends here"
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
            if ufunc in _PLAIN_UFUNCS:
                return ufunc(*(plain(x) for x in inputs))
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise TypeError(
            f"numpy.{name} has no gradient here: expected one of dbrrl.functional; "
            "or pass tensor.data to compute on the plain array"
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        function = FUNCTIONS.get(func)
        if func in _PLAIN_FUNCTIONS:
            return func(*map(plain, args), **{name: plain(x) for name, x in kwargs.items()})
        if function is None:
            raise TypeError(
                f"numpy.{func.__name__} has no gradient here: expected one of dbrrl.functional; "
                "or pass tensor.data to compute on the plain array"
            )
        return function(*args, **kwargs)


_PLAIN_UFUNCS = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isfinite, np.isnan, np.isinf,
    np.floor, np.ceil, np.rint, np.logical_and, np.logical_or, np.logical_not, np.signbit,
}  # fmt: skip


_PLAIN_FUNCTIONS = {
    np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.any, np.all,
    np.isclose, np.allclose, np.array_equal, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.result_type,
}  # fmt: skip


def wrap(array: Any) -> Tensor:
    """A tensor over `array` itself, without a copy."""
    tensor: Tensor = Tensor.__new__(Tensor)
    tensor.array = array
    return tensor


def plain(x: Any) -> Any:
    """The array inside a tensor, an array of a list; anything else unchanged."""
    if isinstance(x, Tensor):
        return x.array
    return np.asarray(x) if isinstance(x, (list, tuple)) else x


def _read_only(array: Any) -> Any:
    view = np.asarray(array).view() if isinstance(array, (np.ndarray, np.generic)) else array
    if isinstance(view, np.ndarray):
        view.flags.writeable = False
    return view


def _fingerprint(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).data)


def _hand_out(tensor: Tensor) -> Any:
    """The values of a leaf to look at and to change: watched until the array and all views of it are gone."""
    tensor.fingerprint = _fingerprint(tensor.array)
    tensor.handed_out += 1
    if not isinstance(tensor.array, np.ndarray) or not tensor.array.size:
        return np.asarray(tensor.array) if isinstance(tensor.array, np.generic) else tensor.array
    values: Any = tensor.array
    array = np.asarray(memoryview(values))  # over a buffer: views of it keep it alive, not what lies below
    key, owner = id(array), weakref.ref(tensor)

    def gone(_: Any) -> None:
        _watched.pop(key, None)
        if (alive := owner()) is not None:
            _notice_changes((alive,))
            alive.handed_out -= 1

    _watched[key] = weakref.ref(array, gone)
    return array


def _notice_changes(inputs: Sequence[Any]) -> None:
    """Count a change that was made through an array that `data` handed out."""
    for x in inputs:
        if isinstance(x, Tensor) and x.handed_out:
            now = _fingerprint(x.array)
            if now != x.fingerprint:
                x.fingerprint = now
                x.version += 1


class Op:
    """One differentiable operation: `forward` on arrays; `backward` on arrays or, for second derivatives, on tensors.

    A subclass writes both with NumPy functions and operators, which dispatch to the recording ops where they meet a
    tensor. `backward(g, y, *inputs)` returns one gradient per input in the shape of the broadcast output (the engine
    sums it back to the input's shape), or None. `cached` values of `forward` may serve when `g` is an array.
    """

    saves_inputs: ClassVar[bool] = True  # whether backward reads the inputs, or the output is a view of one
    inputs: "tuple[Any, ...] | None" = None
    output: Any = None
    gradient: Any = None  # what has arrived so far while a walk is under way
    order: int = 0
    version: int = 0
    trace: str = ""  # the user's source line, kept by detect_anomaly
    saved: Any = None  # checksums of what backward reads, kept by detect_anomaly

    def forward(self, *arrays: Any) -> Any:
        """Compute the output array."""
        raise NotImplementedError

    def backward(self, g: Any, y: Any, *inputs: Any) -> Any:
        """Gradient for each input, given that of the output `y`."""
        raise NotImplementedError

    def needs(self, i: int) -> bool:
        """Whether input `i` wants a gradient."""
        x = self.inputs[i]  # type: ignore[index]
        return isinstance(x, Tensor) and x.requires_grad

    def __call__(self, *inputs: Any) -> Any:
        """Apply to tensors and arrays: a Tensor if any input is one, else the plain array."""
        if _watched:
            _notice_changes(inputs)
        track = tensors = foreign = False
        version = 0
        arrays = []
        for x in inputs:
            if isinstance(x, Tensor):
                tensors = True
                if x.requires_grad:
                    track = True
                elif x.array.dtype.kind != "f":
                    foreign = True
                version += x.version
                arrays.append(x.array)
            else:
                arrays.append(x)
                if (kind := type(x)) is not float and kind is not int:
                    foreign = True
        if foreign:
            inputs = _align(inputs, arrays)
        try:
            if observing and state.observer is not None:
                y = state.observer.forward(self, arrays)
            else:
                y = self.forward(*arrays)
        except (ValueError, IndexError) as error:
            raise _explained(self, arrays, error) from None
        if not tensors:
            return y
        tensor = _new(Tensor)
        tensor.array = y
        if track and state.recording:
            if self.inputs is not None:
                raise GraphError(
                    f"{type(self).__name__} was called twice: expected one op object per call, which remembers its "
                    "inputs; make a new one each time"
                )
            self.inputs = inputs
            self.output = y
            self.version = version
            self.order = next(_order)
            tensor.op = self
            tensor.requires_grad = True
        return tensor


_new: Any = object.__new__


def _explained(op: Op, arrays: list[Any], error: Exception) -> Exception:
    """NumPy's complaint about an index or about broadcasting, with the name of the op; any other error as it is."""
    if isinstance(error, IndexError):
        return ShapeError(f"{type(op).__name__.lower()}: expected an index inside the shape: {error}: check its range")
    if isinstance(error, DbrrlError) or "broadcast" not in str(error):
        return error
    shapes = " and ".join(str(a.shape) for a in arrays if hasattr(a, "shape"))
    return ShapeError(
        f"{type(op).__name__.lower()}: expected shapes that broadcast together, got {shapes} ({error}): "
        "reshape one, or add an axis with x[:, None]"
    )


def _align(inputs: tuple[Any, ...], arrays: list[Any]) -> tuple[Any, ...]:
    """Cast plain arrays and integer tensors to the floating type of the tensors that they meet; NumPy's scalars
    become Python's, which are of any type. Changes `arrays`; returns the inputs to record.
    """
    dtype = arrays[0].dtype if type(arrays[0]) is np.ndarray else None
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype is not dtype or not a.ndim:
            break
    else:
        return inputs  # the usual case: arrays of one type
    dtype, tensors = None, False
    for x, a in zip(inputs, arrays, strict=True):
        if isinstance(x, Tensor):
            tensors = True
            if a.dtype.kind == "f" and (dtype is None or a.dtype.itemsize > dtype.itemsize):
                dtype = a.dtype
    aligned = list(inputs)
    for i, (x, a) in enumerate(zip(inputs, arrays, strict=True)):
        if isinstance(a, (list, tuple)):
            arrays[i] = aligned[i] = a = np.asarray(a)
        if not tensors or not hasattr(a, "dtype") or (isinstance(x, Tensor) and a.dtype.kind == "f"):
            continue
        if a.dtype.kind not in "fiub":
            raise DtypeError(f"expected numbers beside a Tensor, got an array of {a.dtype}: convert it first")
        if a.ndim == 0 and not isinstance(x, Tensor):
            arrays[i] = aligned[i] = a.item()
        elif dtype is not None and a.dtype != dtype:
            arrays[i] = a.astype(dtype)
            aligned[i] = wrap(arrays[i]) if isinstance(x, Tensor) else arrays[i]
    return tuple(aligned)


def _initial_gradient(tensor: Tensor, grad: Any) -> Any:
    if grad is None:
        if tensor.size != 1:
            raise GraphError(
                f"backward() expected a scalar, got shape {tensor.shape}: reduce it first, for example with .mean(), "
                "or pass the gradient of that shape"
            )
        return tensor.array.dtype.type(1) if tensor.array.ndim == 0 else np.ones_like(tensor.array)
    if isinstance(grad, (float, int)) and tensor.array.ndim == 0:
        return tensor.array.dtype.type(grad)
    shape = np.shape(plain(grad)) if not hasattr(grad, "shape") else grad.shape
    if shape != tensor.shape:
        raise ShapeError(f"backward(grad): expected shape {tensor.shape}, got {shape}: pass one gradient per element")
    return grad if isinstance(grad, Tensor) else np.asarray(grad, dtype=tensor.dtype)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes that broadcasting added to `shape`; works on arrays and tensors."""
    extra = g.ndim - len(shape)
    if extra > 0:
        g = np.sum(g, axis=tuple(range(extra)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.ndim == len(shape) and g.shape[i] != 1)
    g = np.sum(g, axis=axes, keepdims=True) if axes else g
    if g.shape != shape:
        raise ShapeError(
            f"backward: expected a gradient that broadcasting of {shape} explains, got {g.shape}: "
            "return one of the input's or of the output's shape"
        )
    return g


def _refuse(op: Op, inputs: tuple[Any, ...] | None) -> GraphError:
    if inputs is None:
        return GraphError(
            f"backward() walked this graph before and freed it (at {type(op).__name__}): expected a fresh graph; "
            "compute the loss again, or pass retain_graph=True the first time"
        )
    shapes = ", ".join(str(x.shape) for x in inputs if isinstance(x, Tensor))
    return GraphError(
        f"an input of {type(op).__name__} (shapes {shapes}) was changed in place after it was recorded: "
        "expected the values that forward saw; change it after backward(), or change a copy"
    )


def _recorded_output(op: Op) -> Tensor:
    """The output of `op` as a member of the graph, for a backward pass that is recorded itself."""
    y = wrap(op.output)
    y.op, y.requires_grad = op, True
    return y


def walk(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    wanted: Sequence[Tensor],
    create_graph: bool,
    retain_graph: bool,
) -> list[Any]:
    """Reverse-mode differentiation: hand gradients from `outputs` to what they were computed from, newest op first.

    With `wanted`, returns their gradients (None where unreached); without, adds to `grad` of every leaf.
    """
    heap: list[tuple[int, Op]] = []
    found: dict[int, Any] = {}
    leaves = {id(t) for t in wanted if t.op is None}
    inner = {t.op.order for t in wanted if t.op is not None}
    observer = state.observer
    before, state.recording = state.recording, create_graph
    # Gradients still to hand on; after each op, those of its inputs.
    receivers: Sequence[Any] = outputs
    arriving: Sequence[Any] = [wrap(g) if create_graph and not isinstance(g, Tensor) else g for g in grads]
    try:
        while True:
            for x, g in zip(receivers, arriving):  # noqa: B905 - the keyword costs a tenth of the loop
                if g is None or not isinstance(x, Tensor) or not x.requires_grad:
                    continue
                shape = x.array.shape
                if g.shape != shape:
                    g = unbroadcast(g, shape)
                parent = x.op
                if parent is not None:
                    if parent.gradient is None:
                        parent.gradient = g
                        heapq.heappush(heap, (parent.order, parent))
                    else:
                        parent.gradient = parent.gradient + g
                elif not wanted:
                    if type(x.grad) is np.ndarray and type(g) is np.ndarray:
                        x.grad += g  # most often a view into the flat gradient
                    else:
                        _accumulate(x, g)
                elif id(x) in leaves:
                    found[id(x)] = found[id(x)] + g if id(x) in found else g
            if not heap:
                break
            order, op = heapq.heappop(heap)
            g, op.gradient = op.gradient, None
            if order in inner:
                found[order] = g
            inputs = op.inputs
            if _watched and inputs is not None:
                _notice_changes(inputs)
            if inputs is None:
                raise _refuse(op, inputs)
            version, values = 0, []
            for x in inputs:
                if isinstance(x, Tensor):
                    version += x.version
                    values.append(x.array)
                else:
                    values.append(x)
            if version != op.version and op.saves_inputs:
                raise _refuse(op, inputs)
            y, given = (_recorded_output(op), inputs) if create_graph else (op.output, values)
            arriving = op.backward(g, y, *given) if observer is None else observer.backward(op, g, y, given)
            if type(arriving) is not tuple:
                arriving = (arriving,)
            if not retain_graph:
                op.inputs = op.output = None
            receivers = inputs
    finally:
        state.recording = before
        for _, op in heap:  # only after an error
            op.gradient = None
    return [found.get(id(t) if t.op is None else t.op.order) for t in wanted]


def _accumulate(leaf: Tensor, g: Any) -> None:
    """Add `g` to the gradient of a leaf: in place where it lives in a flat vector."""
    if isinstance(g, Tensor):
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    elif leaf.grad is None:
        leaf.grad = np.array(g, dtype=leaf.dtype) if isinstance(g, np.generic) else g.astype(leaf.dtype)
    elif isinstance(leaf.grad, Tensor):
        leaf.grad = leaf.grad + g
    else:
        leaf.grad += g


def backward(
    tensors: Sequence[Tensor],
    grads: Sequence[Any] | None = None,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> None:
    """Add the gradient of Σ grads · tensors to `grad` of every leaf: one walk for several quantities.

    With scalars, `backward([a, b], [1.0, -0.5])` differentiates a - 0.5 b without recording that sum. Arguments and
    errors are those of `Tensor.backward`, of which this is the general form.
    """
    vectors = [None] * len(tensors) if grads is None else grads
    for tensor in tensors:
        if not tensor.requires_grad:
            raise GraphError(
                "backward() expected a tensor computed from one with requires_grad=True, got one without: "
                "set requires_grad=True on an input, or leave no_grad()"
            )
    starts = [_initial_gradient(t, g) for t, g in zip(tensors, vectors, strict=True)]
    walk(tensors, starts, (), create_graph, retain_graph or create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """Gradients of the sum of `outputs` with respect to `inputs`, which need not be leaves; no `grad` is touched.

    Args:
        outputs: a tensor or a list of them; scalars unless `grad_outputs` gives one gradient per element.
        inputs: a tensor (returns one gradient) or a list of them (returns a list).
        grad_outputs: as `outputs`: the vectors of the vector-Jacobian products.
        create_graph: return tensors that can be differentiated again.
        retain_graph: keep the graph for another walk.
        allow_unused: give None for an input that the outputs do not depend on, instead of an error.

    Raises:
        GraphError: an output or an input takes no part in a graph, or the graph was freed.
    """
    one = isinstance(inputs, Tensor)
    targets: list[Tensor] = [inputs] if one else list(inputs)
    tops: list[Tensor] = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    vectors = [None] * len(tops) if grad_outputs is None else grad_outputs
    vectors = [vectors] if isinstance(outputs, Tensor) and grad_outputs is not None else vectors
    for name, group in (("outputs", tops), ("inputs", targets)):
        for i, tensor in enumerate(group):
            if not isinstance(tensor, Tensor) or not tensor.requires_grad:
                raise GraphError(
                    f"grad(): expected {name}[{i}] to be a Tensor that requires gradients, got "
                    f"{type(tensor).__name__}: set requires_grad=True before computing with it"
                )
    starts = [_initial_gradient(t, v) for t, v in zip(tops, vectors, strict=True)]
    gradients = walk(tops, starts, targets, create_graph, retain_graph or create_graph)
    for i, gradient in enumerate(gradients):
        if gradient is None and not allow_unused:
            raise GraphError(
                f"grad(): the outputs do not depend on inputs[{i}] (shape {targets[i].shape}): expected an input "
                "they were computed from; pass allow_unused=True to get None instead"
            )
    result = [None if g is None else _as_gradient(g, t) for g, t in zip(gradients, targets, strict=True)]
    return result[0] if one else result


def _as_gradient(g: Any, tensor: Tensor) -> Any:
    """`g` as a Tensor of the dtype of the one it belongs to: beside a wider tensor it may have grown wide itself."""
    g = g if isinstance(g, Tensor) else wrap(np.asarray(g) if isinstance(g, np.generic) else g)
    return g if g.dtype == tensor.dtype else g.astype(tensor.dtype)
