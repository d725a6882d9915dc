"""Diagonals and triangles of matrices."""

from typing import Any

import numpy as np

from dbrrl.autodiff.arithmetic import where
from dbrrl.autodiff.arrange import moveaxis
from dbrrl.autodiff.index import Scatter, getitem
from dbrrl.autodiff.reduce import sum
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import to_device_of
from dbrrl.errors import ShapeError


def _places(n: int, m: int, offset: int) -> tuple[Any, Any]:
    """Rows and columns of a diagonal of an (n, m) matrix; it starts in column `offset`, or in row -offset."""
    row, column = max(-offset, 0), max(offset, 0)
    index = np.arange(max(min(n - row, m - column), 0))
    return index + row, index + column


@implements(np.diagonal)
@method("diagonal")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of the matrices in two axes, which become one, the last; `offset` counts to the right."""
    if x.ndim < 2:
        raise ShapeError(f"diagonal: expected at least two axes, got shape {x.shape}: a vector is for np.diag")
    x = moveaxis(x, (axis1, axis2), (x.ndim - 2, x.ndim - 1))
    return getitem(x, (..., *_places(x.shape[-2], x.shape[-1], offset)))


@implements(np.diag)
def diag(x: Any, k: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal; `k` counts to the right."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(f"diag: expected a vector or a matrix, got shape {x.shape}: use np.diagonal for stacks")
    n = x.shape[0] + abs(k)
    return Scatter(to_device_of(plain(x), _places(n, n, k)), (n, n))(x)


@implements(np.trace)
@method("trace")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sum of the diagonal of the matrices in two axes."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


@implements(np.tril)
def tril(x: Any, k: int = 0) -> Any:
    """Matrices in the last two axes with 0 above diagonal `k`."""
    return where(_lower(x, k), x, 0.0)


def _lower(x: Any, k: int) -> Any:
    """True on and below diagonal `k` of the last two axes; of a vector's n rows, as in NumPy."""
    m = x.shape[-1]
    return np.tri(x.shape[-2] if x.ndim > 1 else m, m, k, dtype=bool)


@implements(np.triu)
def triu(x: Any, k: int = 0) -> Any:
    """Matrices in the last two axes with 0 below diagonal `k`."""
    return where(_lower(x, k - 1), 0.0, x)
