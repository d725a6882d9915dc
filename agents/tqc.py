"""Truncated quantile critics (TQC: Kuznetsov et al. 2020, arXiv:2005.04269): SAC on distributions, cut at the top.

N critics give M quantiles of the return each, at the fractions τ_m = (2m - 1) / 2M. The target's N M quantiles are put
together and sorted; the d N largest are dropped, so that what is overestimated is not bootstrapped from (algorithm 1):

    y_i = r + γ (z_(i)(s', a') - α log π_φ(a'|s')),   i = 1 ... (M - d) N,   a' ~ π_φ(·|s')
    J_Z(ψ) = mean[ Σₙ Σ_m Σᵢ ρ_τ_m(y_i - θ_ψₙᵐ(s, a)) / ((M - d) N M) ]
    J_π(φ) = mean[ α log π_φ(ã|s) - Σₙ Σ_m θ_ψₙᵐ(s, ã) / (N M) ]

ρ_τ is the quantile Huber loss. The policy climbs the mean of all quantiles, without truncation. The temperature, the
targets and the actions are SAC's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.errors import ConfigError
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.networks.continuous import Critics

from .qr_dqn import mean_error, midpoints
from .sac import SAC
from .sac import Config as SACConfig


@dataclass(frozen=True)
class Config(SACConfig):
    """Settings of TQC; the paper's own are in its appendix."""

    critics: int = setting(5, at_least=1, help="N, critics (paper: 5)")
    critic_hidden_sizes: tuple[int, ...] | None = setting(
        None, at_least=1, help="hidden layers of the critics; none: hidden_sizes (paper: 512,512,512)"
    )
    quantiles: int = setting(25, at_least=1, help="M, quantiles of each critic (paper: 25)")
    dropped_quantiles: int = setting(2, at_least=0, help="d, dropped for each critic (paper: 2; Hopper 5)")


class TQC(SAC):
    """SAC whose critics are quantiles of the return; `make_critics`, the target and the two losses are its own."""

    Config = Config

    def make_networks(self, rng: np.random.Generator) -> None:
        """SAC's, and the fractions τ_m of all critics, (N M,)."""
        c = self.config
        if c.dropped_quantiles >= c.quantiles:
            raise ConfigError(
                f"dropped_quantiles: expected fewer than the {c.quantiles} quantiles of each critic, got "
                f"{c.dropped_quantiles}: give fewer"
            )
        self.fractions = self.to_device(np.tile(midpoints(c.quantiles, "cpu"), c.critics))
        super().make_networks(rng)

    def make_critics(self, rng: np.random.Generator) -> nn.Module:
        """Return N critics of M quantiles each."""
        c = self.config
        sizes = c.hidden_sizes if c.critic_hidden_sizes is None else c.critic_hidden_sizes
        return Critics(self.preprocessor, self.head.size, c.critics, sizes, c.activation, c.quantiles, rng=rng)

    def critic_outputs(self, values: Any) -> dict[str, Any]:
        """Return what critics gave: as many critics and quantiles as the settings say."""
        return {"quantiles of critics": values}

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return the mean of all quantiles for tanh m_φ(s) of a batch of observations, (B,), or of one, a number."""
        return self.evaluated(observation, lambda given: self.critic_values(given).mean(axis=(0, 2)))

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return the mean of all quantiles, (B,), with its graph."""
        return F.mean(self.critics(given, sample), axis=(0, 2))

    def critic_loss(self, batch: Batch) -> LossAndMetrics:
        """Return the terms of J_Z(ψ), one per transition; the size of the mean error is the priority."""
        theta, target = together(self.critics(batch.observation, batch.action)), self.target(batch)
        loss = losses.quantile_huber(theta, target, self.fractions) / self.config.quantiles
        return loss, lambda: {
            "loss": loss.array,
            "error": mean_error(theta.array, target),
            "value": theta.array.mean(),
        }

    def target(self, batch: Batch) -> Any:
        """Return y_i of each transition, (n, (M - d) N)."""
        c = self.config
        with nn.evaluation():
            action, log_prob = self.actor(batch.next_observation).of_noise(batch.next_noise)
            theta = together(self.target_critics(batch.next_observation, action).array)
        kept = np.argsort(theta, axis=1)[:, : (c.quantiles - c.dropped_quantiles) * c.critics]
        least = np.take_along_axis(theta, kept, axis=1)
        soft = least - (self.temperature * log_prob.array)[:, None]
        return batch.reward[:, None] + batch.discount[:, None] * soft

    def actor_loss(self, batch: Batch) -> LossAndMetrics:
        """Return J_π(φ)."""
        action, log_prob = self.actor(batch.observation).of_noise(batch.noise)
        value = F.mean(self.critics(batch.observation, action), axis=(0, 2))
        loss = losses.soft_policy(log_prob, value, self.temperature)
        return loss, lambda: {"loss": loss.array, "log_prob": log_prob.array}


def together(theta: Any) -> Any:
    """Return the quantiles of all critics in one row for each transition: (N, n, M) to (n, N M)."""
    critics, n, quantiles = theta.shape
    return theta.swapaxes(0, 1).reshape(n, critics * quantiles)


Agent = TQC
