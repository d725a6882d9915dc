"""IMPALA: an actor-critic whose actors do not wait for its learner (Espeholt et al. 2018, arXiv:1802.01561).

Actors play T steps by weights that the learner had some updates before, μ, and send them with log μ(a|x). The learner
corrects for that with V-trace: with the ratios ρ_t = min(ρ̄, π/μ) and c_t = λ min(c̄, π/μ), the value's target is

    v_s = V(x_s) + Σ_{t=s}^{s+n-1} γ^{t-s} (Π_{i=s}^{t-1} c_i) ρ_t (r_t + γ V(x_{t+1}) - V(x_t))             (eq. 1)

and one gradient step on the actors' trajectories maximizes, as sums over all steps (section 4.2),

    L(θ) = Σ log π_θ(a_s|x_s) ρ_s (r_s + γ v_{s+1} - V(x_s))  -  c₁/2 Σ (V_θ(x_s) - v_s)²  +  c₂ Σ H(π_θ(·|x_s))

In one process the policy that acts is the one that learns: all ratios are 1, and v_s is the n-step return. The runner's
`--workers` are actors in processes of their own. As in the published code: RMSprop with ε inside the root and a mean
square that starts at 1, a step size that falls linearly to 0, the gradient's global norm clipped at 40.
Not as there: time limits bootstrap from the true final observation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dbrrl import functional as F
from dbrrl import nn, schedules
from dbrrl.buffers import Batch
from dbrrl.buffers.batch import Rollout
from dbrrl.config import setting
from dbrrl.learning.config import OnPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.optim import Adam, Optimizer, RMSprop
from dbrrl.returns import explained_variance, vtrace
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Metrics


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of IMPALA; the defaults are those of the paper's Atari experiments (table G.1)."""

    learning_rate: float | Schedule = setting(6e-4, above=0, help="step size of the optimizer (table G.1)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("linear", help="linear: to 0 at total_steps")
    optimizer: Literal["rmsprop_tf", "adam"] = setting(
        "rmsprop_tf", help="rmsprop_tf: the paper's, as TensorFlow has it"
    )
    rmsprop_alpha: float = setting(
        0.99, at_least=0, below=1, requires=("optimizer", "rmsprop_tf"), help="decay of the mean square (table G.1)"
    )
    optimizer_eps: float = setting(0.01, above=0, help="ε of the optimizer, inside RMSprop's root (table G.1)")
    n_steps: int = setting(20, at_least=1, help="T, steps of each trajectory (table G.1)")
    vtrace_lambda: float = setting(1.0, at_least=0, at_most=1, help="λ of the ratios c (remark 2)")
    rho_bar: float = setting(1.0, above=0, help="ρ̄, largest ratio that weighs a step (section 4.1)")
    c_bar: float = setting(1.0, above=0, help="c̄, largest ratio by which later steps change a target (section 4.1)")
    entropy_coef: float = setting(0.01, at_least=0, help="c₂, weight of the entropy (table G.1)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of half the squared value error (table G.1)")
    max_grad_norm: float | None = setting(40.0, above=0, help="largest global norm of the gradient (table G.1)")


class IMPALA(OnPolicyAgent):
    """Importance-weighted actor-learner: one gradient step per batch of trajectories, corrected by V-trace.

    Example:
        agent = IMPALA(env.observation_space, env.action_space, IMPALA.Config(n_steps=20), num_envs=32, seed=0)
    """

    Config = Config
    distributed = "trajectories"

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """RMSprop as TensorFlow has it, with ε inside the root and a mean square that starts at 1; or Adam."""
        c, rate = self.config, schedules.course(self.config, "learning_rate")
        if c.optimizer == "adam":
            return Adam(module, rate, eps=c.optimizer_eps)
        return RMSprop(module, rate, c.rmsprop_alpha, c.optimizer_eps, eps_inside_root=True, initial_mean_square=1.0)

    def behavior(self, rollout: Rollout) -> dict[str, Array]:
        """Return log μ(a|x) of the policy that acted, which goes with its trajectories."""
        return {"log_mu": rollout.spread(self.log_prob(rollout.batch()))}

    def update(self, rollout: Rollout) -> Metrics:
        """One gradient step on the trajectories, with the targets of V-trace."""
        c = self.config
        value, next_value = rollout.values()  # V(x_s) and V(x'_s); at a time limit x' is the final observation
        acted = rollout.batch()
        ratio = rollout.spread(np.exp(self.log_prob(acted) - acted.log_mu))  # π(a|x) / μ(a|x)
        target, advantage = vtrace(
            rollout.reward, value, next_value, ratio, rollout.terminated, rollout.boundary, c.gamma, c.vtrace_lambda,
            c.rho_bar, c.c_bar,
        )  # fmt: skip
        batch = rollout.batch(advantage=advantage, value=value, target=target)
        metrics = self.mean([self.gradient_step(batch)])
        metrics["explained_variance"] = explained_variance(batch.value, batch.target)
        metrics["mean_ratio"] = ratio.sum() / len(batch)
        return metrics | {"learning_rate": self.optimizer.learning_rate}

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the weighted terms of -L(θ), sums over n transitions, and their means as metrics."""
        c = self.config
        policy, value = self.policy_and_value(batch.observation)
        objective = (policy.log_prob(batch.action) * batch.advantage).sum()
        value_loss, entropy = F.mse_loss(value, batch.target, "sum"), policy.entropy().sum()
        n = len(batch)
        return [(-1.0, objective), (c.value_coef / 2, value_loss), (-c.entropy_coef, entropy)], lambda: {
            "policy_loss": -objective.array / n,
            "value_loss": value_loss.array / n,
            "entropy": entropy.array / n,
        }


Agent = IMPALA
