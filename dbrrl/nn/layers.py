"""Layers that are functions of their input: linear maps, normalization, embeddings."""

import math
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.nn import init
from dbrrl.nn.module import Module, Parameter


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator itself, one made from a seed, or (None) one from the system's entropy."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def check_sizes(layer: str, **sizes: Any) -> None:
    """ConfigError for a size of a layer that is not an integer of 0 or more, such as None, which is not inferred."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
            raise ConfigError(
                f"{layer}: expected {name} as a whole number of 0 or more, got {size!r}: sizes are not inferred from "
                "the first input, so give the size of what comes in, such as x.shape[-1]"
            )


class Linear(Module):
    """y = x Wᵀ + b: (..., in_features) to (..., out_features).

    Args:
        bias: whether there is a b.
        gain: weights orthogonal with this gain and b = 0; by default both uniform with bound 1 / √(in_features).
        rng: generator or seed of the initial weights; from the system's entropy if None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        rng, shape = generator(rng), (out_features, in_features)
        bound = 1 / math.sqrt(max(in_features, 1))
        self.weight = Parameter(init.uniform(rng, shape, bound) if gain is None else init.orthogonal(rng, shape, gain))
        start = np.zeros(out_features, np.float32) if gain is not None else init.uniform(rng, (out_features,), bound)
        self.bias = Parameter(start) if bias else None

    def forward(self, x: Any, activation: str | None = None) -> Any:
        """(..., in_features) to (..., out_features); `activation` as in `functional.linear`."""
        return F.linear(x, self.weight, self.bias, activation)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class LayerNorm(Module):
    """Each row to mean 0 and variance 1, times a weight, plus a bias (Ba et al. 2016): (..., features) to the same.

    Args:
        eps: added to the variance.
        affine: whether there are a weight (from 1) and a bias (from 0).
    """

    def __init__(self, features: int, eps: float = 1e-5, affine: bool = True) -> None:
        check_sizes("LayerNorm", features=features)
        self.features, self.eps = features, eps
        self.weight = Parameter(np.ones(features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(features, np.float32)) if affine else None

    def forward(self, x: Any) -> Any:
        """(..., features) to (..., features)."""
        if x.shape[-1:] != (self.features,):
            raise ShapeError(f"LayerNorm: expected x (..., {self.features}), got {x.shape}: change features")
        return F.layer_norm(x, self.weight, self.bias, self.eps)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.features}, eps={self.eps}"


class Embedding(Module):
    """A learned row of features for each of `number` integers: (...) to (..., features).

    Args:
        rng: generator or seed of the initial weights, standard normal; from the system's entropy if None.
    """

    def __init__(self, number: int, features: int, rng: np.random.Generator | int | None = None) -> None:
        check_sizes("Embedding", number=number, features=features)
        self.weight = Parameter(init.normal(generator(rng), (number, features)))

    def forward(self, indices: Any) -> Any:
        """Integers (...) in [0, number) to (..., features)."""
        return F.embedding(indices, self.weight)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
