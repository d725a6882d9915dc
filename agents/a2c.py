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
from typing import Any, Literal

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.config import Config as BaseConfig
from dbrrl.config import setting
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.normalize import standardized
from dbrrl.optim import Adam, Optimizer, RMSprop
from dbrrl.returns import explained_variance
from dbrrl.schedules import Schedule


@dataclass(frozen=True)
class Config(BaseConfig):
    """Settings of A2C; the defaults are those of its published code (OpenAI Baselines)."""

    learning_rate: float = setting(7e-4, above=0, help="step size of the optimizer (published code)")
    learning_rate_schedule: Literal["constant", "linear"] = setting(
        "linear", help="linear: to 0 at total_steps (published code)"
    )
    optimizer: Literal["rmsprop_tf", "rmsprop", "adam"] = setting(
        "rmsprop_tf", help="both RMSprops have ε inside the root; the mean square of rmsprop_tf starts at 1, not 0"
    )
    rmsprop_alpha: float = setting(0.99, at_least=0, below=1, help="decay of RMSprop's mean square (section 8)")
    optimizer_eps: float = setting(1e-5, above=0, help="ε of the optimizer (published code)")
    n_steps: int = setting(5, at_least=1, help="T, steps per environment in each rollout (t_max, section 8)")
    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor (section 8)")
    gae_lambda: float = setting(1.0, at_least=0, at_most=1, help="λ of the advantage estimate; 1: n-step returns")
    normalize_advantage: bool = setting(False, help="zero mean, unit deviation in each rollout")
    entropy_coef: float = setting(0.01, at_least=0, help="c₂, weight of the entropy bonus (β, section 8)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (published code)")
    max_grad_norm: float = setting(0.5, above=0, help="largest global norm of the gradient (published code)")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: 64,64; () on images")
    recurrent: Literal["none", "lstm", "gru"] = setting("none", help="memory before the hidden layers")
    recurrent_size: int = setting(64, at_least=1, requires="recurrent", help="width of the memory")
    activation: Literal["tanh", "relu"] = setting("tanh", help="between the hidden layers")
    scale_observation: bool = setting(False, help="entries of a Box within finite bounds are scaled to [-1, 1]")
    log_std_init: float = setting(0.0, help="initial log standard deviation of continuous actions")
    normalize_observation: bool = setting(False, help="observations by their running mean and deviation, clipped at 10")
    clip_reward: bool = setting(False, help="rewards to [-1, 1] in what is learned; scores stay (Mnih et al. 2015)")
    normalize_reward: bool = setting(False, help="rewards by the running deviation of the return, clipped at 10")
    total_steps: int = setting(0, at_least=0, help="environment steps of the run, where schedules end; 0: unknown")


class A2C(OnPolicyAgent):
    """Advantage actor-critic: one gradient step per rollout of all environments.

    Example:
        agent = A2C(env.observation_space, env.action_space, A2C.Config(n_steps=8), num_envs=16, seed=0)
    """

    Config = Config

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """RMSprop as in the paper (S2), its mean square from 1 as TensorFlow's or from 0; or Adam."""
        c = self.config
        if c.optimizer == "adam":
            return Adam(module, c.learning_rate, eps=c.optimizer_eps)
        start = 1.0 if c.optimizer == "rmsprop_tf" else 0.0
        return RMSprop(
            module, c.learning_rate, c.rmsprop_alpha, c.optimizer_eps, eps_inside_root=True, initial_mean_square=start
        )

    @property
    def largest_product(self) -> int:
        """Multiply-adds of the largest layer over a rollout."""
        return self.product(self.config.n_steps * self.num_envs)

    def update(self) -> None:
        """One gradient step on the whole rollout."""
        c = self.config
        parts, action, advantage, old_value = self.transitions()
        if not len(advantage):
            return
        target = advantage + old_value
        schedule = Schedule(c.learning_rate_schedule, c.learning_rate, 0.0)
        self.optimizer.learning_rate = schedule(self.progress(self.steps - len(advantage)))
        found = self.replayed(self.learn, None, True, [*parts, action, advantage, target])
        self.num_updates += 1
        self.latest = self.averages([found]) | {
            "explained_variance": explained_variance(old_value, target),
            "learning_rate": self.optimizer.learning_rate,
        }

    def learn(self, _rows: None, _record: bool, *columns: Any) -> dict[str, Any]:
        """The gradient step on columns (parts ..., action, A, G) of all transitions, and its statistics."""
        c = self.config
        *parts, action, advantage, target = columns
        if c.normalize_advantage and len(advantage) > 1:
            advantage = standardized(advantage)
        policy, value = self.policy_and_value(parts)
        objective = (policy.log_prob(action) * advantage).mean()
        value_loss, entropy = F.mse_loss(value, target), policy.entropy().mean()
        self.gradient([objective, value_loss, entropy], [-1.0, c.value_coef, -c.entropy_coef])
        self.optimizer.step()
        return {"policy_loss": -objective.array, "value_loss": value_loss.array, "entropy": entropy.array}


Agent = A2C
