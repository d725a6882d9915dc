"""Linear layers: one alone, one with noise, or several one after the other as one op."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import rectified
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, observing, plain, state, wrap
from dbrrl.backend import replaceable, to_device_of
from dbrrl.errors import ShapeError

# Activations that follow a layer within its op: name -> (function of (y, out), derivative from the output y).
FUSED: dict[str, tuple[Any, Any]] = {
    "tanh": (np.tanh, lambda g, y: g * (1 - y * y)),
    "relu": (rectified, lambda g, y: g * np.greater(y, 0)),
}


def _layer(x: Any, w: Any, b: Any, activation: str | None = None) -> Any:
    try:
        y = x.dot(w.T) if len(x) * w.size <= SMALL else _product(x, w)
        if b is not None:
            y += b[None] if len(x) == 1 else b  # arrays of one shape take a third of the time
    except ValueError:
        raise misfit(x, w, b) from None
    if activation is not None:
        FUSED[activation][0](y, y)
    return y


class Layers:
    """Base of the ops made of linear layers: one layer forward, and its gradients."""

    layer = staticmethod(_layer)

    @staticmethod
    def layer_gradients(
        g: Any, y: Any, x: Any, w: Any, activation: str | None, needs: Sequence[bool], own: bool = False
    ) -> tuple[Any, Any, Any]:
        """The gradients of x, w and b, each None unless it is needed, from g, that of y = f(x Wᵀ + b), all matrices.

        Where g is the op's `own` array, it may be changed.
        """
        if activation is not None:
            g = before_activation(g, y, activation, own)
        to_x, to_w, to_b = needs
        gx = g.dot(w) if to_x else None  # .dot: half a microsecond less than matmul
        gw = g.T.dot(x) if to_w else None
        if not to_b:
            return gx, gw, None
        return gx, gw, np.sum(g, axis=0) if isinstance(g, Tensor) else _ones(len(g), g.dtype).dot(g)


class Linear(Layers, Op):
    """y = f(x Wᵀ + b), f one of FUSED or nothing; with g' = g f'(y): dx = g' W, dW = g'ᵀ x, db = Σ g'."""

    def __init__(self, activation: str | None = None) -> None:
        self.activation = activation

    def forward(self, x: Any, w: Any, *b: Any) -> Any:
        y = self.layer(_rows(x), w, b[0] if b else None, self.activation)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(w))

    def backward(self, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        needs = self.needs(0), self.needs(1), bool(b) and self.needs(2)
        gx, gw, gb = self.layer_gradients(_rows(g), _rows(y), _rows(x), w, self.activation, needs)
        return (_like(gx, x), gw, gb) if b else (_like(gx, x), gw)


class FusedLinear(Layers, Op):
    """Linear layers one after the other; each is computed and differentiated as `Linear`."""

    def __init__(self, activations: Sequence[str | None]) -> None:
        self.activations = activations

    def forward(self, x: Any, *parameters: Any) -> Any:
        y, i = _rows(x), 0
        outputs = self.outputs = [y]
        for activation in self.activations:
            y = self.layer(y, parameters[i], parameters[i + 1], activation)
            outputs.append(y)
            i += 2
        return y if y.ndim == x.ndim else y.reshape(*x.shape[:-1], y.shape[-1])

    def backward(self, g: Any, y: Any, x: Any, *parameters: Any) -> Any:
        outputs, last, g = self.outputs, len(self.activations) - 1, _rows(g)
        gradients: list[Any] = [None] * (1 + len(parameters))
        first, to_input, needs = first_layer(self, last), self.needs(0), self.needs
        if isinstance(g, Tensor):  # to be differentiated again: what happened inside is recorded now
            outputs = [_rows(x)]
            for i, activation in enumerate(self.activations):
                outputs.append(linear(outputs[i], parameters[2 * i], parameters[2 * i + 1], activation))
        for i in range(last, first - 1, -1):
            w, at = parameters[2 * i], 2 * i + 1
            wanted = i > first or to_input, needs(at), needs(at + 1)
            g, gradients[at], gradients[at + 1] = self.layer_gradients(
                g, outputs[i + 1], outputs[i], w, self.activations[i], wanted, i < last
            )
        gradients[0] = _like(g, x) if to_input else None
        return tuple(gradients)


class Noisy(Layers, Op):
    """y = f(x Wᵀ + b + ε' ⊙ ((ε ⊙ x) Sᵀ + s)), f as in `Linear`: one draw of noise ε, ε' for all rows of x.

    x is given twice, first for the noise: its two gradients are added up by the engine.
    """

    def __init__(self, noise_in: Any, noise_out: Any, activation: str | None) -> None:
        self.noise_in, self.noise_out, self.activation = noise_in, noise_out, activation

    def forward(self, x: Any, _: Any, w: Any, b: Any, s: Any, t: Any) -> Any:
        self.scaled = _rows(x) * self.noise_in
        y, noise = self.layer(_rows(x), w, b), self.layer(self.scaled, s, t)
        noise *= self.noise_out
        y += noise
        y = activated(y, self.activation)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(w))

    def backward(self, g: Any, y: Any, x: Any, _: Any, w: Any, b: Any, s: Any, t: Any) -> Any:
        g, further = before_activation(_rows(g), _rows(y), self.activation), self.needs(0)
        scaled = _rows(x) * self.noise_in if isinstance(g, Tensor) else self.scaled
        noise, mean = ((further, self.needs(i), self.needs(i + 1)) for i in (4, 2))
        from_noise, gs, gt = self.layer_gradients(g * self.noise_out, y, scaled, s, None, noise)
        gx, gw, gb = self.layer_gradients(g, y, _rows(x), w, None, mean)
        return _like(from_noise * self.noise_in if further else None, x), _like(gx, x), gw, gb, gs, gt


def first_layer(op: Op, last: int) -> int:
    """Return the first of the layers 0 to `last` of an op that takes part in backward: those before want no gradient.

    The inputs of the op are x, and the weight and the bias of each layer.
    """
    needs, first = op.needs, 0
    while not needs(0) and first < last and not (needs(2 * first + 1) or needs(2 * first + 2)):
        first += 1
    return first


@replaceable
def outputs(x: Any, arrays: Sequence[Any], activations: Sequence[str | None]) -> Any:
    """The outputs of the last layer for the matrix x; what only backward reads is not kept."""
    if len(x) == 1:
        return _row_outputs(x[0], arrays, activations)[None]
    y, i = x, 0
    for activation in activations:
        y = _layer(y, arrays[i], arrays[i + 1], activation)
        i += 2
    return y


def _row_outputs(x: Any, arrays: Sequence[Any], activations: Sequence[str | None]) -> Any:
    """The same for a vector, in five sixths of the time of a matrix of one row."""
    y, i = x, 0
    try:
        for activation in activations:
            x = y
            y = arrays[i].dot(x)
            y += arrays[i + 1]
            if activation is not None:
                FUSED[activation][0](y, y)
            i += 2
    except ValueError:
        raise misfit(x[None], *arrays[i : i + 2]) from None
    return y


def _rows(x: Any) -> Any:
    """(..., n) as a matrix (rows, n)."""
    return x if len(x.shape) == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _like(rows: Any, x: Any) -> Any:
    """`rows`, a matrix or None, in the shape of x."""
    return rows if rows is None or len(x.shape) == 2 else rows.reshape(x.shape)


def misfit(x: Any, w: Any, b: Any) -> ShapeError:
    """The error for a layer whose input, weight and bias do not fit."""
    shapes = [a.shape for a in (x, w, b) if a is not None]
    return ShapeError(
        f"linear: expected x (..., in), weight (out, in), bias (out,), got {shapes}: "
        "flatten the input or change in_features"
    )


SMALL = 150_000  # multiply-adds of a product that a BLAS does not rearrange


def _product(x: Any, w: Any) -> Any:
    """The product x Wᵀ of x (n, in) and W (out, in).

    A BLAS first rearranges what comes transposed. Where rows are few that had better be x than W, though the result
    has to be turned then: up to twice as fast. SMALL products go without rearranging.
    """
    n = len(x)
    if n * w.size > SMALL and n <= min(w.shape) // 4:
        return np.ascontiguousarray(w.dot(x.T).T)
    return x.dot(w.T)


def activated(y: Any, activation: str | None) -> Any:
    """f(y), in place."""
    return y if activation is None else FUSED[activation][0](y, y)


def before_activation(g: Any, y: Any, activation: str | None, own: bool = False) -> Any:
    """The gradient before the activation, g f'(y); in place where it is our own and the order is the first."""
    if activation is None:
        return g
    if not isinstance(g, Tensor):
        if own and activation == "relu":
            g *= np.greater(y, 0)
            return g
        if activation == "tanh":
            slope = y * y  # g - g y² in one fresh array
            slope *= g
            return np.subtract(g, slope, out=slope)
    return FUSED[activation][1](g, y)


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
    return op(x, weight) if bias is None else op(x, weight, bias)


def perceptron(x: Any, parameters: Sequence[Any], activations: Sequence[str | None]) -> Any:
    """`linear` once for each activation: x (..., in) to (..., out of the last).

    They are one op, which saves time where they are small; but while a tool for debugging looks on, one each.

    Args:
        parameters: weight and bias of the first layer, those of the second, and so on.

    Raises:
        ShapeError: as `linear`.
    """
    if len(activations) == 1 or observing:
        for i, activation in enumerate(activations):
            x = linear(x, parameters[2 * i], parameters[2 * i + 1], activation)
        return x
    if not (state.recording or isinstance(x, Tensor)):
        try:  # nothing to record; tensors of one type have nothing to convert
            arrays = [p.array for p in parameters]
        except AttributeError:
            return FusedLinear(activations)(x, *parameters)
        w = arrays[0]
        if type(w) is type(x) and w.dtype is x.dtype and x.ndim == 2:
            return wrap(outputs(x, arrays, activations))
    return FusedLinear(activations)(x, *parameters)


def noisy_linear(
    x: Any, weight: Any, bias: Any, weight_sigma: Any, bias_sigma: Any, noise: tuple[Any, Any],
    activation: str | None = None,
) -> Any:  # fmt: skip
    """Linear with factorized noise (Fortunato et al. 2018, eq. 9 and 10): x (..., in) to (..., out).

    f((W + S ⊙ ε' εᵀ) x + b + s ⊙ ε') with the sigmas S and s; the noise is never spread over a matrix of weights.

    Args:
        weight, weight_sigma: (out, in).
        bias, bias_sigma: (out,).
        noise: arrays ε (in,) and ε' (out,).
        activation: as in `linear`.

    Raises:
        ShapeError: as `linear`.
    """
    noise_in, noise_out = to_device_of(plain(x), noise)
    return Noisy(noise_in, noise_out, activation)(x, x, weight, bias, weight_sigma, bias_sigma)
