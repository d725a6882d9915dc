"""Networks for continuous actions: actors, and ensembles of critics that read an observation and an action.

All of them work in [-1, 1]ᵏ; `UnitBoxHead` maps that to the bounds of the action space.
"""

from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.distributions import SquashedNormal
from dbrrl.distributions.heads import BoxHead
from dbrrl.errors import SpaceError
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.nn.encoder import Encoder
from dbrrl.nn.networks import ACTIVATIONS
from dbrrl.types import Observation

LOG_STD_RANGE = -20.0, 2.0  # as in the code of Haarnoja et al. 2018


class UnitBoxHead(BoxHead):
    """A bounded Box whose actions are stored and learned as numbers in [-1, 1]ᵏ, float32.

    An entry x goes linearly to low + (x + 1) / 2 (high - low). In a Box of integers the range is wider by a half on
    either side, and the result is rounded, so that every integer has an equal part of [-1, 1].

    Args:
        space: a Box of any shape, () included.
        name: of the agent, for the error.

    Raises:
        SpaceError: a bound is infinite, or so large that the distance of two bounds is.
    """

    def __init__(self, space: gym.spaces.Box, name: str) -> None:
        super().__init__(space)
        low, high = (bound.astype(np.float64).reshape(-1) for bound in (space.low, space.high))
        largest = 2.0**53 if self.is_integer else float(np.finfo(np.float32).max) / 2
        unbounded = np.flatnonzero(~(np.maximum(abs(low), abs(high)) <= largest))
        if len(unbounded):
            i = int(unbounded[0])
            raise SpaceError(
                f"{name}: expected an action space Box with finite bounds, got [{low[i]:g}, {high[i]:g}] in entry {i} "
                f"of {space}: give it bounds with a gymnasium.ActionWrapper, or take ppo"
            )
        margin = 0.5 if self.is_integer else 0.0
        self.low, self.high, self.middle, self.half = low, high, (high + low) / 2, (high - low) / 2 + margin

    def to_action(self, sample: Any) -> Any:
        """Numbers in [-1, 1], (B, k), to actions (B, ...) of the space's dtype."""
        middle, half, low, high = self._numbers(sample)
        action = np.minimum(np.maximum(middle + half * sample, low), high)
        action = np.rint(action) if self.is_integer else action
        return action.reshape(-1, *self.space.shape).astype(self.space.dtype, copy=False)

    def from_action(self, action: Any) -> Any:
        """Actions (B, ...) to numbers in [-1, 1], float32 (B, k): what a batch from elsewhere holds as `action`."""
        middle, half, _, _ = self._numbers(action)
        return ((action.reshape(len(action), -1) - middle) / np.where(half > 0, half, 1)).astype(np.float32)

    def _numbers(self, like: Any) -> tuple[Any, ...]:
        return self.constants(like, self.middle, self.half, self.low, self.high)


class DeterministicActor(nn.Module):
    """μ(s) = tanh of a multilayer perceptron on the features of an observation: (B, k), in [-1, 1].

    Args:
        preprocessor: describes the observations; images go through an encoder of the actor's own.
        actions: k.
        hidden_sizes: hidden layers.
        activation: "relu" or "tanh".
        out_bound: the last layer's initial weights are uniform up to this bound; None: as those of the other layers,
            1 / √(inputs).
        rng: generator of the initial weights.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        actions: int,
        hidden_sizes: tuple[int, ...],
        activation: str,
        out_bound: float | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.encoder = Encoder(preprocessor, rng=rng)
        self.body = perceptron((self.encoder.size, *hidden_sizes, actions), activation, rng)
        if out_bound is not None:
            start_within(self.body.layers[-1], out_bound, rng)
        self.body.layers.append(nn.Tanh())

    def forward(self, observation: Observation) -> Any:
        """Return μ(s), (B, k)."""
        return self.body(self.encoder(observation))


class SquashedNormalActor(nn.Module):
    """π(·|s) = tanh of independent normals, whose means and log standard deviations a perceptron computes.

    The arguments are those of `DeterministicActor`.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        actions: int,
        hidden_sizes: tuple[int, ...],
        activation: str,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.actions = actions
        self.encoder = Encoder(preprocessor, rng=rng)
        self.body = perceptron((self.encoder.size, *hidden_sizes, 2 * actions), activation, rng)

    def forward(self, observation: Observation) -> SquashedNormal:
        """Return the distributions over actions in (-1, 1)ᵏ, one per row."""
        outputs = self.body(self.encoder(observation))
        return SquashedNormal(outputs[:, : self.actions], F.clip(outputs[:, self.actions :], *LOG_STD_RANGE))


class Critics(nn.Module):
    """Q₁(s, a) ... Qₘ(s, a): m perceptrons on the same features and action, each layer one batched product.

    Args:
        preprocessor: describes the observations; images go through one encoder that the critics share.
        actions: k, numbers of an action; 0: the critics read the observation alone.
        members: m.
        hidden_sizes: hidden layers.
        activation: "relu" or "tanh".
        atoms: numbers that each critic gives; None: one, without an axis of its own.
        out_bound: as of `DeterministicActor`.
        rng: generator of the initial weights.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        actions: int,
        members: int,
        hidden_sizes: tuple[int, ...],
        activation: str,
        atoms: int | None = None,
        out_bound: float | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.atoms = atoms
        self.encoder = Encoder(preprocessor, rng=rng)
        sizes = (self.encoder.size + actions, *hidden_sizes, atoms or 1)
        self.body = nn.EnsembleMLP(members, sizes, activation, rng=rng)
        if out_bound is not None:
            start_within(self.body.layers[-1], out_bound, rng)

    def forward(self, observation: Observation, action: Any = None, members: slice | None = None) -> Any:
        """Return (m, B), or (m, B, atoms); of some `members` only, such as slice(0, 1)."""
        features = self.encoder(observation)
        values = self.body(features if action is None else F.concatenate([features, action], axis=1), members)
        return values if self.atoms is not None else values.reshape(values.shape[:2])


class ActorAndCritics(nn.Module):
    """The network of an agent that learns an actor and critics from replay; any module with both can take its place.

    They are called apart, and learn apart. What they share, such as an encoder, learns from the critics alone.

    Args:
        actor: of an observation gives actions in [-1, 1]ᵏ, (B, k); for SAC and TQC distributions over these, such as a
            SquashedNormal; for SAC with discrete actions logits (B, n).
        critics: of an observation and actions give values (m, B); for TQC quantiles (m, B, M); for SAC with discrete
            actions, of the observation alone, (m, B, n).
    """

    def __init__(self, actor: nn.Module, critics: nn.Module) -> None:
        self.actor, self.critics = actor, critics


def perceptron(sizes: tuple[int, ...], activation: str, rng: np.random.Generator) -> nn.Sequential:
    """Return a multilayer perceptron whose initial weights are uniform up to 1 / √(inputs), as in the authors' code."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs, rng=rng), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], rng=rng))


def start_within(layer: Any, bound: float, rng: np.random.Generator) -> None:
    """Draw the initial weights and biases of a layer anew, uniform up to `bound`."""
    for p in (layer.weight, layer.bias):
        p.array[...] = nn.init.uniform(rng, p.shape, bound)
