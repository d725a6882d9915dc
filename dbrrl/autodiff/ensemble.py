"""Linear layers of several networks of one shape at once: each layer of all of them is one batched product."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.linear import FUSED, before_activation, first_layer
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, observing
from dbrrl.errors import ShapeError


class EnsemblePerceptron(Op):
    """Linear layers one after the other, y[k] = f(x[k] W[k]ᵀ + b[k]) for each member k of an ensemble.

    With g' = g f'(y): dx[k] = g'[k] W[k], dW[k] = g'[k]ᵀ x[k], db[k] = Σ g'[k]. Inputs that all members share, (B, in),
    get the sum over the members.
    """

    def __init__(self, activations: Sequence[str | None]) -> None:
        self.activations = activations

    before = staticmethod(before_activation)

    @staticmethod
    def layer(x: Any, w: Any, b: Any, activation: str | None) -> Any:
        """One layer forward. The members take turns, so that what one has computed is still in the cache."""
        y = np.empty((len(w), x.shape[-2], w.shape[1]), np.result_type(x, w))
        for k, out in enumerate(y):
            np.dot(x if x.ndim == 2 else x[k], w[k].T, out=out)
            out += b[k]
            if activation is not None:
                FUSED[activation][0](out, out)
        return y

    def forward(self, x: Any, *parameters: Any) -> Any:
        y, outputs = x, [x]
        for i, activation in enumerate(self.activations):
            y = self.layer(y, parameters[2 * i], parameters[2 * i + 1], activation)
            outputs.append(y)
        self.outputs = outputs
        return y

    def backward(self, g: Any, y: Any, x: Any, *parameters: Any) -> Any:
        outputs, last, twice = self.outputs, len(self.activations) - 1, isinstance(g, Tensor)
        gradients: list[Any] = [None] * (1 + len(parameters))
        first, to_input, needs = first_layer(self, last), self.needs(0), self.needs
        if twice:  # to be differentiated again: what happened inside is recorded now
            outputs = [x]
            for i, activation in enumerate(self.activations):
                outputs.append(ensemble_linear(outputs[i], parameters[2 * i], parameters[2 * i + 1], activation))
        for i in range(last, first - 1, -1):
            at = 2 * i + 1
            g = self.before(g, outputs[i + 1], self.activations[i], i < last)
            if needs(at):
                gradients[at] = np.matmul(np.swapaxes(g, 1, 2), outputs[i])
            if needs(at + 1):
                # A product with ones sums rows in a third of the time.
                gradients[at + 1] = np.sum(g, axis=1) if twice else np.matmul(np.ones_like(g, shape=g.shape[1]), g)
            if i > first or to_input:
                w = parameters[2 * i]
                g = g * w if w.shape[1] == 1 else np.matmul(g, w)  # of one column the product is much slower
        gradients[0] = g if to_input else None
        return tuple(gradients)


def ensemble_linear(x: Any, weight: Any, bias: Any, activation: str | None = None) -> Any:
    """f(x[k] W[k]ᵀ + b[k]) for each member k of an ensemble: (m, B, out).

    Args:
        x: (B, in), which all members share, or (m, B, in).
        weight, bias: (m, out, in) and (m, out).
        activation: None, "tanh" or "relu": applied in the same op.

    Raises:
        ShapeError: the shapes do not fit.
    """
    return ensemble_perceptron(x, (weight, bias), (activation,))


def ensemble_perceptron(x: Any, parameters: Sequence[Any], activations: Sequence[str | None]) -> Any:
    """`ensemble_linear` once for each activation, as one op: x (B, in) or (m, B, in) to (m, B, out of the last).

    Args:
        parameters: weight and bias of the first layer, those of the second, and so on.

    Raises:
        ShapeError: as `ensemble_linear`.
    """
    _check(x, parameters)
    if len(activations) > 1 and observing:  # a tool for debugging looks on
        for i, activation in enumerate(activations):
            x = EnsemblePerceptron((activation,))(x, parameters[2 * i], parameters[2 * i + 1])
        return x
    return EnsemblePerceptron(activations)(x, *parameters)


def _check(x: Any, parameters: Sequence[Any]) -> None:
    shape = x.shape
    for w, b in zip(parameters[::2], parameters[1::2], strict=True):
        fits = len(w.shape) == 3 and b.shape == w.shape[:2] and shape[-1:] == w.shape[2:]
        if not fits or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != w.shape[0]):
            raise ShapeError(
                f"ensemble_linear: expected x (B, in) or (m, B, in), weight (m, out, in), bias (m, out), got {shape}, "
                f"{w.shape}, {b.shape}: give each member the same sizes"
            )
        shape = (w.shape[0], shape[-2], w.shape[1])
