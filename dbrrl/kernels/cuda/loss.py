"""Losses on a GPU."""

from typing import Any

import numpy as np

from dbrrl.autodiff import loss, quantile
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import replaces

from .kernels import Kernel, scaled


def _squared(a: Any, b: Any) -> tuple[Any, Any]:
    d = a - b
    return d, d * d


squared_error = Kernel("squared_error", "T a, T b", "T d, T square", "d = a - b; square = d * d", _squared)


@replaces(loss.MeanSquaredError, "cuda")
class MeanSquaredError(loss.MeanSquaredError):
    """Difference and square in one kernel."""

    def forward(self, a: Any, b: Any) -> Any:
        if a.dtype != b.dtype:
            return super().forward(a, b)
        self.d, squares = squared_error(a, b)
        return np.sum(squares) / squares.size

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        if isinstance(g, Tensor):
            return super().backward(g, y, a, b)
        ga = scaled(self.d, g, 2 / self.d.size)
        return ga, -ga if self.needs(1) else None


@replaces(quantile.SortedQuantileHuber, "cuda")
class AllPairs(quantile.SortedQuantileHuber):
    """All pairs at once: a GPU has them sooner than it sorts, and what sorts cannot be recorded."""

    forward = quantile.QuantileHuber.forward
    backward = quantile.QuantileHuber.backward
