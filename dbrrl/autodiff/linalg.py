"""Matrix products."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method, reflected
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


@implements(np.matmul)
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
    kept = (
        y.shape[: len(y.shape) - 2] + (() if len(sa) == 1 else y.shape[-2:-1]) + (() if len(sb) == 1 else y.shape[-1:])
    )
    return np.reshape(y, kept)


@implements(np.dot)
@method("dot")
def dot(a: Any, b: Any) -> Any:
    """Product of vectors and matrices, as `matmul`; ShapeError for more than two axes, where NumPy's rules differ."""
    if len(_shape(a)) > 2 or len(_shape(b)) > 2:
        raise ShapeError(f"dot: expected vectors or matrices, got {_shape(a)} and {_shape(b)}: use matmul")
    return matmul(a, b)
