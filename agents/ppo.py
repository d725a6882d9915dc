"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347).

With r(θ) = π_θ(a|s) / π_old(a|s) and an advantage estimate A, each update maximizes over several epochs of minibatches

    L(θ) = mean[ min(r A, clip(r, 1 - ε, 1 + ε) A) ]  -  c₁ mean[(V_θ(s) - G)²]  +  c₂ mean[H(π_θ(·|s))]     (eq. 7, 9)

A is the generalized advantage estimate (Schulman et al. 2016, arXiv:1506.02438, eq. 16), bootstrapped from the true
final observation at time limits; G = A + V_old(s). What the paper leaves out and its code has (Huang et al. 2022, "The
37 Implementation Details of PPO"): orthogonal initial weights with gains √2, 0.01 and 1, Adam with ε = 1e-5, advantages
normalized per minibatch, the global norm of the gradient clipped, running normalization of observations and rewards.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn, schedules
from dbrrl.buffers import Batch
from dbrrl.buffers.batch import Rollout
from dbrrl.config import setting
from dbrrl.learning.config import OnPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.optim import Adam
from dbrrl.returns import explained_variance, gae
from dbrrl.schedules import Schedule
from dbrrl.types import Metrics, Scalar


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of PPO; the defaults are those of the paper's MuJoCo experiments (table 3)."""

    learning_rate: float | Schedule = setting(3e-4, above=0, help="step size of Adam (table 3)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    n_steps: int | None = setting(
        None, at_least=1, help="T, steps per environment in each rollout; none: 2048 / num_envs (table 3 has one actor)"
    )
    batch_size: int = setting(64, at_least=1, help="transitions per minibatch (table 3)")
    n_epochs: int = setting(10, at_least=1, help="passes over each rollout (table 3)")
    gae_lambda: float = setting(0.95, at_least=0, at_most=1, help="λ of the advantage estimate (table 3)")
    clip_range: float | Schedule | None = setting(
        0.2, above=0, help="ε, how far the ratio may leave 1 (table 3); none: any distance"
    )
    clip_range_schedule: Literal["constant", "linear"] = setting(
        "constant", requires="clip_range", help="linear: to 0 at total_steps"
    )
    clip_range_value: float | None = setting(None, above=0, help="how far a value may move per update (none: no limit)")
    normalize_advantage: bool = setting(True, help="zero mean, unit deviation in each minibatch")
    entropy_coef: float = setting(0.0, at_least=0, help="c₂, weight of the entropy bonus (eq. 9)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (published code: 0.25)")
    target_kl: float | None = setting(None, above=0, help="an update ends early beyond 1.5 times this KL (none: never)")
    adam_eps: float = setting(1e-5, above=0, help="ε of Adam")


class PPO(OnPolicyAgent):
    """Proximal policy optimization with a clipped surrogate objective.

    Example:
        agent = PPO(env.observation_space, env.action_space, PPO.Config(n_steps=128), num_envs=8, seed=0)
    """

    Config = Config
    distributed = "team"
    saved_attributes = (*OnPolicyAgent.saved_attributes, "batch_rng")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batch_rng = self.generator("minibatches")

    def make_optimizer(self, module: nn.Module) -> Adam:
        """Return Adam with the ε of the published code."""
        return Adam(module, schedules.course(self.config, "learning_rate"), eps=self.config.adam_eps)

    def update(self, rollout: Rollout) -> Metrics:
        """Algorithm 1: advantages under π_old, then several epochs of minibatches. Return means of the last epoch."""
        c = self.config
        value, next_value = rollout.values()  # V(s_t) and V(s'_t); at a time limit s' is the final observation
        advantage = gae(rollout.reward, value, next_value, rollout.terminated, rollout.boundary, c.gamma, c.gae_lambda)
        batch = rollout.batch(advantage=advantage, value=value, target=advantage + value)
        batch = batch.add(log_prob=self.log_prob(batch))
        metrics = self.mean(self.epochs(batch, self.scheduled("clip_range")))
        metrics["explained_variance"] = explained_variance(batch.value, batch.target)
        return metrics | {"learning_rate": self.optimizer.learning_rate}

    def epochs(self, batch: Batch, clip_range: float) -> list[StepMetrics]:
        """Minimize the loss over `n_epochs` passes, or fewer where π moves too far; return the last pass's steps."""
        c = self.config
        too_far = None if c.target_kl is None else lambda step: step["approx_kl"] > 1.5 * c.target_kl
        for _ in range(c.n_epochs):
            minibatches = batch.minibatches(c.batch_size, self.batch_rng)
            steps = self.gradient_steps(minibatches, until=too_far, clip_range=clip_range)
            if too_far is not None and too_far(steps[-1]):
                break
        return steps

    def loss(self, batch: Batch, clip_range: Scalar) -> LossAndMetrics:
        """Return the weighted terms of -L(θ), eq. 9, on a minibatch of n transitions, and its metrics."""
        c = self.config
        policy, value = self.policy_and_value(batch.observation)
        standardize = c.normalize_advantage and len(batch) > 1
        advantage = self.team.standardized(batch.advantage) if standardize else batch.advantage
        # Before log π(a|s), which then reads the same normalized logits.
        bonus = [(-c.entropy_coef, F.mean(policy.entropy()))] if c.entropy_coef else []
        log_prob = policy.log_prob(batch.action)
        surrogate = losses.clipped_surrogate(log_prob, batch.log_prob, advantage, clip_range)  # eq. 7
        value_loss = losses.clipped_value_loss(value, batch.target, batch.value, c.clip_range_value)

        def metrics() -> dict[str, Any]:
            ratio = np.exp(log_ratio := log_prob.array - batch.log_prob)
            return {
                "policy_loss": -surrogate.array,
                "value_loss": value_loss.array,
                "entropy": policy.entropy().array.mean(),
                "approx_kl": (ratio - 1 - log_ratio).mean(),  # Schulman 2020, "Approximating KL divergence"
                "clip_fraction": (np.abs(ratio - 1) > clip_range).mean(),
            }

        return [(-1.0, surrogate), (c.value_coef, value_loss), *bonus], metrics


Agent = PPO
