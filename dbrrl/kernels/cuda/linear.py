"""Linear layers on a GPU: product, bias and activation in one kernel, and their gradients in another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff import ensemble, linear
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import replaces

from . import dense


class _Layers(linear.Layers):
    """One layer forward, and its gradients, in fused kernels."""

    @staticmethod
    def layer(x: Any, w: Any, b: Any, activation: str | None = None) -> Any:
        try:
            return dense.forward(x, w, b, activation)
        except ValueError:
            raise linear.misfit(x, w, b) from None

    @staticmethod
    def layer_gradients(
        g: Any, y: Any, x: Any, w: Any, activation: str | None, needs: Sequence[bool], own: bool = False
    ) -> tuple[Any, Any, Any]:
        if isinstance(g, Tensor):
            return linear.Layers.layer_gradients(g, y, x, w, activation, needs, own)
        return dense.backward(g, y, x, w, activation, needs)


@replaces(linear.Linear, "cuda")
class Linear(_Layers, linear.Linear):
    """One layer."""


@replaces(linear.FusedLinear, "cuda")
class FusedLinear(_Layers, linear.FusedLinear):
    """Several layers."""


@replaces(linear.Noisy, "cuda")
class Noisy(_Layers, linear.Noisy):
    """A layer with noise."""


@replaces(ensemble.EnsemblePerceptron, "cuda")
class EnsemblePerceptron(ensemble.EnsemblePerceptron):
    """Several layers of several networks."""

    @staticmethod
    def layer(x: Any, w: Any, b: Any, activation: str | None) -> Any:
        """One layer forward, all members in one batched product."""
        y = np.matmul(x, np.swapaxes(w, 1, 2))
        y += b[:, None]
        return linear.activated(y, activation)


@replaces(linear.outputs, "cuda")
def _outputs(x: Any, arrays: Sequence[Any], activations: Sequence[str | None]) -> Any:
    for i, activation in enumerate(activations):
        x = _Layers.layer(x, arrays[2 * i], arrays[2 * i + 1], activation)
    return x
