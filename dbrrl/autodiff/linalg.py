"""Matrix products."""

import functools
from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import rectified
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method, reflected
from dbrrl.autodiff.tensor import Tensor, observing, plain, state, wrap
from dbrrl.autodiff.watch import watched
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


# Activations that Linear can apply to its own fresh output: name -> (in-place function, derivative from the output y).
FUSED: dict[str, tuple[Any, Any]] = {
    "tanh": (lambda y: np.tanh(y, out=y), lambda g, y: g * (1 - y * y)),
    "relu": (lambda y: rectified(y, out=y), lambda g, y: g * np.greater(y, 0)),
}


class Linear(Op):
    """y = f(x Wᵀ + b), f one of FUSED or nothing; with g' = g f'(y): dx = g' W, dW = g'ᵀ x, db = Σ g'."""

    def __init__(self, activation: str | None = None) -> None:
        self.activation = activation

    def forward(self, x: Any, w: Any, *b: Any) -> Any:
        try:
            rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
            y = _product(rows, w)
            if b:
                y += b[0] if len(y) > 1 else b[0][None]  # arrays of one shape take a third of the time
        except ValueError:
            raise ShapeError(
                f"linear: expected x (..., in), weight (out, in), bias (out,), got {[a.shape for a in (x, w, *b)]}: "
                "flatten the input or change in_features"
            ) from None
        y = y if self.activation is None else FUSED[self.activation][0](y)
        return y if rows is x else y.reshape(*x.shape[:-1], len(w))

    def backward(self, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        if self.activation is not None:
            if self.activation == "tanh" and type(g) is np.ndarray:
                slope = y * y  # the first-order pass: g - g y² in one fresh array
                slope *= g
                g = np.subtract(g, slope, out=slope)
            else:
                g = FUSED[self.activation][1](g, y)
        shape = x.shape
        if len(shape) != 2:
            g, x = g.reshape(-1, g.shape[-1]), x.reshape(-1, shape[-1])
        gx = g.dot(w) if self.needs(0) else None  # .dot: half a microsecond less than matmul
        if gx is not None and len(shape) != 2:
            gx = gx.reshape(shape)
        gw = g.T.dot(x)
        if not b:
            return gx, gw
        return gx, gw, _ones(len(g), g.dtype).dot(g) if type(g) is np.ndarray else np.sum(g, axis=0)


def _product(x: Any, w: Any) -> Any:
    """The product x Wᵀ of x (n, in) and W (out, in).

    A BLAS first rearranges what comes transposed. Where rows are few that had better be x than W, though the result
    has to be turned then: up to twice as fast. Small products go without rearranging.
    """
    n = len(x)
    if n * w.size > 150_000 and 1 < n <= min(w.shape) // 4 and type(x) is np.ndarray:
        return np.ascontiguousarray(w.dot(x.T).T)
    return x.dot(w.T)


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype[Any]) -> np.ndarray:
    """A row of ones: its product with a matrix sums the columns faster than a reduction."""
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def linear(x: Any, weight: Any, bias: Any = None, activation: str | None = None) -> Any:
    """f(x Wᵀ + b) for x (..., in), weight (out, in), bias (out,) or None: shape (..., out).

    Args:
        activation: None, "tanh" or "relu": applied in the same op, which saves memory and time.

    Raises:
        ShapeError: the last axis of x is not `in`, or the bias is not (out,).
    """
    op = Linear(activation)
    if bias is None:
        return op(x, weight)
    if isinstance(weight, Tensor) and not (state.recording or observing or watched):
        given, w = plain(x), weight.array
        if type(given) is type(w) and given.dtype is w.dtype:  # nothing to record, nothing to convert
            return wrap(op.forward(given, w, plain(bias)))
    return op(x, weight, bias)
