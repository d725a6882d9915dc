"""Sums, means, extremes and their places on traced arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.kernels.cpu.names import NAMES
from dbrrl.kernels.cpu.record import refuse
from dbrrl.kernels.cpu.trace import CODES, Traced, cast, fresh, note, traced

_REDUCED = {
    "add": "sum", "maximum": "max", "minimum": "min", "multiply": "prod", "logical_or": "any", "logical_and": "all",
}  # fmt: skip
_FLOAT64, _INT64, _BOOL = map(np.dtype, (np.float64, np.int64, np.bool_))


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    given = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    return tuple(sorted(int(a) % ndim for a in given))


def reduce(
    which: Any, x: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Any:  # fmt: skip
    """Return what a ufunc's `reduce` gives."""
    name = _REDUCED.get(which.__name__)
    if name is None or out is not None or where not in (None, True) or initial is not None:
        raise refuse(f"numpy.{which.__name__}.reduce")
    x = traced(x)
    if dtype is None and name in ("sum", "prod") and x.dtype.kind in "b":
        dtype = _INT64
    if dtype is not None and x.dtype != dtype:
        x = cast(x, np.dtype(dtype))
    if name in ("any", "all") and x.dtype != _BOOL:
        x = x != 0
    return _kept(reduction(name, x, _axes(axis, x.ndim), which.reduce), axis, x.shape, keepdims)


def reduction(name: str, x: Traced, axes: tuple[int, ...], compute: Callable[..., Any]) -> Traced:
    """Return x reduced over axes, which are gone; neighbours that follow one another in memory at once."""
    if not x.size:
        raise refuse("a reduction of an empty array")
    values = x.values
    while len(axes) > 1:  # the last two axes as one where they are, else the last one alone
        a, b = axes[-2:]
        if b == a + 1 and values.strides[a] == values.strides[b] * values.shape[b]:
            joined = (*values.shape[:a], values.shape[a] * values.shape[b], *values.shape[b + 1 :])
            strides = (*values.strides[:a], *values.strides[b:])
            values = np.lib.stride_tricks.as_strided(values, joined, strides)
            axes = axes[:-1]
        else:
            x, axes = _reduced(name, x._view(values), axes[-1], compute), axes[:-1]
            values = x.values
    x = x._view(values)
    return _reduced(name, x, axes[0], compute) if axes else x.copy()


def _reduced(name: str, x: Traced, axis: int, compute: Callable[..., Any]) -> Traced:
    """Return x reduced over one axis, which is gone."""
    code = CODES[x.dtype]
    if f"{name}_{code}" not in NAMES:
        raise refuse(f"{name} of {x.dtype}")
    with np.errstate(all="ignore"):
        result = fresh(compute(x.values, axis=axis))
    note("reduce", f"{name}_{code}", (result, x._view(np.moveaxis(x.values, axis, -1))))
    return result


def _kept(result: Traced, axis: Any, shape: tuple[int, ...], keepdims: bool) -> Traced:
    """Return a reduction with axes of one element in place of those that went, where these are asked for."""
    if not keepdims:
        return result
    axes = _axes(axis, len(shape))
    return result._view(result.values.reshape([1 if i in axes else n for i, n in enumerate(shape)]))


def total(name: str, which: Any) -> Callable[..., Any]:
    """Return the function `name`, a reduction by a ufunc over all axes or some."""

    def call(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **rest: Any) -> Any:
        if any(value is not np._NoValue for value in rest.values()) or out is not None:
            raise refuse(f"numpy.{name} with {sorted(rest)}")
        x = traced(x)
        keep = bool(keepdims) and keepdims is not np._NoValue
        return reduce(which, x, axis, dtype, None, keep)

    return call


def extreme(name: str, which: Any) -> Callable[..., Any]:
    """Return the function `name`, a reduction by a ufunc that keeps the type."""
    found = total(name, which)
    return lambda x, axis=None, out=None, keepdims=False, **rest: found(x, axis, None, out, keepdims, **rest)


def mean(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, where: Any = np._NoValue
) -> Any:
    """`numpy.mean`."""
    if out is not None or (where is not True and where is not np._NoValue):
        raise refuse("numpy.mean of some elements, or into an array")
    x = traced(x)
    if x.dtype.kind != "f" and dtype is None:
        dtype = _FLOAT64
    n = 1
    for a in _axes(axis, x.ndim):
        n *= x.shape[a]
    keep = bool(keepdims) and keepdims is not np._NoValue
    return reduce(np.add, x, axis, dtype, None, keep) / n


def var(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0, keepdims: Any = False, **rest: Any
) -> Any:
    """`numpy.var`."""
    if out is not None or any(value is not np._NoValue for value in rest.values()):
        raise refuse(f"numpy.var with {sorted(rest)}")
    x = traced(x)
    n = 1
    for a in _axes(axis, x.ndim):
        n *= x.shape[a]
    deviation = x - mean(x, axis, dtype, keepdims=True)
    keep = bool(keepdims) and keepdims is not np._NoValue
    return reduce(np.add, deviation * deviation, axis, None, None, keep) / (n - ddof)


def std(*arguments: Any, **options: Any) -> Any:
    """`numpy.std`."""
    return np.sqrt(var(*arguments, **options))


def place(name: str) -> Callable[..., Any]:
    """Return argmax or argmin."""

    def call(x: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        x, keep = traced(x), bool(keepdims) and keepdims is not np._NoValue
        if out is not None or (keep and axis is None):
            raise refuse(f"numpy.{name} of this kind")
        if axis is None:
            x, axis = x.reshape(-1), 0
        found = _reduced(name, x, axis % x.ndim, getattr(np, name))
        return _kept(found, axis, x.shape, keep)

    return call
