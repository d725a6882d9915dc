"""Soft actor-critic with a learned temperature (SAC: Haarnoja et al. 2018b, arXiv:1812.05905).

The policy is rewarded for its entropy, too. Transitions (s, a, r, s') wait in a replay buffer; each update draws a
batch of them and takes three gradient steps, on the critics, the policy and the temperature:

    J_Q(θ₁, θ₂) = mean[ Σᵢ (Q_θᵢ(s, a) - y)² ],   y = r where the episode truly ended                   (eq. 5)
    y = r + γ (minᵢ Q_θᵢ'(s', a') - α log π_φ(a'|s')),   a' ~ π_φ(·|s')                                 (eq. 2 and 3)
    J_π(φ) = mean[ α log π_φ(ã|s) - minᵢ Q_θᵢ(s, ã) ],   ã = tanh(m_φ(s) + σ_φ(s) ε), ε ~ N(0, 1)       (eq. 7 to 9)
    J(α) = mean[ -α (log π_φ(ã|s) + H) ],   H = -k, the number of entries of an action                  (eq. 18)

Then the targets follow: θ' ← τ θ + (1 - τ) θ'. Actions are in [-1, 1]ᵏ here, and so are their densities,
log π(a|s) = log N(u) - Σⱼ log(1 - tanh² uⱼ), a = tanh u (appendix C); the map to the bounds of the action space is
outside of what is learned, and consistently left out. So H means the same for all bounds. Time limits bootstrap from
the true final observation.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.distributions import SquashedNormal
from dbrrl.explorers import Explorer, continuous_explorer
from dbrrl.learning import actor_and_critics, own_agent
from dbrrl.learning.config import ContinuousConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.joined_metrics import JoinedMetrics
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.networks.continuous import ActorAndCritics, Critics, SquashedNormalActor, UnitBoxHead
from dbrrl.nn import Parameter
from dbrrl.optim import Adam
from dbrrl.schedules import Schedule
from dbrrl.types import Observation


@dataclass(frozen=True)
class Config(ContinuousConfig):
    """Settings of SAC; the paper's own are in its table 1."""

    learning_rate: float | Schedule = setting(
        3e-4, above=0, help="step size of Adam, of the policy and the critics (paper: 3e-4)"
    )
    temperature: float = setting(1.0, above=0, help="α at first")
    temperature_learning_rate: float | Schedule = setting(
        3e-4, at_least=0, help="step size of α (paper: 3e-4); 0: α stays"
    )
    target_entropy: float | None = setting(
        None, requires="temperature_learning_rate", help="H in nats, of actions in [-1, 1]; none: -k (paper)"
    )


class SAC(OffPolicyAgent):
    """A stochastic policy of maximum entropy, the lesser of two critics, and a temperature that is learned.

    Example:
        agent = SAC(env.observation_space, env.action_space, SAC.Config(updates_per_interval=2), num_envs=1, seed=0)
    """

    Config = Config
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "actor", "critics", "target_critics", "log_temperature", "actor_optimizer", "critic_optimizer",
        "temperature_optimizer", *OffPolicyAgent.saved_attributes, "action_rng",
    )  # fmt: skip
    action_spaces = (gym.spaces.Box,)
    network = actor_and_critics.network
    actor: Any
    critics: Any

    def make_head(self) -> UnitBoxHead:
        """From [-1, 1]ᵏ to the bounds."""
        return UnitBoxHead(self.action_space, self.name)  # type: ignore[arg-type]

    def make_networks(self, rng: np.random.Generator) -> None:
        """π_φ, Q_θ₁ and Q_θ₂, and log α with its gradient step."""
        c, k = self.config, self.head.size
        actor = SquashedNormalActor(self.preprocessor, k, c.hidden_sizes, c.activation, rng=rng)
        self.network = ActorAndCritics(actor, self.make_critics(rng))
        self.log_temperature = Parameter(self.to_device(np.full(1, math.log(c.temperature), np.float32)))
        self.target_entropy = float(-k if c.target_entropy is None else c.target_entropy)
        self.temperature_optimizer = Adam([self.log_temperature], c.temperature_learning_rate)
        self.temperature_step = self.gradient_step_for(self.temperature_loss, self.temperature_optimizer)
        self.action_rng = self.generator("actions")

    def make_steps(self) -> None:
        """The targets of the critics, and a gradient step for the actor and the critics."""
        self.target_critics: Any = nn.target_copy(self.critics)
        self.actor_optimizer = Adam(self.actor, self.config.learning_rate)
        self.critic_optimizer = Adam(self.critics, self.config.learning_rate)
        self.actor_step = self.gradient_step_for(self.actor_loss, self.actor_optimizer)
        self.critic_step = self.gradient_step_for(self.critic_loss, self.critic_optimizer)

    def make_critics(self, rng: np.random.Generator) -> nn.Module:
        """Return the critics, with initial weights from `rng`."""
        c = self.config
        return Critics(self.preprocessor, self.head.size, 2, c.hidden_sizes, c.activation, rng=rng)

    def outputs(self, network: Any, observation: Observation) -> dict[str, Any]:
        """Return what an actor and critics give for a batch of observations: one's own must give as much."""
        policy = own_agent.distribution(network.actor(observation))
        mode = policy.mode()
        action, log_prob = policy.of_noise(np.zeros_like(mode))
        actor = {"actions of actor": mode, "sampled actions": action, "log-probabilities of these": log_prob}
        return actor | self.critic_outputs(network.critics(observation, action))

    def critic_outputs(self, values: Any) -> dict[str, Any]:
        """Return what critics gave: any number of critics may take the place of two."""
        return {"values of each critic": values[0]}

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Uniform actions at first, then samples of the policy, with noise if the settings name one."""
        return continuous_explorer(self.config, (self.num_envs, self.head.size), rng)

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return tanh m_φ(s), the median of the policy."""
        return self.computed(lambda given: self.actor(given).mode(), observation)

    def policy_actions(self, observation: Observation) -> np.ndarray:
        """Return samples of the policy."""
        return self.computed(lambda given, rng: self.actor(given).sample(rng), observation, self.explorer.rng)

    def action_distribution(self, observation: Any, episode_start: Any = None) -> SquashedNormal:
        """Return π_φ(·|s) of a batch of observations, actions in [-1, 1]ᵏ; a single one is a batch of one."""
        with nn.evaluation():
            policy: SquashedNormal = self.actor(self.to_device(self.preprocessor(self.as_batch(observation)[0])))
            return policy

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return the least Q_θᵢ(s, tanh m_φ(s)) of a batch of observations, (B,), or of a single one, a number."""
        return self.evaluated(observation, lambda given: self.critic_values(given).min(axis=0))

    def critic_values(self, observation: Observation) -> Any:
        """Return what the critics say of the actions to evaluate, an array."""
        return self.critics(observation, self.actor(observation).mode()).array

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return the least Q_θᵢ(s, a), (B,), with its graph."""
        return F.min(self.critics(given, sample), axis=0)

    def update(self, batch: Batch) -> JoinedMetrics:
        """One gradient step of the critics, the policy and the temperature each, and one of the targets."""
        draw, shape = self.action_rng.standard_normal, batch.action.shape
        batch = self.place(batch.add(noise=draw(shape, np.float32), next_noise=draw(shape, np.float32)))
        critic = self.critic_step(batch)
        with nn.frozen(self.critics):
            actor = self.actor_step(batch)
        temperature = self.temperature_step(batch.add(log_prob=actor["log_prob"]))
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
        value = self.critics(batch.observation, batch.action)
        loss, error = losses.td_squared(value, self.target(batch))
        return loss, lambda: {"loss": loss.array, "error": error, "value": value.array.mean()}

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (n,)."""
        with nn.evaluation():
            action, log_prob = self.actor(batch.next_observation).of_noise(batch.next_noise)
            value = self.target_critics(batch.next_observation, action).array.min(axis=0)
        return batch.reward + batch.discount * (value - self.temperature * log_prob.array)

    def actor_loss(self, batch: Batch) -> LossAndMetrics:
        """Return J_π(φ)."""
        action, log_prob = self.actor(batch.observation).of_noise(batch.noise)
        value = F.min(self.critics(batch.observation, action), axis=0)
        loss = losses.soft_policy(log_prob, value, self.temperature)
        return loss, lambda: {"loss": loss.array, "log_prob": log_prob.array}

    def temperature_loss(self, batch: Batch) -> LossAndMetrics:
        """Return J(α), and as metrics α itself."""
        loss = losses.temperature(self.log_temperature, batch.log_prob, self.target_entropy)
        alpha = self.temperature.mean()
        return loss, lambda: {"loss": loss.array, "alpha": alpha}


Agent = SAC
