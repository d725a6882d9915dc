"""Advantage actor-critic, synchronous: A3C's update (Mnih et al. 2016, arXiv:1602.01783) without its races.

All environments step together for T steps; one gradient step on the whole rollout then maximizes

    L(θ) = mean[ log π_θ(a|s) A ]  -  c₁ mean[(V_θ(s) - G)²]  +  c₂ mean[H(π_θ(·|s))]      (section 4, algorithm S3)

with G = r_t + γ r_{t+1} + ... + γᵏ V(s_{t+k}) up to the rollout's end, A = G - V(s). With λ < 1, A is the generalized
advantage estimate (Schulman et al. 2016, arXiv:1506.02438, eq. 16) and G = A + V(s); λ = 1 gives the paper's returns.
As in the published code (OpenAI Baselines): the mean in place of the sum, the gradient's global norm clipped at 0.5,
RMSprop with ε = 1e-5 inside the root and a mean square that starts at 1, a step size that falls linearly to 0,
orthogonal initial weights. Not as there: time limits bootstrap from the true final observation.
"""

from dataclasses import dataclass
from typing import Literal

from dbrrl import functional as F
from dbrrl import losses, nn, schedules
from dbrrl.buffers import Batch
from dbrrl.buffers.batch import Rollout
from dbrrl.config import setting
from dbrrl.learning.config import OnPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.optim import Adam, Optimizer, RMSprop
from dbrrl.returns import explained_variance, gae
from dbrrl.schedules import Schedule
from dbrrl.types import Metrics


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of A2C; the defaults are those of its published code (OpenAI Baselines)."""

    learning_rate: float | Schedule = setting(7e-4, above=0, help="step size of the optimizer (published code)")
    learning_rate_schedule: Literal["constant", "linear"] = setting(
        "linear", help="linear: to 0 at total_steps (published code)"
    )
    optimizer: Literal["rmsprop_tf", "rmsprop", "adam"] = setting(
        "rmsprop_tf", help="both RMSprops have ε inside the root; the mean square of rmsprop_tf starts at 1, not 0"
    )
    rmsprop_alpha: float = setting(
        0.99, at_least=0, below=1, requires=("optimizer", "rmsprop_tf", "rmsprop"),
        help="decay of RMSprop's mean square (section 8)",
    )  # fmt: skip
    optimizer_eps: float = setting(1e-5, above=0, help="ε of the optimizer (published code)")
    n_steps: int = setting(5, at_least=1, help="T, steps per environment in each rollout (t_max, section 8)")
    gae_lambda: float = setting(1.0, at_least=0, at_most=1, help="λ of the advantage estimate; 1: n-step returns")
    normalize_advantage: bool = setting(False, help="zero mean, unit deviation in each rollout")
    entropy_coef: float = setting(0.01, at_least=0, help="c₂, weight of the entropy bonus (β, section 8)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (published code)")


class A2C(OnPolicyAgent):
    """Advantage actor-critic: one gradient step per rollout of all environments.

    Example:
        agent = A2C(env.observation_space, env.action_space, A2C.Config(n_steps=8), num_envs=16, seed=0)
    """

    Config = Config
    distributed = "team"

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """RMSprop as in the paper (S2), its mean square from 1 as TensorFlow's or from 0; or Adam."""
        c = self.config
        if c.optimizer == "adam":
            return Adam(module, schedules.course(c, "learning_rate"), eps=c.optimizer_eps)
        start = 1.0 if c.optimizer == "rmsprop_tf" else 0.0
        return RMSprop(
            module, schedules.course(c, "learning_rate"), c.rmsprop_alpha, c.optimizer_eps, eps_inside_root=True,
            initial_mean_square=start,
        )  # fmt: skip

    def update(self, rollout: Rollout) -> Metrics:
        """One gradient step on the whole rollout."""
        c = self.config
        value, next_value = rollout.values()  # V(s_t) and V(s'_t); at a time limit s' is the final observation
        advantage = gae(rollout.reward, value, next_value, rollout.terminated, rollout.boundary, c.gamma, c.gae_lambda)
        batch = rollout.batch(advantage=advantage, value=value, target=advantage + value)
        metrics = self.mean([self.gradient_step(batch)])
        metrics["explained_variance"] = explained_variance(batch.value, batch.target)
        return metrics | {"learning_rate": self.optimizer.learning_rate}

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the weighted terms of -L(θ) on a batch of n transitions, and its metrics."""
        c = self.config
        policy, value = self.policy_and_value(batch.observation)
        standardize = c.normalize_advantage and len(batch) > 1
        advantage = self.team.standardized(batch.advantage) if standardize else batch.advantage
        objective = losses.policy_gradient(policy.log_prob(batch.action), advantage)
        value_loss, entropy = F.mse_loss(value, batch.target), policy.entropy().mean()
        return [(-1.0, objective), (c.value_coef, value_loss), (-c.entropy_coef, entropy)], lambda: {
            "policy_loss": -objective.array,
            "value_loss": value_loss.array,
            "entropy": entropy.array,
        }


Agent = A2C
