"""A stand-in for CuPy: its arrays lie in NumPy's memory and do what CuPy's do, and refuse what CuPy's refuse.

What is allowed here was read off CuPy 13.3 and 14.2: `__array_ufunc__` serves plain calls, `reduce` of two ufuncs and
`out`; `__array_function__` serves the functions that CuPy has under the same name; nothing mixes with NumPy's arrays or
turns into one unasked, and a full reduction is an array without axes, not a number.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

from dbrrl import backend
from tests.tape import Graph, Stream, recorded, synchronizing

UFUNCS = {
    "absolute", "add", "arctanh", "ceil", "cos", "divide", "equal", "exp", "expm1", "float_power", "floor", "greater",
    "greater_equal", "invert", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "logical_and",
    "logical_not", "logical_or", "matmul", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "rint",
    "sign", "signbit", "sin", "sqrt", "square", "subtract", "tanh", "bitwise_and", "bitwise_or", "bitwise_xor",
    "left_shift", "right_shift", "remainder", "copysign",
}  # fmt: skip
FUNCTIONS = {
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "array_equal", "bincount",
    "broadcast_to", "clip", "concatenate", "copyto", "count_nonzero", "dot", "einsum", "empty_like", "expand_dims",
    "full_like", "isclose", "max", "may_share_memory", "mean", "min", "moveaxis", "ndim", "nonzero", "ones_like",
    "pad", "prod", "reshape", "result_type", "shape", "size", "sliding_window_view", "split", "squeeze", "stack",
    "std", "sum", "swapaxes", "take_along_axis", "transpose", "var", "where", "zeros_like",
}  # fmt: skip
REDUCING = {"add", "multiply"}  # the ufuncs whose reduce() CuPy has


def inside(x: Any) -> Any:
    """What NumPy computes with: the values of arrays of this kind; TypeError for one of NumPy's."""
    if isinstance(x, Array):
        return x.values
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, (tuple, list)):
        return type(x)(inside(item) for item in x)
    return {name: inside(item) for name, item in x.items()} if isinstance(x, dict) else x


def outside(x: Any, root: Any = None) -> Any:
    """Results as arrays of this kind, scalars too; views remember whose memory they show."""
    if isinstance(x, (tuple, list)):
        return type(x)(outside(item, root) for item in x)
    if isinstance(x, (np.ndarray, np.generic)):
        return Array(np.asarray(x), root if isinstance(x, np.ndarray) else None)
    return x


class Flags:
    """Those of CuPy's that tell something; there is no `writeable` to change."""

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

    def __init__(self, values: np.ndarray, base: "Array | None" = None) -> None:
        assert type(values) is np.ndarray
        self.values, self.base = values, base

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        known = (Array, np.ndarray, np.generic, int, float)
        if ufunc.__name__ not in UFUNCS or not all(isinstance(x, known) for x in inputs):
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
            return outside(recorded(lambda: ufunc(*arrays)))
        recorded(lambda: ufunc(*arrays, out=inside(out)), inside(out))
        return out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ not in FUNCTIONS or not all(issubclass(t, (Array, np.ndarray)) for t in types):
            return NotImplemented
        roots = [x for x in args if isinstance(x, Array)]
        if func.__name__ in ("amax", "amin", "max", "min", "argmax", "argmin") and not roots[0].size:
            raise ValueError("zero-size array to reduction operation which has no identity")
        given, named = inside(args), inside(kwargs)
        result = recorded(lambda: func(*given, **named), given[:1] if func.__name__ == "copyto" else ())
        return outside(result, roots[0] if roots and func.__name__ != "copyto" else None)

    def get(self) -> np.ndarray:
        synchronizing("get()")
        return self.values.copy()

    def __getitem__(self, index: Any) -> Any:
        place = inside(index)
        return outside(recorded(lambda: self.values[place]), self)

    def __setitem__(self, index: Any, value: Any) -> None:
        place, given = inside(index), inside(value)
        recorded(lambda: self.values.__setitem__(place, given), (self.values,))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        synchronizing("bool()")
        return bool(self.values)

    def __float__(self) -> float:
        synchronizing("float()")
        return float(self.values)

    def __int__(self) -> int:
        synchronizing("int()")
        return int(self.values)

    def __repr__(self) -> str:
        return repr(self.values)

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
        if name in ("item", "tolist"):
            synchronizing(f"{name}()")
            return getattr(self.values, name)(*args)
        given, named, changes = inside(args), inside(kwargs), (self.values,) if name == "fill" else ()
        result = recorded(lambda: getattr(self.values, name)(*given, **named), changes)
        return outside(result, self if view else None)

    return method


for _name in ("dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"):
    setattr(Array, _name, _shares(_name))
for _name in ("all", "any", "copy", "fill", "item", "mean", "repeat", "std", "sum", "tolist", "var"):
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
    synchronizing("a copy from the host")
    return Array(np.array(x, dtype))


def _makes(name: str) -> Any:
    return lambda *args, **kwargs: outside(recorded(lambda: getattr(np, name)(*args, **kwargs)))


def make_cupy() -> Any:
    """The module, with as much in it as `array_module` is asked for."""
    cupy: Any = ModuleType("cupy")
    cupy.__version__, cupy.ndarray, cupy.asarray = "stand-in", Array, asarray
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
    cupy.flatnonzero = lambda x: outside(np.flatnonzero(x.values))
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.Stream, cupy.cuda.graph = Stream, Graph
    cupy.cuda.MemoryPool = lambda: SimpleNamespace(malloc=None)
    cupy.cuda.using_allocator = lambda malloc: nullcontext()
    cupy.cuda.get_current_stream = Stream
    cupy.cuda.Device, cupy.cuda.runtime = Device, ModuleType("cupy.cuda.runtime")
    cupy.cuda.runtime.getDeviceCount = lambda: 1
    cupy.cuda.runtime.getDeviceProperties = lambda index: {"name": b"stand-in"}
    cupy.cuda.runtime.CUDARuntimeError = type("CUDARuntimeError", (RuntimeError,), {})
    return cupy


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let "cuda" be the stand-in while a test runs."""
    cupy = make_cupy()
    monkeypatch.setattr(backend, "_cupy", lambda device: cupy)
