"""Layers without memory or chance: linear maps, normalization, lookup, and their composition."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.nn import init
from dbrrl.nn.activations import ReLU, Tanh
from dbrrl.nn.module import Module, Parameter


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator itself, one made from a seed, or (None) one from the system's entropy."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


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
        rng, shape = generator(rng), (out_features, in_features)
        bound = 1 / math.sqrt(max(in_features, 1))
        self.weight = Parameter(init.uniform(rng, shape, bound) if gain is None else init.orthogonal(rng, shape, gain))
        start = np.zeros(out_features, np.float32) if gain is not None else init.uniform(rng, (out_features,), bound)
        self.bias = Parameter(start) if bias else None

    def forward(self, x: Any) -> Any:
        """(..., in_features) to (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

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
        self.weight = Parameter(init.normal(generator(rng), (number, features)))

    def forward(self, indices: Any) -> Any:
        """Integers (...) in [0, number) to (..., features)."""
        return F.embedding(indices, self.weight)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


FUSED: dict[type[Module], str] = {Tanh: "tanh", ReLU: "relu"}


class Sequential(Module):
    """Modules applied one after the other; a Linear and the Tanh or ReLU after it are computed as one op."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not callable(module):
                raise ConfigError(
                    f"Sequential: expected modules, got {type(module).__name__} at {i}: write Sequential(*layers)"
                )
        self.layers = list(modules)

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        layers, i = self.layers, 0
        while i < len(layers):
            layer = layers[i]
            i += 1
            if type(layer) is Linear:
                activation = FUSED.get(type(layers[i])) if i < len(layers) else None
                x = F.linear(x, layer.weight, layer.bias, activation)
                i += activation is not None
            else:
                x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)
