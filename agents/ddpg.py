"""Deep deterministic policy gradient (DDPG: Lillicrap et al. 2016, arXiv:1509.02971).

Transitions (s, a, r, s') wait in a replay buffer; each update draws a batch of N and takes a gradient step on the
critic and one on the deterministic policy:

    L(θ) = N⁻¹ Σ (y - Q_θ(s, a))²                                                                       (eq. 4)
    y = r + γ Q_θ'(s', μ_φ'(s')),   y = r where the episode truly ended                                 (eq. 5)
    J(φ) = N⁻¹ Σ Q_θ(s, μ_φ(s)),   to be maximized                                                      (eq. 6)

Then the targets follow: θ' ← τ θ + (1 - τ) θ', φ' ← τ φ + (1 - τ) φ' (section 3). Actions are in [-1, 1]ᵏ here, and are
mapped to the bounds of the action space outside of what is learned. The policy explores by Ornstein-Uhlenbeck noise,
after a start with uniform actions. Time limits bootstrap from the true final observation.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import losses, nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.explorers import Explorer, continuous_explorer
from dbrrl.learning import actor_and_critics
from dbrrl.learning.config import ContinuousConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.joined_metrics import JoinedMetrics
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.networks.continuous import ActorAndCritics, Critics, DeterministicActor, UnitBoxHead
from dbrrl.optim import Adam
from dbrrl.schedules import Schedule
from dbrrl.types import Observation

OUT_BOUND = 3e-3  # of the initial weights of the last layers (section 7)


@dataclass(frozen=True)
class Config(ContinuousConfig):
    """Settings of DDPG; the paper's own are in its section 7."""

    learning_rate: float | Schedule = setting(1e-3, above=0, help="step size of Adam, of the critic (paper: 1e-3)")
    actor_learning_rate: float | Schedule = setting(1e-4, above=0, help="step size of Adam of the policy (paper: 1e-4)")
    batch_size: int = setting(64, at_least=1, help="transitions per update (paper: 64; images 16)")
    hidden_sizes: tuple[int, ...] = setting((400, 300), at_least=1, help="hidden layers (paper: 400,300)")
    tau: float = setting(0.001, above=0, at_most=1, help="how far the targets move in each update (paper: 0.001)")
    noise: Literal["gaussian", "ornstein_uhlenbeck", "none"] = setting(
        "ornstein_uhlenbeck", help="added to actions that explore (paper: ornstein_uhlenbeck)"
    )
    noise_scale: float | Schedule = setting(
        0.2, at_least=0, requires="noise", help="σ of that noise, of actions in [-1, 1] (paper: 0.2)"
    )


class DDPG(OffPolicyAgent):
    """A deterministic policy that climbs a critic, both with target networks.

    Example:
        agent = DDPG(env.observation_space, env.action_space, DDPG.Config(noise="gaussian"), num_envs=1, seed=0)
    """

    Config = Config
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "actor", "critics", "target_actor", "target_critics", "actor_optimizer", "critic_optimizer",
        *OffPolicyAgent.saved_attributes,
    )  # fmt: skip
    action_spaces = (gym.spaces.Box,)
    network = actor_and_critics.network
    actor: Any
    critics: Any

    def make_head(self) -> UnitBoxHead:
        """From [-1, 1]ᵏ to the bounds."""
        return UnitBoxHead(self.action_space, self.name)  # type: ignore[arg-type]

    def make_networks(self, rng: np.random.Generator) -> None:
        """μ_φ and Q_θ, an ensemble of one critic."""
        c, k = self.config, self.head.size
        sizes = c.hidden_sizes, c.activation
        actor = DeterministicActor(self.preprocessor, k, *sizes, out_bound=OUT_BOUND, rng=rng)
        critics = Critics(self.preprocessor, k, 1, *sizes, out_bound=OUT_BOUND, rng=rng)
        self.network = ActorAndCritics(actor, critics)

    def make_steps(self) -> None:
        """The targets of both, and a gradient step for each."""
        c = self.config
        self.target_actor: Any = nn.target_copy(self.actor)
        self.target_critics: Any = nn.target_copy(self.critics)
        self.actor_optimizer = Adam(self.actor, c.actor_learning_rate)
        self.critic_optimizer = Adam(self.critics, c.learning_rate)
        self.actor_step = self.gradient_step_for(self.actor_loss, self.actor_optimizer)
        self.critic_step = self.gradient_step_for(self.critic_loss, self.critic_optimizer)

    def outputs(self, network: Any, observation: Observation) -> dict[str, Any]:
        """Return what an actor and critics give for a batch of observations: one's own must give as much."""
        action = network.actor(observation)
        return {"actions of actor": action, "values of critics": network.critics(observation, action)}

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Uniform actions at first, then the noise that the settings name."""
        return continuous_explorer(self.config, (self.num_envs, self.head.size), rng)

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return μ_φ(s)."""
        return self.computed(lambda given: self.actor(given), observation)

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return Q_θ(s, μ_φ(s)) of a batch of observations, (B,), or of a single one, a number."""
        return self.evaluated(observation, lambda given: self.critics(given, self.actor(given)).array[0])

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return Q_θ(s, a), (B,), with its graph."""
        return self.critics(given, sample)[0]

    def update(self, batch: Batch) -> JoinedMetrics:
        """One gradient step of the critic and one of the policy, and a step of the targets (algorithm 1)."""
        critic = self.critic_step(batch)
        with nn.frozen(self.critics):
            actor = self.actor_step(batch)
        nn.polyak(self.target_critics, self.critics, self.config.tau)
        nn.polyak(self.target_actor, self.actor, self.config.tau)
        self.num_updates += 1
        self.replay.update_priorities(batch.index, critic["error"])
        return self.joined(critic=critic, actor=actor)

    def critic_loss(self, batch: Batch) -> LossAndMetrics:
        """Return (y - Q_θ(s, a))² of each transition."""
        value = self.critics(batch.observation, batch.action)
        loss, error = losses.td_squared(value, self.target(batch))
        return loss, lambda: {"loss": loss.array, "error": error, "value": value.array.mean()}

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (N,)."""
        with no_grad():
            action = self.target_actor(batch.next_observation)
            value = self.target_critics(batch.next_observation, action).array[0]
        return batch.reward + batch.discount * value

    def actor_loss(self, batch: Batch) -> LossAndMetrics:
        """Return -J(φ)."""
        loss = -self.critics(batch.observation, self.actor(batch.observation)).mean()
        return loss, lambda: {"loss": loss.array}


Agent = DDPG
