"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347).

With r(θ) = π_θ(a|s) / π_old(a|s) and an advantage estimate A, each update maximizes over several epochs of minibatches

    L(θ) = mean[ min(r A, clip(r, 1 - ε, 1 + ε) A) ]  -  c₁ mean[(V_θ(s) - G)²]  +  c₂ mean[H(π_θ(·|s))]     (eq. 7, 9)

A is the generalized advantage estimate (Schulman et al. 2016, arXiv:1506.02438, eq. 16), bootstrapped from the true
final observation at time limits; G = A + V_old(s). What the paper leaves out and its code has (Huang et al. 2022, "The
37 Implementation Details of PPO"): orthogonal initial weights with gains √2, 0.01 and 1, Adam with ε = 1e-5, advantages
normalized per minibatch, the global norm of the gradient clipped, running normalization of observations and rewards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dbrrl import functional as F
from dbrrl import nn, seeding
from dbrrl.config import Config as BaseConfig
from dbrrl.config import setting
from dbrrl.kernels.cuda.dial import Dial
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.networks.recurrence import Sequences
from dbrrl.normalize import standardized
from dbrrl.optim import Adam
from dbrrl.returns import explained_variance
from dbrrl.schedules import Schedule


@dataclass(frozen=True)
class Config(BaseConfig):
    """Settings of PPO; the defaults are those of the paper's MuJoCo experiments (table 3)."""

    learning_rate: float = setting(3e-4, above=0, help="step size of Adam (table 3)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    n_steps: int | None = setting(
        None, at_least=1, help="T, steps per environment in each rollout; none: 2048 / num_envs (table 3 has one actor)"
    )
    batch_size: int = setting(64, at_least=1, help="transitions per minibatch (table 3)")
    n_epochs: int = setting(10, at_least=1, help="passes over each rollout (table 3)")
    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor (table 3)")
    gae_lambda: float = setting(0.95, at_least=0, at_most=1, help="λ of the advantage estimate (table 3)")
    clip_range: float = setting(0.2, above=0, help="ε, how far the ratio may leave 1 (table 3)")
    clip_range_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    clip_range_value: float | None = setting(None, above=0, help="how far a value may move per update (none: no limit)")
    normalize_advantage: bool = setting(True, help="zero mean, unit deviation in each minibatch")
    entropy_coef: float = setting(0.0, at_least=0, help="c₂, weight of the entropy bonus (eq. 9)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (published code: 0.25)")
    max_grad_norm: float = setting(0.5, above=0, help="largest global norm of the gradient")
    target_kl: float | None = setting(None, above=0, help="an update ends early beyond 1.5 times this KL (none: never)")
    adam_eps: float = setting(1e-5, above=0, help="ε of Adam")
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


class PPO(OnPolicyAgent):
    """Proximal policy optimization with a clipped surrogate objective.

    Example:
        agent = PPO(env.observation_space, env.action_space, PPO.Config(n_steps=128), num_envs=8, seed=0)
    """

    Config = Config
    remembered = (*OnPolicyAgent.remembered, "batch_rng")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batch_rng = seeding.generator_on(self.device if self.resident else "cpu", self.seed, "minibatches")
        self.clip_range = Dial(self.optimizer.values, self.config.clip_range)

    def make_optimizer(self, module: nn.Module) -> Adam:
        """Adam with the ε of the published code."""
        return Adam(module, self.config.learning_rate, eps=self.config.adam_eps)

    @property
    def largest_product(self) -> int:
        """Multiply-adds of the largest layer over a minibatch."""
        return self.product(self.config.batch_size)

    def update(self) -> None:
        """Several epochs of minibatches over the rollout."""
        c = self.config
        parts, actions, advantage, value = self.transitions()
        if not len(advantage):
            return
        with nn.evaluation(noise=True):
            old_log_prob = self.policy(parts).log_prob(actions).array
        columns = [*parts, actions, old_log_prob, value, advantage + value, advantage]
        progress = self.progress(self.steps - len(advantage))
        self.optimizer.learning_rate = Schedule(c.learning_rate_schedule, c.learning_rate, 0.0)(progress)
        clip_range = Schedule(c.clip_range_schedule, c.clip_range, 0.0)(progress)
        records = self.epochs(columns, max(clip_range, 1e-8))
        self.latest = self.averages(records)
        self.latest["explained_variance"] = explained_variance(value, advantage + value)
        self.latest["learning_rate"] = self.optimizer.learning_rate

    def epochs(self, columns: list[Any], clip_range: float) -> list[Any]:
        """Minibatch updates in random order; the statistics of the last epoch's minibatches."""
        c, n = self.config, len(columns[-1])
        records: list[Any] = []
        self.clip_range.set(clip_range)
        # A single minibatch is the whole rollout: its order does not matter, it is prepared once.
        whole = n <= c.batch_size
        columns = self.prepared(columns) if whole else columns
        for epoch in range(c.n_epochs):
            record = epoch == c.n_epochs - 1 or c.target_kl is not None
            records = []
            for rows in [None] if whole else self.minibatches(columns[0], n):
                records.append(self.replayed(self.learn, rows, record, columns))
                self.num_updates += 1
                if c.target_kl is not None and records[-1]["approx_kl"] > 1.5 * c.target_kl:
                    return records
        return records

    def learn(self, rows: Any, record: bool, *columns: Any) -> dict[str, Any]:
        """One gradient step on some rows of the columns, or on all as they are."""
        batch = list(columns) if rows is None else self.prepared([column[rows] for column in columns])
        return self.minibatch(batch, self.clip_range.value, record)

    def minibatches(self, inputs: Any, n: int) -> Iterator[Any]:
        """Rows of all n transitions in random order, `batch_size` at a time; with a memory whole sequences."""
        size = self.config.batch_size
        if isinstance(inputs, Sequences):
            yield from self.placed(list(inputs.groups(size, self.batch_rng)))
            return
        order = self.placed([self.batch_rng.permutation(n)])[0]
        for start in range(0, n, size):
            yield order[start : start + size]

    def prepared(self, batch: list[np.ndarray]) -> list[np.ndarray]:
        """The columns of a minibatch with the advantages (the last) normalized, if the settings say so."""
        normalize = self.config.normalize_advantage and len(batch[-1]) > 1
        return [*batch[:-1], standardized(batch[-1])] if normalize else batch

    def minibatch(self, batch: list[Any], clip_range: Any, record: bool) -> dict[str, Any]:
        """One gradient step on columns (parts ..., action, old log π(a|s), old V(s), G, A), each with n rows."""
        c = self.config
        *parts, action, old_log_prob, old_value, target, advantage = batch
        policy, value = self.policy_and_value(parts)
        entropy: Any = policy.entropy() if c.entropy_coef or record else None
        log_prob = policy.log_prob(action)
        objective = F.clipped_surrogate(log_prob, old_log_prob, advantage, clip_range)  # eq. 7
        if c.clip_range_value is None:
            value_loss = F.mse_loss(value, target)
        else:
            moved = old_value + F.clip(value - old_value, -c.clip_range_value, c.clip_range_value)
            value_loss = F.maximum((value - target) ** 2, (moved - target) ** 2).mean()
        terms, weights = [objective, value_loss], [-1.0, c.value_coef]  # eq. 9, to be minimized
        if c.entropy_coef:
            terms, weights = [*terms, F.mean(entropy)], [*weights, -c.entropy_coef]
        self.gradient(terms, weights)
        statistics: dict[str, Any] = {}
        if record:
            ratio = np.exp(log_ratio := log_prob.array - old_log_prob)
            statistics = {
                "policy_loss": -objective.array,
                "value_loss": value_loss.array,
                "entropy": entropy.array.mean(),
                "approx_kl": (ratio - 1 - log_ratio).mean(),  # Schulman 2020, "Approximating KL divergence"
                "clip_fraction": (np.abs(ratio - 1) > clip_range).mean(),
            }
        self.optimizer.step()
        return statistics


Agent = PPO
