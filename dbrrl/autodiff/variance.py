"""Variance and standard deviation, exactly 0 of equal numbers."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import Axis, count, mean, normalize_axes, sum
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import plain
from dbrrl.errors import ShapeError


@implements(np.var)
@method("var")
def var(x: Any, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Any:
    """Variance over `axis`: Σ (x - mean)² / (n - ddof)."""
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
    if is_half(x):
        return std(x.astype(np.float32), axis, ddof, keepdims).astype(np.float16)
    return Deviation()(var(x, axis, ddof, keepdims))
