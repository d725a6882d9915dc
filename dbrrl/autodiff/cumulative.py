"""Sums and products along an axis, running ones too, and differences of neighbours."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.reduce import LISTS, Axis, joined, normalize_axes, sum
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.shape import concatenate, reshape, transpose
from dbrrl.errors import ShapeError


class Cumsum(Op):
    """y[i] = Σ x[j], j <= i, along an axis; the gradient is the running sum from the end."""

    sums = True
    saves_inputs = False

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return np.cumsum(x, axis=self.axis)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        backwards = (slice(None),) * self.axis + (slice(None, None, -1),)
        return np.cumsum(g[backwards], axis=self.axis)[backwards]


def _line(x: Any, axis: int | None, name: str) -> tuple[Any, int]:
    """x and the number of the axis; x flattened, and 0, if that is None."""
    return (reshape(x, -1), 0) if axis is None else (x, normalize_axes(axis, x.ndim, name)[0])


@implements(np.cumsum)
@method("cumsum")
def cumsum(x: Any, axis: int | None = None) -> Any:
    """Running sum along `axis`; over the flattened x by default."""
    x, axis = _line(x, axis, "cumsum")
    return Cumsum(axis)(x)


@implements(np.cumprod)
@method("cumprod")
def cumprod(x: Any, axis: int | None = None) -> Any:
    """Running product along `axis`; over the flattened x by default. Its gradient is right at zeros, too.

    Each round multiplies by the element twice as far back (Hillis & Steele 1986): log₂ n products of whole arrays.
    """
    x, axis = _line(x, axis, "cumprod")
    before, step = (slice(None),) * axis, 1
    while step < x.shape[axis]:
        head, tail, body = (x[(*before, part)] for part in (slice(step), slice(step, None), slice(None, -step)))
        x, step = concatenate([head, tail * body], axis), 2 * step
    return x


@implements(np.prod)
@method("prod")
def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Product over `axis` (all axes by default), 1 of nothing. Its gradient is right at zeros, too: pairs by pairs."""
    x = joined(x) if type(x) in LISTS else x
    axes = normalize_axes(axis, x.ndim, "prod")
    if not x.size:
        return sum(x, axes, keepdims) + 1
    kept = [n for a, n in enumerate(x.shape) if a not in axes]
    y = reshape(transpose(x, [a for a in range(x.ndim) if a not in axes] + list(axes)), (*kept, -1))
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        pairs = y[..., :half] * y[..., half : 2 * half]
        y = concatenate([pairs, y[..., 2 * half :]], len(kept)) if y.shape[-1] % 2 else pairs
    return reshape(y, tuple(1 if a in axes else n for a, n in enumerate(x.shape)) if keepdims else tuple(kept))


@implements(np.diff)
def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences x[i + 1] - x[i] along `axis`, taken n times."""
    axis = normalize_axes(axis, x.ndim, "diff")[0]
    if n < 0:
        raise ShapeError(f"diff: expected n of 0 or more, got {n}: give the number of times")
    before = (slice(None),) * axis
    for _ in range(n):
        x = x[(*before, slice(1, None))] - x[(*before, slice(None, -1))]
    return x
