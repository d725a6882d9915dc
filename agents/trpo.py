"""Trust region policy optimization (Schulman et al. 2015, arXiv:1502.05477).

With r(θ) = π_θ(a|s) / π_old(a|s) and an advantage estimate A, each update of the policy

    maximizes  L(θ) = mean[r(θ) A]   subject to   D(θ) = mean[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ            (eq. 12, 14)

approximately. Near θ_old, L is linear with the gradient g and D quadratic with the Hessian F, the Fisher information
matrix, so that the best step goes along the natural gradient x (appendix C):

    F x = g,      θ = θ_old + αʲ √(2δ / xᵀF x) x,   j = 0, 1, 2, ...: the first with D(θ) ≤ δ and L(θ) > L(θ_old)

F x = g is solved by conjugate gradients, which ask for products F v alone: the gradient of vᵀ∇D, by differentiating the
gradient of D once more. No matrix is formed.

A is the generalized advantage estimate (Schulman et al. 2016, arXiv:1506.02438, eq. 16), bootstrapped from the true
final observation at time limits. The value is fitted to G = A + V_old(s) by Adam, as in the published code (OpenAI
Baselines' trpo_mpi), which also damps F and standardizes A.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.buffers import Batch
from dbrrl.buffers.batch import Rollout
from dbrrl.config import setting
from dbrrl.distributions import Distribution, kl_divergence
from dbrrl.errors import AnomalyError, ConfigError
from dbrrl.learning.config import OnPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.optim import Adam
from dbrrl.optim.conjugate_gradient import conjugate_gradient
from dbrrl.returns import explained_variance, gae
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Metrics


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of TRPO; the defaults are those of the paper's and of its published code's MuJoCo experiments."""

    max_kl: float = setting(0.01, above=0, help="δ, largest mean KL divergence of an update (table 2)")
    gae_lambda: float = setting(0.98, at_least=0, at_most=1, help="λ of the advantage estimate (published code)")
    cg_iterations: int = setting(10, at_least=1, help="iterations of conjugate gradients (published code)")
    cg_damping: float = setting(0.1, at_least=0, help="this times the unit matrix is added to F (published code)")
    backtrack_factor: float = setting(0.5, above=0, below=1, help="α, by which a step is shortened (published code)")
    backtrack_steps: int = setting(10, at_least=1, help="lengths that are tried; then the policy stays as it was")
    learning_rate: float | Schedule = setting(1e-3, above=0, help="step size of Adam for the value (published code)")
    critic_epochs: int = setting(5, at_least=1, help="passes over each rollout that fit the value (published code)")
    critic_batch_size: int = setting(64, at_least=1, help="transitions per step of the value (published code)")
    normalize_advantage: bool = setting(True, help="zero mean, unit deviation in each rollout (published code)")


class TRPO(OnPolicyAgent):
    """Trust region policy optimization: a natural-gradient step of bounded KL divergence per rollout.

    Example:
        agent = TRPO(env.observation_space, env.action_space, TRPO.Config(max_kl=0.02), num_envs=8, seed=0)
    """

    Config = Config
    distributed = "team"
    saved_attributes = (*OnPolicyAgent.saved_attributes, "batch_rng")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batch_rng = self.generator("minibatches")

    def make_optimizer(self, module: nn.Module) -> Adam:
        """Return Adam for the critic; the policy's steps move all other parameters."""
        critic = getattr(module, "critic", None)
        if not isinstance(critic, nn.Module):
            raise ConfigError(
                "network: expected a module `critic`, whose parameters V(s) alone depends on, got none: trpo fits "
                "these to the returns, and moves all others within the trust region of the policy"
            )
        own = {id(p) for p in critic.parameters()}
        self.policy_parameters = [p for p in module.parameters() if id(p) not in own]
        return Adam(critic, self.config.learning_rate)

    def update(self, rollout: Rollout) -> Metrics:
        """Algorithm 1: advantages under π_old, a step of the policy within the trust region, the value fitted."""
        c = self.config
        value, next_value = rollout.values()  # V(s_t) and V(s'_t); at a time limit s' is the final observation
        advantage = gae(rollout.reward, value, next_value, rollout.terminated, rollout.boundary, c.gamma, c.gae_lambda)
        batch = rollout.batch(advantage=advantage, value=value, target=advantage + value)
        metrics = self.policy_step(batch)
        for _ in range(c.critic_epochs):
            minibatches = batch.minibatches(c.critic_batch_size, self.batch_rng)
            steps = self.gradient_steps(minibatches)
        metrics["explained_variance"] = explained_variance(batch.value, batch.target)
        return metrics | self.mean(steps)

    def policy_step(self, batch: Batch) -> Metrics:
        """Move the policy along the natural gradient, as far as the trust region allows; return what came of it."""
        c, parameters = self.config, self.policy_parameters
        old, policy = self.acting_policy(batch), self.policy(batch.observation)
        if c.normalize_advantage and len(batch) > 1:
            batch = batch.add(advantage=self.team.standardized(batch.advantage))
        batch = batch.add(log_prob=old.log_prob(batch.action))
        surrogate = losses.surrogate(policy.log_prob(batch.action), batch.log_prob, batch.advantage)
        g = self.team.mean(nn.flat_gradient(surrogate, parameters, retain_graph=True).array)
        if not np.isfinite(g).all():
            raise AnomalyError(self.explain(batch, f" (surrogate {surrogate.item():g})"))
        own = fisher_product(old, policy, parameters, c.cg_damping)
        product: Callable[[Array], Array] = lambda v: self.team.mean(own(v))  # noqa: E731
        x = conjugate_gradient(product, g, c.cg_iterations)
        curvature = float(np.dot(x, product(x)))
        longest = math.sqrt(2 * c.max_kl / curvature) * x if curvature > 0 else x
        return self.line_search(batch, old, longest) | {"entropy": float(policy.entropy().array.mean())}

    def acting_policy(self, batch: Batch) -> Distribution:
        """Return the policy that would act now for the observations of a batch, as constants."""
        with nn.evaluation(noise=True):
            return self.policy(batch.observation).detached()

    def line_search(self, batch: Batch, old: Distribution, longest: Array) -> Metrics:
        """Take the first of ever shorter steps that improves L with D ≤ δ; if there is none, none."""
        c, parameters = self.config, self.policy_parameters
        start = nn.parameters_to_vector(parameters)
        before = self.team.mean(float(batch.advantage.mean()))  # L(θ_old): r is 1
        for share in c.backtrack_factor ** np.arange(c.backtrack_steps):
            nn.vector_to_parameters(start + float(share) * longest, parameters)
            new = self.acting_policy(batch)
            kl = self.team.mean(float(kl_divergence(old, new).mean()))
            found = losses.surrogate(new.log_prob(batch.action), batch.log_prob, batch.advantage)
            improvement = self.team.mean(float(found)) - before
            if improvement > 0 and kl <= c.max_kl:
                return {"improvement": improvement, "kl": kl, "step_share": float(share)}
        nn.vector_to_parameters(start, parameters)
        return {"improvement": 0.0, "kl": 0.0, "step_share": 0.0}

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return mean[(V_θ(s) - G)²] of a minibatch, and its metrics."""
        _, value = self.policy_and_value(batch.observation)
        value_loss = F.mse_loss(value, batch.target)
        return value_loss, lambda: {"value_loss": value_loss.array}


def fisher_product(
    old: Distribution, policy: Distribution, parameters: list[nn.Parameter], damping: float = 0.0
) -> Callable[[Array], Array]:
    """Return the function v → (F + damping I) v, F the Hessian of mean[KL(π_old ‖ π_θ)] at the present θ.

    Args:
        old: π_old(·|s), a row per observation, without a graph.
        policy: π_θ(·|s) of the same observations, with the graph of its parameters.
        parameters: θ, of n numbers together; v and the products are vectors (n,).
        damping: what is added to the diagonal of F.
    """
    kl = kl_divergence(old, policy).mean()
    gradient = nn.flat_gradient(kl, parameters, create_graph=True)

    def product(v: Array) -> Array:
        curved = nn.flat_gradient((gradient * v).sum(), parameters, retain_graph=True).array
        return curved + damping * v  # type: ignore[no-any-return]

    return product


Agent = TRPO
