"""Weighted sums: the terms of a loss, and the weighted mean over a batch."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, constant, plain
from dbrrl.backend import to_device_of
from dbrrl.errors import ShapeError


class WeightedSum(Op):
    """y = Σ wᵢ xᵢ of numbers xᵢ; dxᵢ = wᵢ g."""

    saves_inputs = False

    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = weights

    def forward(self, *terms: Any) -> Any:
        total = self.weights[0] * terms[0]
        for weight, term in zip(self.weights[1:], terms[1:], strict=True):
            total = total + weight * term
        return total

    def backward(self, g: Any, y: Any, *terms: Any) -> Any:
        return tuple([g * weight for weight in self.weights])


def weighted_sum(*terms: tuple[float, Any]) -> Any:
    """The sum Σ wᵢ xᵢ of pairs (weight, scalar tensor): a loss of several terms, in one op.

    Raises:
        ShapeError: there is no term, or one is not a scalar.
    """
    weights, values = zip(*terms, strict=True) if terms else ((), ())
    for value in values:
        if getattr(value, "shape", ()) != ():
            raise ShapeError(
                f"weighted_sum: expected scalars, got shape {value.shape}: reduce it first, for example with .mean()"
            )
    if not terms:
        raise ShapeError("weighted_sum: expected at least one pair of a weight and a scalar, got none")
    return WeightedSum(weights)(*values)


class WeightedMean(Op):
    """y = Σ wᵢ xᵢ / n over a vector x (n,); dx = g w / n."""

    sums = True
    saves_inputs = False

    def __init__(self, share: Any) -> None:
        self.share = share  # w / n

    def forward(self, x: Any) -> Any:
        return x @ self.share

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * self.share


def weighted_mean(x: Any, weight: Any = None) -> Any:
    """The mean Σ wᵢ xᵢ / n of x (n,) with the weights w (n,), which need no gradient; None: all weights are 1.

    Raises:
        ShapeError: x is no vector of at least one number, or w has another shape.
    """
    array = plain(x)
    weight = None if weight is None else to_device_of(array, plain(constant(weight, "weighted_mean: weight")))
    if array.ndim != 1 or not array.size or (weight is not None and weight.shape != array.shape):
        given = "" if weight is None else f" and weights {weight.shape}"
        raise ShapeError(f"weighted_mean: expected one number per row, (n,), got {array.shape}{given}: reduce it first")
    n = len(array)
    if weight is None:
        share = np.full_like(array, 1 / n)
    else:
        share = (weight / array.dtype.type(n)).astype(array.dtype, copy=False)
    if isinstance(x, Tensor):
        return WeightedMean(share)(x)
    return array @ share
