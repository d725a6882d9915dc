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
from dbrrl import nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.buffers import Batch
from dbrrl.config import setting

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
    def fractions(self) -> np.ndarray:
        """The midpoints τ̂₁ ... τ̂_N, (N,)."""
        n = self.config.quantiles
        return (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)

    def build(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """A network whose outputs are quantiles (B, actions, N)."""
        return super().build(rng, self.config.quantiles)

    def values(self, network: Any, parts: list[Any]) -> Any:
        """Q(s, a) = Σ θᵢ / N: (B, actions)."""
        return F.mean(network(parts), axis=-1)

    def loss(self, batch: Batch) -> tuple[Any, Any]:
        """The quantile Huber loss of each transition (n,), and the size of its mean error, the priority it gets."""
        theta, target = F.pick(self.network(batch.parts), batch.action), self.target(batch)
        return F.quantile_huber_loss(theta, target, self.fractions), mean_error(theta.array, target)

    def target(self, batch: Batch) -> Any:
        """The samples yⱼ of each transition, (n, N)."""
        with no_grad():
            theta = self.target_network(batch.next_parts).array
        following = F.pick(theta, theta.mean(axis=2).argmax(axis=1))
        return batch.reward[:, None] + batch.discount[:, None] * following


def mean_error(theta: Any, target: Any) -> Any:
    """The size of the mean of yⱼ - θᵢ over all pairs: θ (n, N) and y (n, M) give (n,)."""
    return abs(target.mean(axis=1) - theta.mean(axis=1))


Agent = QRDQN
