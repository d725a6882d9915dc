"""REINFORCE: the policy gradient from sampled returns alone (Williams 1992, Machine Learning 8, pages 229-256).

What an action led to is known when the episode has ended: the rewards after it. The gradient of the expected return is

    G_t = r_t + γ r_{t+1} + γ² r_{t+2} + ...
    ∇J(θ) ∝ E[ (G_t - b(s_t)) ∇ log π_θ(a_t|s_t) ]       (Williams 1992, theorem 1; Sutton & Barto 2018, eq. 13.11)

for any baseline b that does not depend on the action, as E[∇ log π_θ(a|s)] = 0. Each rollout gives one estimate of the
right-hand side, and one step of Adam along it. With b = 0 this is the paper's algorithm, in which each action is
credited with the rewards after it alone. With b = V(s), fitted to the returns by mean[(V(s) - G)²], the estimate varies
less (Sutton & Barto 2018, section 13.4).
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
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.optim import Adam
from dbrrl.returns import discounted
from dbrrl.schedules import Schedule
from dbrrl.types import Metrics


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of REINFORCE; the paper leaves step size and baseline open."""

    learning_rate: float | Schedule = setting(3e-3, above=0, help="step size of Adam")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    baseline: Literal["value", "none"] = setting("value", help="b(s), taken off the returns: a learned value, or none")
    value_coef: float = setting(0.5, above=0, requires="baseline", help="weight of the squared error of the value")


class REINFORCE(OnPolicyAgent):
    """Williams' policy gradient: one step per rollout along the gradient of mean[log π(a|s) (G - b(s))].

    Example:
        agent = REINFORCE(env.observation_space, env.action_space, REINFORCE.Config(baseline="none"), seed=0)
    """

    Config = Config

    def make_optimizer(self, module: nn.Module) -> Adam:
        """Return Adam."""
        return Adam(module, schedules.course(self.config, "learning_rate"))

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step along the gradient of all transitions of a rollout."""
        batch = self.with_baseline(rollout) if self.config.baseline == "value" else self.without_baseline(rollout)
        return self.mean([self.gradient_step(batch)]) | {"learning_rate": self.optimizer.learning_rate}

    def with_baseline(self, rollout: Rollout) -> Batch:
        """Return the transitions with G and A = G - V(s); G goes on with V where an episode was cut off."""
        value, next_value = rollout.values()  # V(s_t) and V(s'_t); at a time limit s' is the final observation
        target = discounted(rollout.reward, next_value, rollout.terminated, rollout.boundary, self.config.gamma)
        return rollout.batch(target=target, advantage=target - value)

    def without_baseline(self, rollout: Rollout) -> Batch:
        """Return the transitions with A = G, or 0 where G is unknown: in episodes that go on beyond the rollout.

        The return of an episode that was cut by a time limit is the sum of its rewards up to there.
        """
        nothing = np.zeros_like(rollout.reward)
        target = discounted(rollout.reward, nothing, rollout.terminated, rollout.boundary, self.config.gamma)
        known = np.cumsum(rollout.boundary[::-1], 0)[::-1] > 0
        return rollout.batch(advantage=target * known)

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the weighted terms that a step minimizes, and its metrics."""
        policy, value = self.policy_and_value(batch.observation)
        objective = losses.policy_gradient(policy.log_prob(batch.action), batch.advantage)

        def metrics() -> dict[str, Any]:
            return {"policy_loss": -objective.array, "entropy": policy.entropy().array.mean()}

        if self.config.baseline == "none":
            return [(-1.0, objective)], metrics
        value_loss = F.mse_loss(value, batch.target)
        terms = [(-1.0, objective), (self.config.value_coef, value_loss)]
        return terms, lambda: metrics() | {"value_loss": value_loss.array}


Agent = REINFORCE
