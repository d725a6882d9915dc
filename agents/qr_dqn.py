"""Quantile regression DQN (Dabney, Rowland, Bellemare & Munos 2018, arXiv:1710.10044).

For each action the network gives N returns θ₁ ... θ_N, the quantiles of the return's distribution at the midpoints
τ̂ᵢ = (2i - 1) / 2N (lemma 2); Q(s, a) = Σ θᵢ / N. With a* the action of the largest Q in s' under the target network,

    yⱼ = r + γ θⱼ⁻(s', a*),      L = Σᵢ mean_j [ |τ̂ᵢ - 1{yⱼ < θᵢ}| h(yⱼ - θᵢ) ]                 (eq. 9, 10, algorithm 1)

with the Huber function h, quadratic up to κ = 1. All else is DQN.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import to_device
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.distributions.masks import masked
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.types import Array, Observation

from .dqn import DQN
from .dqn import Config as DQNConfig


@dataclass(frozen=True)
class Config(DQNConfig):
    """Settings of DQN, and the quantiles."""

    quantiles: int = setting(50, at_least=1, help="N, returns per action (paper: 200)")


class QRDQN(DQN):
    """DQN on quantiles; `loss` and `values` are its own."""

    Config = Config

    @functools.cached_property
    def fractions(self) -> Array:
        """The midpoints τ̂₁ ... τ̂_N, (N,)."""
        return midpoints(self.config.quantiles, self.device)

    def make_network(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """Return a network whose outputs are quantiles (B, actions, N)."""
        return super().make_network(rng, self.config.quantiles)

    def values(self, network: Any, observation: Observation) -> Any:
        """Return Q(s, a) = Σ θᵢ / N: (B, actions)."""
        return F.mean(network(observation), axis=-1)

    def return_distribution(self, observation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the quantiles, each of the probability 1 / N, (B, actions, N) each."""
        quantiles = self.of_batch(observation, self.network)
        return quantiles, np.full(quantiles.shape, 1 / quantiles.shape[2])

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return L of each transition, and as metrics L and the size of the mean error, which is the priority."""
        theta, target = F.pick(self.network(batch.observation), batch.action), self.target(batch)
        loss = losses.quantile_huber(theta, target, self.fractions)
        return loss, lambda: {
            "loss": loss.array,
            "error": mean_error(theta.array, target),
        }

    def target(self, batch: Batch) -> Any:
        """Return the samples yⱼ of each transition, (n, N)."""
        with no_grad():
            theta = self.target_network(batch.next_observation).array
        best = masked(theta.mean(axis=2), batch.next_observation).argmax(axis=1)
        following = F.pick(theta, best)
        return batch.reward[:, None] + batch.discount[:, None] * following


def midpoints(n: int, device: str) -> Array:
    """Return the midpoints (i - 1/2) / n of n equal parts of [0, 1], (n,), on a device."""
    found: Array = to_device((np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n), device)
    return found


def mean_error(theta: Any, target: Any) -> Any:
    """Return the size of the mean of yⱼ - θᵢ over all pairs: θ (n, N) and y (n, M) give (n,)."""
    return abs(target.mean(axis=1) - theta.mean(axis=1))


Agent = QRDQN
