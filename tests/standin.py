"""A stand-in for CuPy: its arrays lie in NumPy's memory and do what CuPy's do, and refuse what CuPy's refuse.

What is allowed here was read off CuPy 13.3 and 14.2: `__array_ufunc__` serves plain calls, `reduce` of two ufuncs and
`out`; `__array_function__` serves the functions that CuPy has under the same name, with the arguments that it has;
nothing mixes with NumPy's arrays or turns into one unasked, and a full reduction is an array without axes, no number.

`copies()` counts what would go from one memory to the other, and what would make the host wait.
"""

import ctypes
import functools
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

from dbrrl import backend
from dbrrl.backend import arrays as device_arrays
from tests.tape import Graph, Stream, recorded, synchronizing

UFUNCS = {
    "absolute", "add", "arctanh", "ceil", "cos", "divide", "equal", "exp", "expm1", "float_power", "floor", "greater",
    "greater_equal", "invert", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "logical_and",
    "logical_not", "logical_or", "matmul", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "rint",
    "sign", "signbit", "sin", "sqrt", "square", "subtract", "tanh", "bitwise_and", "bitwise_or", "bitwise_xor",
    "left_shift", "right_shift", "remainder", "copysign", "trunc", "floor_divide",
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "cosh", "fmod", "hypot", "log10", "log2",
    "sinh", "tan",
}  # fmt: skip
FUNCTIONS = {
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "array_equal", "bincount",
    "broadcast_to", "clip", "concatenate", "copyto", "count_nonzero", "dot", "einsum", "empty_like", "expand_dims",
    "full_like", "isclose", "max", "may_share_memory", "mean", "min", "moveaxis", "ndim", "nonzero", "ones_like",
    "pad", "prod", "reshape", "result_type", "shape", "size", "sliding_window_view", "split", "squeeze", "stack",
    "std", "sum", "swapaxes", "take_along_axis", "transpose", "var", "where", "zeros_like",
    "around", "cumsum", "fix", "nan_to_num", "round",
}  # fmt: skip
REDUCING = {"add", "multiply"}  # the ufuncs whose reduce() CuPy has
ABSENT = {"initial", "stable", "descending", "min", "max", "mean", "correction", "device", "like"}  # arguments


@dataclass
class Copies:
    """Counts of copies between host and device while a block runs."""

    to_device: int = 0  # asarray() of a NumPy array, a list as an index
    to_host: int = 0  # get(), item(), tolist(), bool(), int(), float(), a printed array
    waits: int = 0  # results whose shape the host asks for: nonzero(), a mask as an index


_counting: list[Copies] = []


@contextmanager
def copies() -> Iterator[Copies]:
    """Count inside a `with` block; blocks may be nested."""
    count = Copies()
    _counting.append(count)
    try:
        yield count
    finally:
        _counting.remove(count)


def note(what: str, why: str) -> None:
    """One more of `what`, for everyone who counts; refused while a stream records."""
    synchronizing(why)
    for count in _counting:
        setattr(count, what, getattr(count, what) + 1)


def check_arguments(name: str, kwargs: Any) -> None:
    """TypeError for an argument that NumPy's function of this name has and CuPy's lacks."""
    if not kwargs:
        return
    lacking = ABSENT & kwargs.keys() | ({"where"} & kwargs.keys() if name != "copyto" else set())
    lacking |= {"keepdims"} & kwargs.keys() if name == "count_nonzero" else set()
    if lacking:
        raise TypeError(f"{name}() got an unexpected keyword argument {min(lacking)!r}")
    if kwargs.get("kind") not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")


def quietly(call: Any, *args: Any, **kwargs: Any) -> Any:
    """The result, with no word of infinities and of what is no number: CuPy does not warn."""
    with np.errstate(all="ignore"):
        return call(*args, **kwargs)


def inside(x: Any) -> Any:
    """NumPy arrays with the values of arrays of this kind; TypeError for one of NumPy's."""
    if type(x) is Array:
        return x.values
    if type(x) in (int, float, bool, type(None)):
        return x
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, (tuple, list)):
        return type(x)(inside(item) for item in x)
    return {name: inside(item) for name, item in x.items()} if isinstance(x, dict) else x


def outside(x: Any, root: Any = None) -> Any:
    """Results as arrays of this kind, scalars too; views remember whose memory they show."""
    if type(x) is np.ndarray:
        return Array(x, root)
    if isinstance(x, (tuple, list)):
        return type(x)(outside(item, root) for item in x)
    if isinstance(x, (np.ndarray, np.generic)):
        return Array(np.asarray(x), root if isinstance(x, np.ndarray) else None)
    return x


class Flags:
    """Flags that CuPy's arrays have; there is no `writeable` to change."""

    __slots__ = ("c_contiguous", "f_contiguous")

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous


class Device:
    """The device named by `Array.device`, and what makes one the current one."""

    def __init__(self, index: int) -> None:
        self.id = index

    def use(self) -> None:
        """Nothing: there is one."""


class Array(NDArrayOperatorsMixin):
    """A `cupy.ndarray` over a NumPy array `values`."""

    __hash__ = None
    __slots__ = ("__weakref__", "base", "values")
    device = Device(0)

    def __init__(self, values: Any, base: Any = None, memptr: Any = None) -> None:
        if memptr is not None:  # shape, dtype, memory
            values, base = memptr[: int(np.prod(values)) * np.dtype(base).itemsize].view(base).reshape(values), None
        assert type(values) is np.ndarray
        if values.dtype.char not in "?bBhHiIlLqQefdFD":
            raise ValueError(f"Unsupported dtype {values.dtype}")
        self.values, self.base = values, base if base is None or base.base is None else base.base

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if ufunc.__name__ not in UFUNCS:
            return NotImplemented
        for x in inputs:
            if type(x) is not Array and not isinstance(x, (int, float, np.ndarray, np.generic)):
                return NotImplemented
        if method == "reduce":
            if ufunc.__name__ not in REDUCING:
                raise NotImplementedError(f"`cupy_{ufunc.__name__}.reduce` is not supported yet")
            assert out is None and kwargs.keys() <= {"axis", "keepdims", "dtype"}
            return outside(recorded(lambda: ufunc.reduce(*map(inside, inputs), **kwargs)))
        if method != "__call__" or kwargs:
            return NotImplemented
        arrays = [inside(x) for x in inputs]
        if out is None:
            return outside(recorded(lambda: quietly(ufunc, *arrays)))
        recorded(lambda: quietly(ufunc, *arrays, out=inside(out)), inside(out))
        return out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ not in FUNCTIONS or not all(issubclass(t, (Array, np.ndarray)) for t in types):
            return NotImplemented
        check_arguments(func.__name__, kwargs)
        roots = [x for x in args if isinstance(x, Array)]
        if func.__name__ == "where" and len(args) == 3 and not isinstance(args[0], Array):
            raise AttributeError(f"{type(args[0]).__name__!r} object has no attribute 'astype'")
        if func.__name__ in ("nonzero", "bincount") or (func.__name__ == "where" and len(args) == 1):
            note("waits", f"{func.__name__}()")
        if func.__name__ in ("amax", "amin", "max", "min", "argmax", "argmin") and not roots[0].size:
            raise ValueError("zero-size array to reduction operation which has no identity")
        given, named = inside(args), inside(kwargs)
        result = recorded(lambda: func(*given, **named), given[:1] if func.__name__ == "copyto" else ())
        return outside(result, roots[0] if roots and func.__name__ != "copyto" else None)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.values.ctypes.data)

    def get(self) -> np.ndarray:
        note("to_host", "get()")
        return self.values.copy()

    def __getitem__(self, index: Any) -> Any:
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, list):
                note("to_device", "a list as an index")
            elif isinstance(part, Array) and part.dtype.kind == "b":
                note("waits", "a mask as an index")
            elif isinstance(part, Array) and part.dtype.kind not in "iu":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype})")
        place = inside(index)
        return outside(recorded(lambda: self.values[place]), self)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        place, given = inside(index), inside(value)
        recorded(lambda: self.values.__setitem__(place, given), (self.values,))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def item(self, *index: int) -> Any:
        return self.get().item(*index)

    def tolist(self) -> Any:
        return self.get().tolist()

    @property
    def flags(self) -> Flags:
        return Flags(self.values.flags)

    @property
    def T(self) -> "Array":
        return Array(self.values.T, self)

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return outside(recorded(lambda: self.values.astype(dtype, order)))

    def dot(self, b: Any) -> Any:
        if not isinstance(b, Array):
            raise TypeError(f"Argument 'b' has incorrect type (expected ndarray, got {type(b).__name__})")
        return outside(recorded(lambda: self.values.dot(b.values)))

    def max(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return np.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return np.min(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None) -> Any:
        return np.argmax(self, axis=axis)


def _shares(name: str) -> Any:
    return property(lambda self: getattr(self.values, name))


def _calls(name: str, view: bool) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_arguments(name, kwargs)
        given, named, changes = inside(args), inside(kwargs), (self.values,) if name == "fill" else ()
        result = recorded(lambda: getattr(self.values, name)(*given, **named), changes)
        return outside(result, self if view else None)

    return method


for _name in ("dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"):
    setattr(Array, _name, _shares(_name))
for _name in ("all", "any", "copy", "fill", "mean", "repeat", "std", "sum", "take", "var"):
    setattr(Array, _name, _calls(_name, view=False))
for _name in ("ravel", "reshape", "squeeze", "swapaxes", "transpose"):
    setattr(Array, _name, _calls(_name, view=True))
Array.__module__ = "cupy"


class Ufunc:
    """One of CuPy's own ufuncs, which alone have `at`."""

    def __init__(self, ufunc: Any) -> None:
        self.ufunc = ufunc

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        return self.ufunc(*inputs, out=out)

    def at(self, array: Array, index: Any, value: Any) -> None:
        place, given = inside(index), inside(value)
        recorded(lambda: self.ufunc.at(array.values, place, given), (array.values,))


def asarray(x: Any, dtype: Any = None) -> Array:
    """`cupy.asarray`: moves NumPy's arrays here."""
    if isinstance(x, Array):
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)
    note("to_device", "a copy from the host")
    return Array(np.array(x, dtype))


def _makes(name: str) -> Any:
    return lambda *args, **kwargs: outside(recorded(lambda: getattr(np, name)(*args, **kwargs)))


class Communicator:
    """`cupy.cuda.nccl.NcclCommunicator`, of threads in place of processes, which wait for one another."""

    groups: ClassVar[dict[Any, tuple[threading.Barrier, list[Any]]]] = {}
    lock = threading.Lock()

    def __init__(self, ndev: int, commId: Any, rank: int) -> None:
        with self.lock:
            barrier = threading.Barrier(ndev, timeout=60)
            self.barrier, self.given = self.groups.setdefault(commId, (barrier, [None] * ndev))
        self.rank = rank

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: Any, op: int, stream: int) -> None:
        assert op == 0
        pointer = ctypes.POINTER(datatype)
        source, target = (np.ctypeslib.as_array(ctypes.cast(at, pointer), (count,)) for at in (sendbuf, recvbuf))
        recorded(lambda: self._sum(source, target), (target,))

    def _sum(self, source: np.ndarray, target: np.ndarray) -> None:
        self.given[self.rank] = source.copy()
        self.barrier.wait()
        total = np.sum(self.given, 0, dtype=source.dtype)
        self.barrier.wait()
        target[...] = total


def make_nccl() -> Any:
    """The module `cupy.cuda.nccl`; a kind of number is the type that C has for it."""
    numbers = itertools.count()
    return SimpleNamespace(
        available=True, NcclCommunicator=Communicator, get_unique_id=lambda: (next(numbers),), NCCL_SUM=0,
        NCCL_FLOAT32=ctypes.c_float, NCCL_FLOAT64=ctypes.c_double, NCCL_INT64=ctypes.c_int64,
    )  # fmt: skip


class PinnedMemory:
    """`cupy.cuda.PinnedMemory`: what host and device both see."""

    def __init__(self, size: int) -> None:
        self.values, self.ptr = np.zeros(size, np.uint8), 0


class MemoryHook:
    """`cupy.cuda.MemoryHook`: told of blocks, here by `Pool`."""

    def __enter__(self) -> "MemoryHook":
        assert self.name not in {hook.name for hook in POOL.hooks}  # type: ignore[attr-defined]
        POOL.hooks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        POOL.hooks.remove(self)


class Pool:
    """Stands for the default memory pool; a test says what is taken and given back."""

    def __init__(self) -> None:
        self.live, self.held, self.hooks = 0, 0, []

    def used_bytes(self) -> int:
        return self.live

    def total_bytes(self) -> int:
        return self.held

    def free_bytes(self) -> int:
        return self.held - self.live

    def change(self, size: int) -> None:
        self.live += size
        self.held = max(self.held, self.live)
        for hook in self.hooks:
            (hook.malloc_postprocess if size > 0 else hook.free_postprocess)(mem_size=abs(size), device_id=0)


POOL = Pool()


@functools.cache
def make_cupy() -> Any:
    """The module, with as much in it as `array_module` is asked for."""
    cupy: Any = ModuleType("cupy")
    cupy.__version__, cupy.ndarray, cupy.asarray = "stand-in", Array, asarray
    cupy.asnumpy = lambda x: x.get() if isinstance(x, Array) else np.asarray(x)
    cupy.add, cupy.multiply = Ufunc(np.add), Ufunc(np.multiply)
    for name in ("arange", "empty", "full", "ones", "zeros"):
        setattr(cupy, name, _makes(name))
    for name in (
        "bincount", "broadcast_to", "clip", "concatenate", "empty_like", "floor", "minimum", "ones_like", "stack",
        "where", "zeros_like",
    ):  # fmt: skip
        setattr(cupy, name, getattr(np, name))
    for name in ("argsort", "concatenate", "copysign", "cos", "count_nonzero", "maximum", "moveaxis", "sin"):
        setattr(cupy, name, getattr(np, name))
    cupy.flatnonzero = lambda x: np.nonzero(x.ravel())[0]
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.nccl = make_nccl()
    cupy.cuda.Stream, cupy.cuda.graph = Stream, Graph
    cupy.cuda.MemoryPool = lambda: SimpleNamespace(malloc=None)
    cupy.cuda.using_allocator = lambda malloc: nullcontext()
    cupy.cuda.get_current_stream = Stream
    cupy.cuda.PinnedMemory = PinnedMemory
    cupy.cuda.PinnedMemoryPointer = lambda block, offset: block.values
    cupy.cuda.UnownedMemory = lambda pointer, size, owner, device_id: owner.values
    cupy.cuda.MemoryPointer = lambda block, offset: block
    cupy.get_default_memory_pool, cupy.cuda.MemoryHook = lambda: POOL, MemoryHook
    cupy.cuda.Device, cupy.cuda.runtime = Device, ModuleType("cupy.cuda.runtime")
    cupy.cuda.runtime.getDeviceCount, cupy.cuda.runtime.memGetInfo = lambda: 1, lambda: (10**9, 10**9)
    cupy.cuda.runtime.getDeviceProperties = lambda index: {"name": b"stand-in"}
    cupy.cuda.runtime.CUDARuntimeError = type("CUDARuntimeError", (RuntimeError,), {})
    return cupy


def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let "cuda" be the stand-in while a test runs; returns the module."""
    cupy = make_cupy()
    monkeypatch.setattr(device_arrays, "_cupy", lambda device: cupy)
    return cupy


@contextmanager
def installed() -> Iterator[None]:
    """The same for a `with` block."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch)
        yield


def put(x: Any, device: str) -> Any:
    """A NumPy array, or those in a list or tuple, on a device."""
    if isinstance(x, (list, tuple)):
        return type(x)(put(item, device) for item in x)
    return backend.to_device(x, device)


def host(x: Any, device: str | None = None) -> Any:
    """The values of a tensor or array as a NumPy array; it must lie on `device`, if that is given."""
    x = getattr(x, "array", x)
    assert device is None or backend.device_name(x).partition(":")[0] == device
    return backend.to_numpy(x)
