"""Several networks of one shape, such as twin critics, computed together: each layer is one batched product."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.errors import ConfigError
from dbrrl.nn import init
from dbrrl.nn.layers import check_sizes, generator
from dbrrl.nn.module import Module, Parameter
from dbrrl.nn.networks import ACTIVATIONS


class EnsembleLinear(Module):
    """`members` linear layers y[k] = x[k] W[k]ᵀ + b[k]: (B, in_features), or (members, B, in_features), to
    (members, B, out_features).

    Args:
        gain: weights orthogonal with this gain and b = 0; by default both uniform with bound 1 / √(in_features).
        rng: generator or seed of the initial weights, which the members draw one after another; from the system's
            entropy if None.
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        out_features: int,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_sizes("EnsembleLinear", members=members, in_features=in_features, out_features=out_features)
        rng, shape, bound = generator(rng), (out_features, in_features), 1 / math.sqrt(max(in_features, 1))
        weights, biases = [], []
        for _ in range(members):
            weights.append(init.uniform(rng, shape, bound) if gain is None else init.orthogonal(rng, shape, gain))
            zeros = np.zeros(out_features, np.float32)
            biases.append(init.uniform(rng, (out_features,), bound) if gain is None else zeros)
        self.weight, self.bias = Parameter(np.stack(weights)), Parameter(np.stack(biases))

    def forward(self, x: Any, activation: str | None = None) -> Any:
        """(B, in_features) or (members, B, in_features) to (members, B, out_features); `activation` as in `Linear`."""
        return F.ensemble_linear(x, self.weight, self.bias, activation)

    def describe(self) -> str:
        """Sizes for `repr`."""
        members, outputs, inputs = self.weight.shape
        return f"{members}, {inputs}, {outputs}"


class EnsembleMLP(Module):
    """`members` multilayer perceptrons of one shape, all layers of all of them in one op.

    Args:
        members: how many there are.
        sizes: input, hidden ..., output, as of `nn.mlp`.
        activation: "tanh" or "relu".
        gain: as of `EnsembleLinear`.
        rng: generator or seed of the initial weights.
    """

    def __init__(
        self,
        members: int,
        sizes: Sequence[int],
        activation: str = "relu",
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if len(sizes) < 2:
            raise ConfigError(f"EnsembleMLP: expected sizes (input, hidden ..., output), got {tuple(sizes)}")
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation: expected one of {sorted(ACTIVATIONS)}, got {activation!r}")
        rng = generator(rng)
        self.layers = [EnsembleLinear(members, a, b, gain, rng) for a, b in pairwise(sizes)]
        self.activations = (*[activation] * (len(sizes) - 2), None)

    def forward(self, x: Any, members: slice | None = None) -> Any:
        """(B, input) or (members, B, input) to (members, B, output); of some members only, such as slice(0, 1)."""
        parameters: list[Any] = [p for layer in self.layers for p in (layer.weight, layer.bias)]
        if members is not None:
            parameters = [p[members] for p in parameters]
        return F.ensemble_perceptron(x, parameters, self.activations)
