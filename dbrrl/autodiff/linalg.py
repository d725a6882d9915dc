"""Matrix products."""

from typing import Any

import numpy as np

from dbrrl.autodiff.register import implements, method, reflected
from dbrrl.autodiff.tensor import Op
from dbrrl.errors import ShapeError


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else np.shape(x)


class MatMul(Op):
    """y = a @ b over the last two axes; da = g bᵀ, db = aᵀ g."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.matmul(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = np.matmul(g, np.swapaxes(b, -1, -2)) if self.needs(0) else None
        gb = np.matmul(np.swapaxes(a, -1, -2), g) if self.needs(1) else None
        return ga, gb


@implements(np.matmul, np.dot)
@method("__matmul__")
@reflected("__rmatmul__")
def matmul(a: Any, b: Any) -> Any:
    """Matrix product of (..., n, k) and (..., k, m), broadcast over the rest; vectors as in NumPy.

    Raises:
        ShapeError: scalars, or inner sizes that differ.
    """
    sa, sb = _shape(a), _shape(b)
    if not sa or not sb or sa[-1] != sb[-2 if len(sb) > 1 else 0]:
        raise ShapeError(f"matmul: expected (..., n, k) @ (..., k, m), got {sa} @ {sb}: the inner sizes must be equal")
    if len(sa) > 1 and len(sb) > 1:
        return MatMul()(a, b)
    y = MatMul()(np.reshape(a, (1, -1)) if len(sa) == 1 else a, np.reshape(b, (-1, 1)) if len(sb) == 1 else b)
    kept = y.shape[: len(y.shape) - 2] + (() if len(sa) == 1 else y.shape[-2:-1]) + (() if len(sb) == 1 else y.shape[-1:])
    return np.reshape(y, kept)


class Linear(Op):
    """y = x Wᵀ + b; dx = g W, dW = gᵀ x, db = Σ g."""

    def forward(self, x: Any, w: Any, *b: Any) -> Any:
        y = np.matmul(x, w.T)
        if b:
            y += b[0]
        return y

    def backward(self, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        gx = np.matmul(g, w) if self.needs(0) else None
        if g.ndim != 2:
            g, x = np.reshape(g, (-1, g.shape[-1])), np.reshape(x, (-1, x.shape[-1]))
        gw = np.matmul(np.transpose(g), x)
        if not b:
            return gx, gw
        ones = np.ones(g.shape[0], g.dtype)  # a matrix-vector product sums columns faster than a reduction
        return gx, gw, np.matmul(ones, g)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b for x (..., in), weight (out, in), bias (out,) or None: shape (..., out).

    Raises:
        ShapeError: the last axis of x is not `in`.
    """
    if x.shape[-1:] != weight.shape[-1:]:
        raise ShapeError(
            f"linear: expected x of shape (..., {weight.shape[-1]}) for weight {weight.shape}, got {x.shape}: "
            "flatten the input or change in_features"
        )
    return Linear()(x, weight) if bias is None else Linear()(x, weight, bias)
