"""Twin delayed deep deterministic policy gradient (TD3: Fujimoto et al. 2018, arXiv:1802.09477).

Transitions (s, a, r, s') wait in a replay buffer; each update draws a batch of N and takes a gradient step on

    L(θ₁, θ₂) = N⁻¹ Σ Σᵢ (y - Q_θᵢ(s, a))²                                                              (algorithm 1)
    y = r + γ minᵢ Q_θᵢ'(s', ã),   y = r where the episode truly ended             (eq. 10: clipped double Q-learning)
    ã = clip(π_φ'(s') + ε, -1, 1),   ε ~ clip(N(0, σ̃), -c, c)           (section 5.3: smoothing of the target policy)

and every d updates one on the deterministic policy, after which the targets follow (section 5.2: delayed updates):

    J(φ) = N⁻¹ Σ Q_θ₁(s, π_φ(s)),   to be maximized;   θ' ← τ θ + (1 - τ) θ',   φ' ← τ φ + (1 - τ) φ'   (algorithm 1)

Actions are in [-1, 1]ᵏ here, and are mapped to the bounds of the action space outside of what is learned. The policy
explores by noise, after a start with uniform actions. Time limits bootstrap from the true final observation.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
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


@dataclass(frozen=True)
class Config(ContinuousConfig):
    """Settings of TD3; the paper's own are in its section 6.1, those of its authors' later code in TD3.py."""

    learning_rate: float | Schedule = setting(
        3e-4, above=0, help="step size of Adam (paper: 1e-3; the authors' later code: 3e-4)"
    )
    noise: Literal["gaussian", "ornstein_uhlenbeck", "none"] = setting("gaussian", help="added to actions that explore")
    target_noise: float = setting(0.2, at_least=0, help="σ̃, of the noise on the target's actions (paper: 0.2)")
    target_noise_clip: float = setting(
        0.5, at_least=0, requires="target_noise", help="c, bound of that noise (paper: 0.5)"
    )
    policy_delay: int = setting(2, at_least=1, help="d, updates of the critics for each of the policy (paper: 2)")


class TD3(OffPolicyAgent):
    """A deterministic policy and the lesser of two critics, with smoothed targets and delayed policy updates.

    Example:
        agent = TD3(env.observation_space, env.action_space, TD3.Config(noise_scale=0.2), num_envs=1, seed=0)
    """

    Config = Config
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "actor", "critics", "target_actor", "target_critics", "actor_optimizer", "critic_optimizer",
        *OffPolicyAgent.saved_attributes, "smoothing_rng",
    )  # fmt: skip
    action_spaces = (gym.spaces.Box,)
    network = actor_and_critics.network
    actor: Any
    critics: Any

    def make_head(self) -> UnitBoxHead:
        """From [-1, 1]ᵏ to the bounds."""
        return UnitBoxHead(self.action_space, self.name)  # type: ignore[arg-type]

    def make_networks(self, rng: np.random.Generator) -> None:
        """π_φ, Q_θ₁ and Q_θ₂."""
        c, k = self.config, self.head.size
        actor = DeterministicActor(self.preprocessor, k, c.hidden_sizes, c.activation, rng=rng)
        critics = Critics(self.preprocessor, k, 2, c.hidden_sizes, c.activation, rng=rng)
        self.network = ActorAndCritics(actor, critics)
        self.smoothing_rng = self.generator("smoothing")

    def make_steps(self) -> None:
        """The targets of all, and a gradient step for the actor and the critics."""
        c = self.config
        self.target_actor: Any = nn.target_copy(self.actor)
        self.target_critics: Any = nn.target_copy(self.critics)
        self.actor_optimizer = Adam(self.actor, c.learning_rate)
        self.critic_optimizer = Adam(self.critics, c.learning_rate)
        self.actor_step = self.gradient_step_for(self.actor_loss, self.actor_optimizer)
        self.critic_step = self.gradient_step_for(self.critic_loss, self.critic_optimizer)

    def outputs(self, network: Any, observation: Observation) -> dict[str, Any]:
        """Return what an actor and critics give for a batch of observations: one's own must give as much."""
        action = network.actor(observation)
        values, first = network.critics(observation, action), network.critics(observation, action, slice(0, 1))
        return {"actions of actor": action, "values of each critic": values[0], "values of critic 0 alone": first}

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Uniform actions at first, then the noise that the settings name."""
        return continuous_explorer(self.config, (self.num_envs, self.head.size), rng)

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return π_φ(s)."""
        return self.computed(lambda given: self.actor(given), observation)

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return the least Q_θᵢ(s, π_φ(s)) of a batch of observations, (B,), or of a single one, a number."""
        return self.evaluated(observation, lambda given: self.critics(given, self.actor(given)).array.min(axis=0))

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return the least Q_θᵢ(s, a), (B,), with its graph."""
        return F.min(self.critics(given, sample), axis=0)

    def update(self, batch: Batch) -> JoinedMetrics:
        """One gradient step of the critics, and every d updates one of the policy and a step of the targets."""
        c = self.config
        noise = c.target_noise * self.smoothing_rng.standard_normal(batch.action.shape, np.float32)
        noise = noise.clip(-c.target_noise_clip, c.target_noise_clip)
        critic = self.critic_step(self.place(batch.add(noise=noise)))
        self.num_updates += 1
        self.replay.update_priorities(batch.index, critic["error"])
        if self.num_updates % c.policy_delay:
            return self.joined(critic=critic)
        with nn.frozen(self.critics):
            actor = self.actor_step(batch)
        nn.polyak(self.target_critics, self.critics, c.tau)
        nn.polyak(self.target_actor, self.actor, c.tau)
        return self.joined(critic=critic, actor=actor)

    def critic_loss(self, batch: Batch) -> LossAndMetrics:
        """Return Σᵢ (y - Q_θᵢ(s, a))² of each transition."""
        value = self.critics(batch.observation, batch.action)
        loss, error = losses.td_squared(value, self.target(batch))
        return loss, lambda: {"loss": loss.array, "error": error, "value": value.array.mean()}

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (N,)."""
        with no_grad():
            action = np.clip(self.target_actor(batch.next_observation).array + batch.noise, -1, 1)
            value = self.target_critics(batch.next_observation, action).array.min(axis=0)
        return batch.reward + batch.discount * value

    def actor_loss(self, batch: Batch) -> LossAndMetrics:
        """Return -J(φ)."""
        first = slice(0, 1)
        loss = -self.critics(batch.observation, self.actor(batch.observation), first).mean()
        return loss, lambda: {"loss": loss.array}


Agent = TD3
