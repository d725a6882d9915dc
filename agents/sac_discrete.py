"""Soft actor-critic for discrete actions (Christodoulou 2019, arXiv:1910.07207).

The expectations over actions that SAC estimates by samples are sums here. Transitions (s, a, r, s') wait in a replay
buffer; each update draws a batch and takes three gradient steps, on the critics, the policy and the temperature:

    J_Q(θ₁, θ₂) = mean[ Σᵢ (Q_θᵢ(s, a) - y)² ],   y = r where the episode truly ended
    y = r + γ Σ_a' π_φ(a'|s') (minᵢ Q_θᵢ'(s', a') - α log π_φ(a'|s'))
    J_π(φ) = mean[ Σ_a π_φ(a|s) (α log π_φ(a|s) - minᵢ Q_θᵢ(s, a)) ]
    J(α) = mean[ Σ_a π_φ(a|s) (-α (log π_φ(a|s) + H)) ],   H = ρ log n for n actions

(algorithm 1 and section 3). Then the targets follow: θ' ← τ θ + (1 - τ) θ'. The policy gives the probabilities of all
actions, and each critic the values of all. Time limits bootstrap from the true final observation. Where an observation
has a mask of actions, the sums are over the allowed ones, and n is their number in that state.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.backend.trees import count
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.distributions import Categorical
from dbrrl.distributions.masks import allowed, masked, opened, uniform
from dbrrl.learning import actor_and_critics
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.joined_metrics import JoinedMetrics
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.networks.continuous import ActorAndCritics, Critics
from dbrrl.networks.q_network import QNetwork
from dbrrl.nn import Parameter
from dbrrl.optim import Adam
from dbrrl.schedules import Schedule
from dbrrl.types import Observation


@dataclass(frozen=True)
class Config(OffPolicyConfig):
    """Settings of SAC for discrete actions; the paper's own, for Atari, are in its table 2."""

    learning_rate: float | Schedule = setting(
        3e-4, above=0, help="step size of Adam, of the policy and the critics (paper: 3e-4)"
    )
    batch_size: int = setting(64, at_least=1, help="transitions per update (paper: 64)")
    hidden_sizes: tuple[int, ...] | None = setting((256, 256), at_least=1, help="hidden layers; paper: 512, on images")
    tau: float = setting(0.005, above=0, at_most=1, help="how far the targets move in each update; 1: a copy")
    temperature: float = setting(1.0, above=0, help="α at first")
    temperature_learning_rate: float | Schedule = setting(
        3e-4, at_least=0, help="step size of α (paper: 3e-4); 0: α stays"
    )
    target_entropy: float = setting(
        0.98, at_least=0, at_most=1, requires="temperature_learning_rate",
        help="ρ, H as a part of the largest entropy, log n of n allowed actions",
    )  # fmt: skip
    prioritized: bool = setting(False, help="draw transitions by their last error")
    priority_alpha: float = setting(
        0.6, at_least=0, at_most=1, requires="prioritized", help="α, 0: all alike (Schaul et al. 2016, table 3)"
    )
    priority_beta: float = setting(
        0.4, at_least=0, at_most=1, requires="prioritized", help="β at first; it grows to 1 at total_steps"
    )


class SACDiscrete(OffPolicyAgent):
    """A policy of maximum entropy over discrete actions, the lesser of two critics, and a learned temperature.

    Example:
        agent = SACDiscrete(env.observation_space, env.action_space, SACDiscrete.Config(n_step=3), num_envs=1, seed=0)
    """

    Config = Config
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "actor", "critics", "target_critics", "log_temperature", "actor_optimizer", "critic_optimizer",
        "temperature_optimizer", *OffPolicyAgent.saved_attributes,
    )  # fmt: skip
    action_spaces = (gym.spaces.Discrete,)
    action_masks = True
    network = actor_and_critics.network
    actor: Any
    critics: Any

    def make_networks(self, rng: np.random.Generator) -> None:
        """π_φ, Q_θ₁ and Q_θ₂, and log α with its gradient step."""
        c = self.config
        self.actions = int(self.action_space.n)  # type: ignore[attr-defined]
        actor = QNetwork(self.preprocessor, self.actions, c.hidden_sizes, c.activation, rng=rng)
        sizes = () if c.hidden_sizes is None else c.hidden_sizes
        critics = Critics(self.preprocessor, 0, 2, sizes, c.activation, self.actions, rng=rng)
        self.network = ActorAndCritics(actor, critics)
        self.log_temperature = Parameter(self.to_device(np.full(1, math.log(c.temperature), np.float32)))
        self.temperature_optimizer = Adam([self.log_temperature], c.temperature_learning_rate)
        self.temperature_step = self.gradient_step_for(self.temperature_loss, self.temperature_optimizer)

    def make_steps(self) -> None:
        """The targets of the critics, and a gradient step for the actor and the critics."""
        self.target_critics: Any = nn.target_copy(self.critics)
        self.actor_optimizer = Adam(self.actor, self.config.learning_rate)
        self.critic_optimizer = Adam(self.critics, self.config.learning_rate)
        self.actor_step = self.gradient_step_for(self.actor_loss, self.actor_optimizer)
        self.critic_step = self.gradient_step_for(self.critic_loss, self.critic_optimizer)

    def outputs(self, network: Any, observation: Observation) -> dict[str, Any]:
        """Return what an actor and critics give for a batch of observations: one's own must give as much."""
        return {"logits of actor": network.actor(observation), "values of each critic": network.critics(observation)[0]}

    def policy(self, observation: Observation) -> Categorical:
        """Return π_φ(·|s) of a batch of observations, over the actions that they allow."""
        return Categorical(masked(self.actor(observation), observation))

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return the most probable actions."""
        return self.computed(lambda given: self.policy(given).mode(), observation)

    def explore(self, observation: Observation) -> np.ndarray:
        """Return samples of the policy; before the first update uniform actions."""
        rng, mask = self.explorer.rng, allowed(observation)
        if not self.num_updates:
            return rng.integers(self.actions, size=count(observation)) if mask is None else uniform(mask, rng)
        return self.computed(lambda given, rng: self.policy(given).sample(rng), observation, rng)

    def action_distribution(self, observation: Any, episode_start: Any = None) -> Categorical:
        """Return π_φ(·|s) of a batch of observations; a single one is a batch of one."""
        with nn.evaluation():
            return self.policy(self.to_device(self.preprocessor(self.as_batch(observation)[0])))

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return Σ_a π_φ(a|s) minᵢ Q_θᵢ(s, a) of a batch of observations, (B,), or of a single one, a number."""
        return self.evaluated(
            observation,
            lambda given: (self.policy(given).probs.array * self.critics(given).array.min(axis=0)).sum(axis=1),
        )

    def q_values(self, observation: Any, episode_start: Any = None) -> np.ndarray:
        """Return minᵢ Q_θᵢ(s, ·) of a batch of observations, (B, actions)."""
        return self.of_batch(observation, lambda given: self.critics(given).array.min(axis=0))

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return log π_φ(a|s), (B,), with its graph."""
        return self.policy(given).log_prob(sample)

    def update(self, batch: Batch) -> JoinedMetrics:
        """One gradient step of the critics, the policy and the temperature each, and one of the targets."""
        critic = self.critic_step(batch)
        with nn.frozen(self.critics):
            actor = self.actor_step(batch)
        temperature = self.temperature_step(batch.add(log_prob=-actor["entropy"]))
        nn.polyak(self.target_critics, self.critics, self.config.tau)
        self.num_updates += 1
        self.replay.update_priorities(batch.index, critic["error"])
        return self.joined(critic=critic, actor=actor, temperature=temperature)

    @property
    def temperature(self) -> Any:
        """α, an array (1,), without its graph."""
        return np.exp(self.log_temperature.array)

    def critic_loss(self, batch: Batch) -> LossAndMetrics:
        """Return Σᵢ (Q_θᵢ(s, a) - y)² of each transition."""
        values = self.critics(batch.observation)
        rows = values.reshape(-1, self.actions)
        chosen = F.pick(rows, np.concatenate([batch.action] * len(values))).reshape(len(values), -1)
        loss, error = losses.td_squared(chosen, self.target(batch))
        return loss, lambda: {"loss": loss.array, "error": error, "value": chosen.array.mean()}

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (n,)."""
        following = opened(batch.next_observation)
        with nn.evaluation():
            soft = -self.soft_cost(self.policy(following), self.target_critics, following).array
        return batch.reward + batch.discount * soft

    def actor_loss(self, batch: Batch) -> LossAndMetrics:
        """Return J_π(φ), and as metrics the entropy of the policy in each state."""
        policy = self.policy(batch.observation)
        loss = F.mean(self.soft_cost(policy, self.critics, batch.observation))
        return loss, lambda: {"loss": loss.array, "entropy": policy.entropy().array}

    def soft_cost(self, policy: Categorical, critics: Any, observation: Observation) -> Any:
        """Return Σ_a π(a|s) (α log π(a|s) - minᵢ Qᵢ(s, a)) of each state, (n,), which the policy is to minimize."""
        value, log_probs = critics(observation).array.min(axis=0), masked(policy.log_probs, observation, 0.0)
        return F.sum(policy.probs * (self.temperature * log_probs - value), axis=1)

    def temperature_loss(self, batch: Batch) -> LossAndMetrics:
        """Return J(α), and as metrics α itself; Σ π log π of each state is `batch.log_prob`."""
        loss = losses.temperature(self.log_temperature, batch.log_prob, self.target_entropy(batch.observation))
        alpha = self.temperature.mean()
        return loss, lambda: {"loss": loss.array, "alpha": alpha}

    def target_entropy(self, observation: Observation) -> Any:
        """Return H, a number, or with masks of actions one for each state, (n,): 0 where one action is allowed."""
        mask, share = allowed(observation), self.config.target_entropy
        return share * (math.log(self.actions) if mask is None else np.log(mask.sum(axis=1, dtype=np.float32)))


Agent = SACDiscrete
