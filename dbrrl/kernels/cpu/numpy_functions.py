"""NumPy's functions on traced arrays: written with its ufuncs, or as steps of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.kernels.cpu.indices import check_range, getitem, setitem
from dbrrl.kernels.cpu.record import refuse
from dbrrl.kernels.cpu.reductions import extreme, mean, place, reduce, std, total, var
from dbrrl.kernels.cpu.trace import HANDLERS, Traced, as_type, fresh, in_one_piece, move, note, plain, traced
from dbrrl.kernels.cpu.ufuncs import where

_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


def _concatenate(arrays: Any, axis: Any = 0, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Traced:
    if out is not None or axis is None:
        raise refuse("numpy.concatenate of this kind")
    parts = [traced(x) for x in arrays]
    result = fresh(np.concatenate([x.values for x in parts], axis, dtype=dtype))
    start, axis = 0, axis % result.ndim
    for x in parts:
        stop = start + x.shape[axis]
        move(result._view(result.values[(slice(None),) * axis + (slice(start, stop),)]), x)
        start = stop
    return result


def _stack(arrays: Any, axis: int = 0) -> Traced:
    return _concatenate([np.expand_dims(traced(x), axis) for x in arrays], axis)


def _like(value: Any) -> Callable[..., Traced]:
    def call(x: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None) -> Traced:
        return _full_like(x, value, dtype, order, subok, shape)

    return call


def _full_like(
    x: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Traced:
    like = plain(x)
    return full(np.shape(like) if shape is None else shape, fill_value, like.dtype if dtype is None else dtype)


def empty(shape: Any, dtype: Any = np.float64, order: str = "C") -> Traced:
    """Return an array of the program's own; what is in it is undefined."""
    return fresh(np.zeros(shape, dtype))


def full(shape: Any, value: Any, dtype: Any = None) -> Traced:
    """Return an array of one number."""
    result = empty(shape, np.asarray(plain(value)).dtype if dtype is None else dtype)
    move(result, traced(value, result.dtype) if isinstance(value, bool | int | float) else traced(value))
    return result


def zeros(shape: Any, dtype: Any = np.float64, order: str = "C") -> Traced:
    """Return an array of zeros."""
    return full(shape, 0, dtype)


def _copyto(to: Any, x: Any, casting: str = "same_kind", where: Any = True) -> None:
    if where is not True:
        raise refuse("numpy.copyto of some elements")
    if type(to) is not Traced:
        raise refuse("a write into an array that is not traced")
    x = traced(x, to.dtype) if isinstance(x, bool | int | float) else traced(x)
    move(to, x)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    x = x.copy() if low is None else np.maximum(x, low)
    x = x if high is None else np.minimum(x, high)
    if out is not None:
        move(out, x)
        return out
    return x


def _take_along_axis(x: Any, index: Any, axis: Any = -1) -> Traced:
    x, index = traced(x), traced(index)
    axis %= x.ndim
    place = [np.arange(n).reshape((-1,) + (1,) * (x.ndim - a - 1)) for a, n in enumerate(x.shape)]
    return getitem(x, (*place[:axis], index, *place[axis + 1 :]))  # type: ignore[no-any-return]


def _repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    x = traced(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis % x.ndim)
    if not isinstance(repeats, int | np.integer):
        raise refuse("numpy.repeat by an array")
    wide = np.broadcast_to(np.expand_dims(x, axis + 1), (*x.shape[: axis + 1], int(repeats), *x.shape[axis + 1 :]))
    return wide.copy().reshape((*x.shape[:axis], x.shape[axis] * int(repeats), *x.shape[axis + 1 :]))


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Traced:
    x, n = traced(x), int(minlength)
    if weights is None or (x.values.size and x.values.max() >= n):
        raise refuse("numpy.bincount of numbers without weights, or beyond minlength")
    check_range(x, 0, n)
    result = zeros(n, _FLOAT64)
    setitem(result, x, as_type(weights, _FLOAT64), add=True)
    return result


def _argsort(x: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Traced:
    x = traced(x)
    if axis not in (-1, x.ndim - 1) or x.dtype.kind != "f":
        raise refuse("numpy.argsort of this kind")
    x = x if in_one_piece(x) else x.copy()
    result = fresh(np.argsort(x.values, axis=-1, kind="stable"))
    note("places", "", (result, x), (x.size // x.shape[-1], x.shape[-1]), (x.dtype == _FLOAT64) << 1)
    return result


def _sort(x: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Traced:
    x = traced(x)
    if axis not in (-1, x.ndim - 1) or x.dtype.kind != "f":
        raise refuse("numpy.sort of this kind")
    result: Traced = x.copy()
    result.values.sort(axis=-1)
    note("sort", "", (result,), (x.size // x.shape[-1], x.shape[-1]), (x.dtype == _FLOAT64) << 1)
    return result


def _view(name: str) -> Callable[..., Traced]:
    function = getattr(np, name)

    def call(x: Any, *arguments: Any, **options: Any) -> Traced:
        given: Traced = traced(x)
        return given._view(function(given.values, *arguments, **options))

    return call


def _count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return reduce(np.add, traced(x) != 0, axis, _INT64, keepdims=keepdims)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if out is not None:
        raise refuse("numpy.dot into an array")
    return traced(a).dot(b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": total("sum", np.add), "prod": total("prod", np.multiply), "any": total("any", np.logical_or),
    "all": total("all", np.logical_and), "max": extreme("max", np.maximum), "amax": extreme("max", np.maximum),
    "min": extreme("min", np.minimum), "amin": extreme("min", np.minimum), "mean": mean, "var": var, "std": std,
    "argmax": place("argmax"), "argmin": place("argmin"), "where": where, "concatenate": _concatenate,
    "stack": _stack,
    "repeat": _repeat, "bincount": _bincount, "sort": _sort, "argsort": _argsort, "copyto": _copyto, "clip": _clip,
    "take_along_axis": _take_along_axis,
    "dot": _dot,
    "zeros_like": _like(0), "ones_like": _like(1), "empty_like": _like(0), "full_like": _full_like,
    "reshape": lambda x, shape, order="C": traced(x).reshape(shape, order=order),
    "ravel": lambda x, order="C": traced(x).ravel(order),
    "copy": lambda x, order="K", subok=False: traced(x).copy(),
    "expand_dims": _view("expand_dims"), "squeeze": _view("squeeze"), "transpose": _view("transpose"),
    "moveaxis": _view("moveaxis"), "swapaxes": _view("swapaxes"), "broadcast_to": _view("broadcast_to"),
    "count_nonzero": _count_nonzero,
    "shape": lambda x: x.shape, "ndim": lambda x: x.ndim, "size": lambda x: x.size,
    "may_share_memory": lambda a, b, *_: np.may_share_memory(plain(a), plain(b)),
    "result_type": lambda *x: np.result_type(*map(plain, x)),
}  # fmt: skip


def function(which: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a function of NumPy's gives for traced arrays."""
    found = FUNCTIONS.get(which.__name__)
    if found is None:
        raise refuse(f"numpy.{which.__name__}")
    return found(*arguments, **options)


HANDLERS["function"] = function
