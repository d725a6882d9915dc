"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347).

With r(θ) = π_θ(a|s) / π_old(a|s) and an advantage estimate A, each update maximizes over several epochs of minibatches

    L(θ) = mean[ min(r A, clip(r, 1 - ε, 1 + ε) A) ]  -  c₁ mean[(V_θ(s) - G)²]  +  c₂ mean[H(π_θ(·|s))]     (eq. 7, 9)

A is the generalized advantage estimate (Schulman et al. 2016, arXiv:1506.02438, eq. 16), bootstrapped from the true
final observation at time limits; G = A + V_old(s). What the paper leaves out and its code has (Huang et al. 2022, "The
37 Implementation Details of PPO"): orthogonal initial weights with gains √2, 0.01 and 1, Adam with ε = 1e-5, advantages
normalized per minibatch, the global norm of the gradient clipped, running normalization of observations and rewards.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import nn, seeding
from dbrrl.actor_critic import ActorCritic, checked
from dbrrl.agent import Agent as Base
from dbrrl.agent import true_next_observation
from dbrrl.autodiff.engine import backward
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import to_device, to_numpy
from dbrrl.buffers import RolloutBuffer
from dbrrl.config import Config as BaseConfig
from dbrrl.config import setting
from dbrrl.distributions import Distribution
from dbrrl.errors import AnomalyError
from dbrrl.heads import ACTION_SPACES, head_for
from dbrrl.normalize import ObservationNormalizer, RewardNormalizer
from dbrrl.observations import OBSERVATION_SPACES, Encoder
from dbrrl.optim import Adam
from dbrrl.returns import explained_variance, gae
from dbrrl.schedules import Schedule


@dataclass(frozen=True)
class Config(BaseConfig):
    """Settings of PPO; the defaults are those of the paper's MuJoCo experiments (table 3) in its published code."""

    learning_rate: float = setting(3e-4, above=0, help="step size of Adam (table 3)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    n_steps: int = setting(2048, at_least=1, help="T, steps per environment in each rollout (table 3)")
    batch_size: int = setting(64, at_least=1, help="transitions per minibatch (table 3)")
    n_epochs: int = setting(10, at_least=1, help="passes over each rollout (table 3)")
    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor (table 3)")
    gae_lambda: float = setting(0.95, at_least=0, at_most=1, help="λ of the advantage estimate (table 3)")
    clip_range: float = setting(0.2, above=0, help="ε, how far the ratio may leave 1 (table 3)")
    clip_range_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    clip_range_value: float | None = setting(None, above=0, help="how far a value may move per update (none: no limit)")
    normalize_advantage: bool = setting(True, help="zero mean, unit deviation in each minibatch")
    entropy_coef: float = setting(0.0, at_least=0, help="c₂, weight of the entropy bonus (eq. 9)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (eq. 9)")
    max_grad_norm: float = setting(0.5, above=0, help="largest global norm of the gradient")
    target_kl: float | None = setting(None, above=0, help="an update ends early beyond 1.5 times this KL (none: never)")
    adam_eps: float = setting(1e-5, above=0, help="ε of Adam")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: 64,64; () on images")
    activation: Literal["tanh", "relu"] = setting("tanh", help="between the hidden layers")
    log_std_init: float = setting(0.0, help="initial log standard deviation of continuous actions")
    normalize_observation: bool = setting(False, help="observations by their running mean and deviation, clipped at 10")
    normalize_reward: bool = setting(False, help="rewards by the running deviation of the return, clipped at 10")
    total_steps: int = setting(0, at_least=0, help="environment steps of the run, where schedules end; 0: unknown")


class PPO(Base):
    """Proximal policy optimization with a clipped surrogate objective.

    Example:
        agent = PPO(env.observation_space, env.action_space, PPO.Config(n_steps=128), num_envs=8, seed=0)
    """

    Config = Config
    remembered = (
        "network", "optimizer", "rollout", "observation_norm", "reward_norm", "policy_rng", "batch_rng", "steps",
        "num_updates", "latest",
    )  # fmt: skip
    observation_spaces = OBSERVATION_SPACES
    action_spaces = ACTION_SPACES

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: BaseConfig | None = None,
        *,
        num_envs: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__(observation_space, action_space, config, num_envs=num_envs, seed=seed, device=device)
        c = self.config
        self.encoder, self.head = Encoder(observation_space), head_for(action_space)
        self.policy_rng = seeding.generator(seed, "policy")
        self.batch_rng = seeding.generator(seed, "minibatches")
        self.network = ActorCritic(
            self.encoder, self.head, c.hidden_sizes, c.activation, c.log_std_init, seeding.generator(seed, "network")
        )
        encoder, head = self.encoder, self.head
        self.rollout = RolloutBuffer(
            c.n_steps, num_envs, encoder.shapes, encoder.dtypes, head.sample_shape, head.sample_dtype
        )
        vector = c.normalize_observation and self.encoder.vector_size
        self.observation_norm = ObservationNormalizer((self.encoder.vector_size,)) if vector else None
        self.reward_norm = RewardNormalizer(num_envs, c.gamma) if c.normalize_reward else None
        self.steps = 0
        self.latest: dict[str, float] = {}

    @property
    def largest_product(self) -> int:
        """Multiply-adds of the largest layer over a minibatch."""
        return int(self.config.batch_size * max(p.size for p in self.network.parameters()))

    @property
    def network(self) -> Any:
        """The policy and value networks; set it to a module of your own (see dbrrl.actor_critic) before training."""
        return self._network

    @network.setter
    def network(self, module: nn.Module) -> None:
        self._network = checked(module).to(self.device)
        self.optimizer = Adam(module, self.config.learning_rate, eps=self.config.adam_eps)

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Sample from the policy, or its mode if not `explore`."""
        observation, single = self.as_batch(observation)
        learning = explore and self.training
        parts = self.encode(observation, update=learning)
        with no_grad():
            policy = self.policy(self.placed(parts))
        sample = to_numpy(policy.sample(self.policy_rng) if explore else policy.mode())
        if learning:
            self.rollout.begin(parts, sample)
        action = self.head.to_action(sample)
        return action[0] if single else action

    def placed(self, arrays: list[np.ndarray]) -> list[Any]:
        """The arrays on the agent's device."""
        return arrays if self.device == "cpu" else [to_device(array, self.device) for array in arrays]

    def encode(self, observation: Any, update: bool = False) -> list[np.ndarray]:
        """The network's input for a batch of observations; `update` takes them into the running statistics first."""
        parts = self.encoder(observation)
        if self.observation_norm is not None:
            if update:
                self.observation_norm.update(parts[0])
            parts = [self.observation_norm(parts[0]), *parts[1:]]
        return parts

    def observe(
        self,
        next_observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: dict[str, Any] | None = None,
    ) -> None:
        """Store the transition; learn when the rollout is full, or the run at its end."""
        rollout, valid = self.rollout, info.get("valid") if info else None
        if info and "final_obs" in info:
            next_observation = true_next_observation(next_observation, info)
        if self.reward_norm is not None:
            ended = np.logical_or(terminated, truncated)
            reward = self.reward_norm(np.reshape(reward, -1), np.reshape(ended, -1), valid)
        rollout.end(reward, terminated, truncated, valid)
        self.steps += self.num_envs if valid is None else int(np.count_nonzero(valid))
        last = rollout.full or self.steps == self.config.total_steps
        if not last and not np.any(truncated):
            return
        observation, _ = self.as_batch(next_observation)
        parts = self.encode(observation)
        for env in np.flatnonzero(truncated):
            rollout.finals.append((rollout.size - 1, int(env), [part[env].copy() for part in parts]))
        if last:
            rollout.close(parts)
            self.update()
            rollout.clear()

    def advantages(self) -> tuple[np.ndarray, np.ndarray]:
        """Advantage estimates and values (T, B) of the rollout."""
        rollout = self.rollout
        rows, envs = rollout.size, self.num_envs
        with no_grad():
            flat = [part[: rows + 1].reshape(-1, *part.shape[2:]) for part in rollout.observations]
            values = to_numpy(self.network.value(self.placed(flat)).array).reshape(rows + 1, envs)
            following = values[1:].copy()
            if rollout.finals:
                finals = [np.stack([parts[i] for _, _, parts in rollout.finals]) for i in range(len(flat))]
                at = tuple(np.array([place[:2] for place in rollout.finals]).T)
                following[at] = to_numpy(self.network.value(self.placed(finals)).array)
        terminated, valid = rollout.terminated[:rows], rollout.valid[:rows]
        boundary = terminated | rollout.truncated[:rows] | ~valid
        c = self.config
        reward, value = rollout.rewards[:rows], values[:-1]
        return gae(reward, value, following, terminated, boundary, c.gamma, c.gae_lambda), value

    def update(self) -> None:
        """Several epochs of minibatches over the rollout."""
        c, rollout = self.config, self.rollout
        advantage, value = self.advantages()
        keep = np.flatnonzero(rollout.valid[: rollout.size])
        parts = [part[: rollout.size].reshape(-1, *part.shape[2:]) for part in rollout.observations]
        actions = rollout.actions[: rollout.size].reshape(-1, *rollout.actions.shape[2:])
        columns = [*parts, actions, advantage.reshape(-1), value.reshape(-1)]
        if len(keep) < len(actions):
            columns = [column[keep] for column in columns]
        if not len(keep):
            return
        *parts, actions, advantage, value = self.placed(columns)
        with no_grad():
            old_log_prob = self.policy(parts).log_prob(actions).array
        columns = [*parts, actions, old_log_prob, value, advantage + value, advantage]
        progress = (self.steps - len(keep)) / c.total_steps if c.total_steps else 0.0
        self.optimizer.learning_rate = Schedule(c.learning_rate_schedule, c.learning_rate, 0.0)(progress)
        clip_range = Schedule(c.clip_range_schedule, c.clip_range, 0.0)(progress)
        records = self.epochs(columns, max(clip_range, 1e-8))
        self.latest = {name: float(np.mean([r[name] for r in records])) for name in records[0]}
        self.latest["explained_variance"] = explained_variance(value, advantage + value)
        self.latest["learning_rate"] = self.optimizer.learning_rate

    def epochs(self, columns: list[np.ndarray], clip_range: float) -> list[dict[str, float]]:
        """Minibatch updates in random order; the statistics of the last epoch's minibatches."""
        c, n = self.config, len(columns[-1])
        records: list[dict[str, float]] = []
        # A single minibatch is the whole rollout: its order does not matter, it is prepared once.
        whole = self.prepared(columns) if n <= c.batch_size else None
        for epoch in range(c.n_epochs):
            record = epoch == c.n_epochs - 1 or c.target_kl is not None
            records = []
            order = self.placed([self.batch_rng.permutation(n)])[0] if whole is None else None
            for start in range(0, n, c.batch_size):
                rows = None if order is None else order[start : start + c.batch_size]
                batch = whole or self.prepared([column[rows] for column in columns])
                records.append(self.minibatch(batch, clip_range, record))
                if c.target_kl is not None and records[-1]["approx_kl"] > 1.5 * c.target_kl:
                    return records
        return records

    def prepared(self, batch: list[np.ndarray]) -> list[np.ndarray]:
        """The columns of a minibatch with the advantages (the last) normalized, if the settings say so."""
        normalize = self.config.normalize_advantage and len(batch[-1]) > 1
        return [*batch[:-1], normalized(batch[-1])] if normalize else batch

    def minibatch(self, batch: list[np.ndarray], clip_range: float, record: bool) -> dict[str, float]:
        """One gradient step on columns (parts ..., action, old log π(a|s), old V(s), G, A), each with n rows."""
        c = self.config
        *parts, action, old_log_prob, old_value, target, advantage = batch
        outputs, value = self.network(parts)
        policy = self.head.distribution(outputs, getattr(self.network, "log_std", None))
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
        self.optimizer.zero_grad()
        backward(terms, weights)
        if not math.isfinite(self.optimizer.clip_grad_norm(c.max_grad_norm)):
            raise AnomalyError(
                f"ppo: expected a finite gradient in update {self.num_updates}, got nan or inf (value loss "
                f"{value_loss.item()}): lower the learning rate, or find the op with dbrrl.detect_anomaly()"
            )
        statistics: dict[str, float] = {}
        if record:
            ratio = np.exp(log_ratio := log_prob.array - old_log_prob)
            statistics = {
                "policy_loss": -objective.item(),
                "value_loss": value_loss.item(),
                "entropy": float(entropy.array.mean()),
                "approx_kl": float((ratio - 1 - log_ratio).mean()),  # Schulman 2020, "Approximating KL divergence"
                "clip_fraction": float((np.abs(ratio - 1) > clip_range).mean()),
            }
        self.optimizer.step()
        self.num_updates += 1
        return statistics

    def policy(self, parts: list[np.ndarray]) -> Distribution:
        """π(·|s) for a batch of the network's inputs."""
        return self.head.distribution(self.network.policy(parts), getattr(self.network, "log_std", None))

    def statistics(self) -> dict[str, float]:
        """Means over the last epoch of the latest update."""
        return dict(self.latest)


def normalized(x: np.ndarray) -> np.ndarray:
    """X with zero mean and unit standard deviation."""
    centered = x - np.add.reduce(x) / len(x)
    return centered / (np.sqrt(np.dot(centered, centered) / len(x)) + 1e-8)  # type: ignore[no-any-return]


Agent = PPO
