"""Deep Q-network (Mnih et al. 2015, doi:10.1038/nature14236).

Transitions (s, a, r, s') wait in a replay buffer; each update draws a batch of them and takes a gradient step on

    L(θ) = mean[ h( y - Q_θ(s, a) ) ],      y = r + γ max_a' Q_θ⁻(s', a'),   y = r where the episode truly ended

with the Huber function h (quadratic up to 1, linear beyond: the paper's "error clipping") and a target network θ⁻ that
follows θ: a copy every C updates, or θ⁻ ← θ⁻ + τ (θ - θ⁻) (Lillicrap et al. 2016). Time limits bootstrap from the true
final observation. Where an observation has a mask of actions, the maximum is over the allowed ones, and only these
are taken. Actions are ε-greedy, or εz-greedy (Dabney, Ostrovski & Barreto 2021, arXiv:2006.01782).

Four additions combine freely with this and with its variants: dueling streams (Wang et al. 2016, arXiv:1511.06581),
n-step returns (Sutton & Barto 2018, eq. 7.1), prioritized replay (Schaul et al. 2016, arXiv:1511.05952) and noisy
layers in place of ε (Fortunato et al. 2018, arXiv:1706.10295). A variant overrides `target`, or `loss` and `values`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn, schedules
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend.trees import count
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.distributions.masks import allowed, masked
from dbrrl.explorers import EpsilonGreedy, Explorer, EZGreedy, LazyValues, NoisyGreedy, greedy
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.networks import q_network
from dbrrl.optim import Adam, Optimizer, RMSprop
from dbrrl.schedules import Schedule
from dbrrl.types import Observation

EPSILON = [("noisy", False), ("epsilon", None)]  # what the four settings of a falling ε require


@dataclass(frozen=True)
class Config(OffPolicyConfig):
    """Settings of DQN and what is built on it; the paper's own are in its extended data table 1."""

    learning_rate: float | Schedule = setting(1e-3, above=0, help="step size of the optimizer (paper: 2.5e-4)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    optimizer: Literal["adam", "rmsprop"] = setting("adam", help="rmsprop: centered, ε inside the root, as the paper")
    optimizer_eps: float = setting(1e-8, above=0, help="ε of the optimizer (paper: 0.01, with rmsprop)")
    buffer_size: int = setting(100_000, at_least=1, help="transitions kept for replay (paper: 1,000,000)")
    frame_stack: int = setting(1, at_least=1, help="frames in each image, the newest last, kept singly (paper: 4)")
    batch_size: int = setting(128, at_least=1, help="transitions per update (paper: 32)")
    learning_starts: int = setting(1000, at_least=0, help="environment steps before the first update (paper: 50,000)")
    update_interval: int = setting(4, at_least=1, help="environment steps between updates (paper: 4)")
    target_update_interval: int = setting(500, at_least=1, help="C, updates between the target's (paper: 10,000)")
    tau: float = setting(1.0, above=0, at_most=1, help="how far the target moves then; 1: a copy (paper)")
    max_grad_norm: float | None = setting(10.0, above=0, help="largest global norm of the gradient; none: no limit")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: 120,84; images 512,128")
    exploration: Literal["epsilon_greedy", "ez_greedy"] = setting(
        "epsilon_greedy", requires=("noisy", False), help="ez_greedy: random actions last (Dabney et al. 2021)"
    )
    epsilon_start: float = setting(
        1.0, at_least=0, at_most=1, requires=EPSILON, help="share of random actions at first"
    )
    epsilon_end: float = setting(
        0.05, at_least=0, at_most=1, requires=EPSILON, help="share of random actions at last (paper: 0.1)"
    )
    epsilon_steps: int = setting(
        10_000, at_least=1, requires=EPSILON, help="environment steps from first to last (paper: 1,000,000)"
    )
    epsilon_schedule: Literal["linear", "exponential", "cosine"] = setting(
        "linear", requires=EPSILON, help="the way from first to last"
    )
    epsilon: float | Schedule | None = setting(
        None, at_least=0, at_most=1, requires=("noisy", False),
        help="share of random actions over the run, in place of the four above",
    )  # fmt: skip
    dueling: bool = setting(False, help="value and advantage streams")
    prioritized: bool = setting(False, help="draw transitions by their last error")
    priority_alpha: float = setting(
        0.6, at_least=0, at_most=1, requires="prioritized", help="α, 0: all alike (Schaul et al. 2016, table 3)"
    )
    priority_beta: float | Schedule = setting(
        0.4, at_least=0, at_most=1, requires="prioritized", help="β; a number grows to 1 at total_steps"
    )
    noisy: bool = setting(False, help="noisy layers explore; epsilon is not used")
    noisy_sigma: float = setting(
        0.5, above=0, requires="noisy", help="σ₀, initial noise (Fortunato et al. 2018, section 3.2)"
    )


class DQN(OffPolicyAgent):
    """Q-learning with a replay buffer and a target network.

    Example:
        agent = DQN(env.observation_space, env.action_space, DQN.Config(n_step=3), num_envs=8, seed=0)
    """

    Config = Config
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "network", "target_network", "optimizer", *OffPolicyAgent.saved_attributes, "noise_rng",
    )  # fmt: skip
    action_spaces = (gym.spaces.Discrete,)
    action_masks = True

    def make_networks(self, rng: np.random.Generator) -> None:
        """Q_θ, and its target θ⁻."""
        self.actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.noise_rng = self.generator("noise")
        self.network = self.make_network(rng)

    def make_network(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """Return a network with initial weights from `rng`; with `atoms` numbers per action in place of one."""
        c = self.config
        return q_network.QNetwork(
            self.preprocessor, self.actions, c.hidden_sizes, c.activation,
            dueling=c.dueling, noisy=c.noisy_sigma if c.noisy else None, atoms=atoms, rng=rng,
        )  # fmt: skip

    @property
    def network(self) -> Any:
        """Q_θ; set it before training to a module of your own whose outputs have the shape of those of this one."""
        return self._network

    @network.setter
    def network(self, module: nn.Module) -> None:
        self.replaced = q_network.check(self, module, getattr(self, "_network", None))
        self._network = module.to(self.device)
        self.target_network: Any = nn.target_copy(self._network)
        self.noisy_layers, self.noisy_target_layers = map(nn.noisy_layers, (self._network, self.target_network))
        self.gradient_step = self.gradient_step_for(self.loss, self.make_optimizer(self._network))

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the network's parameters."""
        return self.gradient_step.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self.gradient_step.optimizer = optimizer

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """Return the optimizer that the settings name."""
        c = self.config
        rate = schedules.course(c, "learning_rate")
        if c.optimizer == "adam":
            return Adam(module, rate, eps=c.optimizer_eps)
        return RMSprop(module, rate, alpha=0.95, eps=c.optimizer_eps, centered=True, eps_inside_root=True)

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Return the explorer that the settings name."""
        c = self.config
        epsilon = Schedule(c.epsilon_schedule, c.epsilon_start, c.epsilon_end) if c.epsilon is None else c.epsilon
        if c.noisy:
            return NoisyGreedy(self.draw_noise, rng)
        return EZGreedy(epsilon, self.num_envs, rng) if c.exploration == "ez_greedy" else EpsilonGreedy(epsilon, rng)

    def values(self, network: Any, observation: Observation) -> Any:
        """Return Q(s, ·) of a network for a batch of observations: (B, actions)."""
        return network(observation)

    def action_values(self, observation: Observation, noise: bool = True) -> Any:
        """Return Q(s, ·) to choose actions by, an array (B, actions), with or without the network's `noise`; -∞ for
        actions that the observation does not allow.
        """
        with nn.evaluation(noise=noise):
            return masked(self.values(self.network, observation).array, observation)

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return max_a Q(s, a) of a batch of observations, (B,), or of a single one, a number."""
        return self.evaluated(observation, lambda given: self.action_values(given, noise=False).max(axis=1))

    def q_values(self, observation: Any, episode_start: Any = None) -> np.ndarray:
        """Return Q(s, ·) of a batch of observations, (B, actions); -∞ for actions that are not allowed."""
        return self.of_batch(observation, lambda given: self.action_values(given, noise=False))

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return Q(s, a), (B,), with its graph."""
        return F.pick(self.values(self.network, given), sample)

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return the actions of the largest value, without noise."""
        return greedy(self.computed(self.action_values, observation))

    def explore(self, observation: Observation) -> np.ndarray:
        """Return actions by the explorer; the values are computed only if it asks for them."""
        shape = (count(observation), self.actions)
        values = LazyValues(
            shape, lambda: self.computed(self.action_values, observation, noise=True), allowed(observation)
        )
        explorer = self.explorer if self.training else self.explorer.stateless
        return explorer(values, self.exploration_progress)

    @property
    def exploration_progress(self) -> float:
        """The part of `epsilon_steps` that is over; with a schedule of its own, the part of the run."""
        part: float = self.steps / self.config.epsilon_steps
        return part if self.config.epsilon is None else self.progress

    def draw_noise(self) -> None:
        """Draw new noise in the layers of the network that explore by it, if there are any."""
        if self.noisy_layers and not self.network.training:
            self.network.train()
        nn.resample_noise(self.noisy_layers)

    def update(self, batch: Batch) -> StepMetrics:
        """One gradient step on a batch, and one of the target network when that is due."""
        c = self.config
        self.draw_noise()
        nn.resample_noise(self.noisy_target_layers, self.noise_rng)
        metrics = self.gradient_step(batch)
        self.num_updates += 1
        if self.num_updates % c.target_update_interval == 0:
            nn.polyak(self.target_network, self.network, c.tau)
        self.replay.update_priorities(batch.index, metrics["error"])
        return metrics

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the terms of L(θ), one per transition, and as metrics these and the errors |δ|."""
        target = self.target(batch)
        loss, error = losses.td_huber(self.network(batch.observation), batch.action, target)
        return loss, lambda: {"loss": loss.array, "error": error}

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (n,)."""
        with no_grad():
            following = self.values(self.target_network, batch.next_observation).array
        best = masked(following, batch.next_observation).argmax(axis=1)
        return batch.reward + batch.discount * F.pick(following, best)


Agent = DQN
