"""Variance and standard deviation, exactly 0 of equal numbers; weighted means."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import LISTS, Axis, count, joined, mean, normalize_axes, sum
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import to_device_of
from dbrrl.errors import ShapeError


@implements(np.var)
@method("var")
def var(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """Variance over `axis`: Σ (x - mean)² / (n - ddof)."""
    x = joined(x) if type(x) in LISTS else x
    if is_half(x):
        return var(x.astype(np.float32), axis, ddof, keepdims).astype(np.float16)
    axes = normalize_axes(axis, x.ndim, "var")
    n = count(x.shape, axes)
    if n - ddof <= 0:
        raise ShapeError(f"var: expected more than {ddof} elements (ddof), got {n}: use a larger batch")
    centered = less_mean(x, axes)
    return sum(centered * centered, axes, keepdims) / (n - ddof)


def less_mean(x: Any, axes: tuple[int, ...]) -> Any:
    """`x` less its mean over `axes`, which is 0 where all are equal: a mean alone would be off by its rounding."""
    first = plain(x)[tuple(slice(1) if a in axes else slice(None) for a in range(x.ndim))]
    shifted = x - first
    return shifted - mean(shifted, axes, keepdims=True)


class Deviation(Op):
    """y = √v of a variance v; dv = 1 / 2y, 0 where y = 0: equal numbers, from which it grows whichever is moved."""

    saves_inputs = False

    def forward(self, v: Any) -> Any:
        return np.sqrt(v)

    def backward(self, g: Any, y: Any, v: Any) -> Any:
        return g * np.not_equal(y, 0) / (2 * (y + np.equal(y, 0)))


@implements(np.std)
@method("std")
def std(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """Standard deviation over `axis`, the root of `var`; its gradient is 0 where all elements are equal."""
    x = joined(x) if type(x) in LISTS else x
    if is_half(x):
        return std(x.astype(np.float32), axis, ddof, keepdims).astype(np.float16)
    return Deviation()(var(x, axis, ddof, keepdims))


@implements(np.average)
def average(x: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    """Mean over `axis`, weighed by `weights` of the shape of x or (n,) along one axis: Σ w x / Σ w."""
    if weights is None:
        return mean(x, axis, keepdims)
    if is_half(x):
        return average(x.astype(np.float32), axis, weights, keepdims).astype(np.float16)
    axes = normalize_axes(axis, x.ndim, "average")
    weights = to_device_of(plain(x), weights if hasattr(weights, "shape") else np.asarray(weights))
    if weights.shape != x.shape:
        if len(axes) != 1 or weights.shape != (x.shape[axes[0]],):
            raise ShapeError(
                f"average: expected weights {x.shape}, or one for each element of one axis, got {weights.shape} along "
                f"axis {axis}: reshape them"
            )
        weights = np.reshape(weights, tuple(n if a in axes else 1 for a, n in enumerate(x.shape)))
        return sum(x * weights, axes, keepdims) / sum(weights)
    return sum(x * weights, axes, keepdims) / sum(weights, axes, keepdims)
