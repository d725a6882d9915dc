"""The network of the DQN family: action values, or a few numbers for each action, plain or dueling, noisy or not."""

import contextlib
import math
from itertools import pairwise
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.distributions.masks import allowed
from dbrrl.networks import fitting
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.nn.networks import ACTIVATIONS
from dbrrl.nn.sequential import FusedLayers
from dbrrl.types import Observation


class QNetwork(nn.Module):
    """Q(s, ·) of an observation: (B, actions), or (B, actions, atoms) where `atoms` is given.

    Images go through the convolutions of an `nn.image_network` first. Dueling (Wang et al. 2016, eq. 9): the last
    hidden layer and the output are two streams, Q(s, a) = V(s) + A(s, a) - mean A(s, ·), the mean of the actions that
    the observation allows. Noisy: all layers but convolutions are `NoisyLinear`.

    Args:
        preprocessor: describes the observations.
        actions: how many there are.
        hidden_sizes: hidden layers; None: 120, 84; on images 512, where all are small 128.
        activation: "relu" or "tanh".
        dueling: two streams.
        stream: the last hidden layer is not among the features also where there is only one stream.
        noisy: σ₀ of the noise; None: without.
        atoms: numbers per action; None: one, without an axis of its own.
        rng: generator of the initial weights.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        actions: int,
        hidden_sizes: tuple[int, ...] | None = None,
        activation: str = "relu",
        *,
        dueling: bool = False,
        stream: bool = False,
        noisy: float | None = None,
        atoms: int | None = None,
        rng: np.random.Generator,
    ) -> None:
        self.encoder = nn.Encoder(preprocessor, hidden=False, rng=rng)
        usual = (self.encoder.width,) if self.encoder.images else (120, 84)
        hidden = hidden_sizes if hidden_sizes is not None else usual
        sizes = (self.encoder.size, *hidden)
        shared, last = (sizes[:-1], sizes[-2:]) if (dueling or stream) and hidden else (sizes, sizes[-1:])
        self.actions, self.atoms, self.width = actions, atoms, last[0]
        self.body = nn.Sequential(*_hidden(shared, activation, noisy, rng))
        self.advantage = self._stream(last, actions * (atoms or 1), activation, noisy, rng)
        self.value = self._stream(last, atoms or 1, activation, noisy, rng) if dueling else None
        self._fused = FusedLayers()

    @staticmethod
    def _stream(
        sizes: tuple[int, ...], outputs: int, activation: str, noisy: float | None, rng: np.random.Generator
    ) -> nn.Sequential:
        layers = _hidden(sizes, activation, noisy, rng)
        return nn.Sequential(*layers, _linear(sizes[-1], outputs, 0.01, noisy, rng))

    def features(self, observation: Observation) -> Any:
        """Return what the last layers read, (B, n)."""
        return self.body(self.encoder(observation))

    def outputs(self, features: Any, mask: Any = None) -> Any:
        """(B, n) to (B, actions), or (B, actions, atoms); `mask`, bool (B, actions), is of the allowed actions."""
        advantage = self.advantage(features)
        if self.value is None:
            return self.apart(advantage, self.actions)
        advantage, value = self.apart(advantage, self.actions), self.apart(self.value(features), 1)
        if mask is None:
            return value + (advantage - F.mean(advantage, axis=1, keepdims=True))
        share = (mask / np.maximum(mask.sum(axis=1, keepdims=True), 1)).astype(np.float32)
        share = share if self.atoms is None else share[..., None]
        return value + (advantage - F.sum(advantage * share, axis=1, keepdims=True))

    def apart(self, x: Any, actions: int) -> Any:
        """(B, actions atoms) as (B, actions, atoms) where there are atoms."""
        return x if self.atoms is None else x.reshape(-1, actions, self.atoms)

    def forward(self, observation: Observation) -> Any:
        """Return (B, actions), or (B, actions, atoms)."""
        if self.value is not None:
            return self.outputs(self.features(observation), allowed(observation))
        layers = self.body.layers + self.advantage.layers  # in one piece they are quicker
        return self.apart(self._fused(layers, self.encoder(observation)), self.actions)


def check(agent: Any, network: Any, own: Any) -> bool:
    """Return whether a network replaces one, `own`; ConfigError where it does not give a Q-learner its values."""

    def read(twin: Any, observation: Observation) -> dict[str, Any]:
        found = {}
        with contextlib.suppress(TypeError):  # IQN's takes fractions, too
            found["outputs"] = twin(observation)
        return found | {"values": agent.values(twin, observation)}

    fitting.check(agent, network, read, {"values": (fitting.ROWS, agent.actions)}, own)
    return own is not None


def _linear(inputs: int, outputs: int, gain: float, noisy: float | None, rng: np.random.Generator) -> nn.Module:
    if noisy is not None:
        return nn.NoisyLinear(inputs, outputs, sigma=noisy, rng=rng)
    return nn.Linear(inputs, outputs, gain=gain, rng=rng)


def _hidden(sizes: tuple[int, ...], activation: str, noisy: float | None, rng: np.random.Generator) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [_linear(inputs, outputs, math.sqrt(2), noisy, rng), ACTIVATIONS[activation]()]
    return layers
