"""Deep Q-network (Mnih et al. 2015, doi:10.1038/nature14236).

Transitions (s, a, r, s') wait in a replay buffer; each update draws a batch of them and takes a gradient step on

    L(θ) = mean[ h( y - Q_θ(s, a) ) ],      y = r + γ max_a' Q_θ⁻(s', a'),   y = r where the episode truly ended

with the Huber function h (quadratic up to 1, linear beyond: the paper's "error clipping") and a target network θ⁻ that
follows θ: a copy every C updates, or θ⁻ ← θ⁻ + τ (θ - θ⁻) (Lillicrap et al. 2016). Time limits bootstrap from the true
final observation. Actions are ε-greedy, or εz-greedy (Dabney, Ostrovski & Barreto 2021, arXiv:2006.01782).

Four additions combine freely with this and with its variants: dueling streams (Wang et al. 2016, arXiv:1511.06581),
n-step returns (Sutton & Barto 2018, eq. 7.1), prioritized replay (Schaul et al. 2016, arXiv:1511.05952) and noisy
layers in place of ε (Fortunato et al. 2018, arXiv:1706.10295). A variant overrides `target`, or `loss` and `values`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import nn, schedules, seeding
from dbrrl.autodiff.engine import backward
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import to_device, to_numpy
from dbrrl.buffers import Batch, PrioritizedReplayBuffer, ReplayBuffer
from dbrrl.checkpoint import State
from dbrrl.config import Config as BaseConfig
from dbrrl.config import setting
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.explorers import Deferred, EpsilonGreedy, Explorer, EZGreedy, Greedy, greedy
from dbrrl.learning.agent import Agent as Base
from dbrrl.networks import q_network
from dbrrl.networks.encoder import OBSERVATION_SPACES, Encoder
from dbrrl.networks.heads import head_for
from dbrrl.optim import Adam, Optimizer, RMSprop


@dataclass(frozen=True)
class Config(BaseConfig):
    """Settings of DQN and what is built on it; the paper's own are in its extended data table 1."""

    learning_rate: float = setting(1e-3, above=0, help="step size of the optimizer (paper: 2.5e-4)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    optimizer: Literal["adam", "rmsprop"] = setting("adam", help="rmsprop: centered, ε inside the root, as the paper")
    optimizer_eps: float = setting(1e-8, above=0, help="ε of the optimizer (paper: 0.01, with rmsprop)")
    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor")
    buffer_size: int = setting(100_000, at_least=1, help="transitions kept for replay (paper: 1,000,000)")
    frame_stack: int = setting(1, at_least=1, help="frames in each image, the newest last, kept singly (paper: 4)")
    buffer_file: str | None = setting(None, help="new file that holds the observations in place of memory, then goes")
    buffer_device: Literal["host", "pinned", "device"] = setting("host", help="on a GPU: where the observations lie")
    clip_reward: bool = setting(False, help="rewards to [-1, 1] in what is learned; scores stay (paper)")
    reward_scale: float = setting(1.0, above=0, help="factor of rewards in what is learned (Henderson et al. 2018)")
    batch_size: int = setting(128, at_least=1, help="transitions per update (paper: 32)")
    learning_starts: int = setting(1000, at_least=0, help="environment steps before the first update (paper: 50,000)")
    update_interval: int = setting(4, at_least=1, help="environment steps between updates (paper: 4)")
    updates_per_interval: int = setting(1, at_least=1, help="updates at each of these moments")
    target_update_interval: int = setting(500, at_least=1, help="C, updates between the target's (paper: 10,000)")
    tau: float = setting(1.0, above=0, at_most=1, help="how far the target moves then; 1: a copy (paper)")
    max_grad_norm: float = setting(10.0, above=0, help="largest global norm of the gradient")
    scale_observation: bool = setting(False, help="entries of a Box within finite bounds are scaled to [-1, 1]")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: 120,84; images 512,128")
    activation: Literal["tanh", "relu"] = setting("relu", help="between the hidden layers")
    exploration: Literal["epsilon_greedy", "ez_greedy"] = setting(
        "epsilon_greedy", help="ez_greedy: random actions last (Dabney et al. 2021)"
    )
    epsilon_start: float = setting(1.0, at_least=0, at_most=1, help="share of random actions at first")
    epsilon_end: float = setting(0.05, at_least=0, at_most=1, help="share of random actions at last (paper: 0.1)")
    epsilon_steps: int = setting(10_000, at_least=1, help="environment steps from first to last (paper: 1,000,000)")
    epsilon_schedule: Literal["linear", "exponential"] = setting("linear", help="the way from first to last")
    n_step: int = setting(1, at_least=1, help="rewards summed before bootstrapping")
    dueling: bool = setting(False, help="value and advantage streams")
    prioritized: bool = setting(False, help="draw transitions by their last error")
    priority_alpha: float = setting(0.6, at_least=0, at_most=1, help="α, 0: all alike (Schaul et al. 2016, table 3)")
    priority_beta: float = setting(0.4, at_least=0, at_most=1, help="β at first; it grows to 1 at total_steps")
    noisy: bool = setting(False, help="noisy layers explore; epsilon is not used")
    noisy_sigma: float = setting(0.5, above=0, help="σ₀, initial noise (Fortunato et al. 2018, section 3.2)")
    total_steps: int = setting(0, at_least=0, help="environment steps of the run, where schedules end; 0: unknown")


class DQN(Base):
    """Q-learning with a replay buffer and a target network.

    Example:
        agent = DQN(env.observation_space, env.action_space, DQN.Config(n_step=3), num_envs=8, seed=0)
    """

    Config = Config
    remembered: ClassVar[tuple[str, ...]] = (
        "network", "target_network", "optimizer", "replay", "explorer", "replay_rng", "noise_rng", "steps",
        "num_updates", "latest",
    )  # fmt: skip
    observation_spaces = OBSERVATION_SPACES
    action_spaces = (gym.spaces.Discrete,)

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
        self.encoder = Encoder(observation_space, scale=c.scale_observation)
        self.head, self.actions = head_for(action_space), int(self.action_space.n)  # type: ignore[attr-defined]
        self.replay_rng, self.noise_rng = seeding.generator(seed, "replay"), seeding.generator(seed, "noise")
        self.network = self.build(seeding.generator(seed, "network"))
        kind = PrioritizedReplayBuffer if c.prioritized else ReplayBuffer
        place = {"device": "cpu" if c.buffer_device == "host" else device, "pinned": c.buffer_device == "pinned"}
        extra: dict[str, Any] = {"frame_stack": c.frame_stack, "file": c.buffer_file, **place}
        if c.prioritized:
            extra |= {"alpha": c.priority_alpha, "beta": c.priority_beta}
        self.replay = kind(c.buffer_size, num_envs, self.encoder.shapes, self.encoder.dtypes, **extra)
        self.explorer = self.make_explorer(seeding.generator(seed, "explorer"))
        self.steps = 0
        self.latest: dict[str, float] = {}
        self.even = self.placed([nn.init.constant((c.batch_size,), 1 / c.batch_size)])[0]  # weights of a batch's mean

    @classmethod
    def for_acting(cls, record: State) -> State:
        """Without the replay buffer, which takes most of the memory, or a file that may be another's."""
        alone = {"buffer_size": int(record["num_envs"]), "buffer_file": None, "buffer_device": "host"}
        state = {name: value for name, value in record["state"].items() if name != "replay"}
        return record | {"config": record["config"] | alone, "state": state}

    def build(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """A network of this kind, with initial weights from `rng`."""
        c = self.config
        return q_network.QNetwork(
            self.encoder, self.actions, c.hidden_sizes, c.activation,
            dueling=c.dueling, noisy=c.noisy_sigma if c.noisy else None, atoms=atoms, rng=rng,
        )  # fmt: skip

    @property
    def largest_product(self) -> int:
        """Multiply-adds of the largest layer over a batch."""
        return int(self.config.batch_size * max(p.size for p in self.network.parameters()))

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
        self.optimizer = self.make_optimizer(self._network)

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """The optimizer that the settings name."""
        c = self.config
        if c.optimizer == "adam":
            return Adam(module, c.learning_rate, eps=c.optimizer_eps)
        return RMSprop(module, c.learning_rate, alpha=0.95, eps=c.optimizer_eps, centered=True, eps_inside_root=True)

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """The explorer that the settings name."""
        c = self.config
        epsilon = schedules.Schedule(c.epsilon_schedule, c.epsilon_start, c.epsilon_end)
        if c.noisy:
            return Greedy(rng)
        return EZGreedy(epsilon, self.num_envs, rng) if c.exploration == "ez_greedy" else EpsilonGreedy(epsilon, rng)

    def judged(self, parts: list[Any], noise: bool = True) -> Any:
        """Q(s, ·) to choose by, an array (B, actions), in evaluation mode; with or without the network's `noise`."""
        with nn.evaluation(noise=noise):
            return self.values(self.network, parts).array

    def values(self, network: Any, parts: list[Any]) -> Any:
        """Q(s, ·) of a network for a batch of its inputs: (B, actions)."""
        return network(parts)

    def act(self, observation: Any, explore: bool = True) -> Any:
        """The action of the largest value, or one to explore."""
        observation, single = self.as_batch(observation)
        parts = self.encoder(observation)
        if self.config.noisy and explore:
            self.draw_noise()
        if explore:
            deferred = Deferred((len(parts[0]), self.actions), lambda: to_numpy(self.judged(self.placed(parts))))
            explorer = self.explorer if self.training else self.explorer.momentary
            action = explorer(deferred, self.steps / self.config.epsilon_steps)
            if self.training:
                self.replay.begin(parts, action)
                self.watch.acted(observation)
        else:
            action = greedy(to_numpy(self.judged(self.placed(parts), noise=False)))
        action = self.head.to_action(action)
        return action[0] if single else action

    def draw_noise(self) -> None:
        """New noise of a network that explores by it; on again, where `network.eval()` put it off."""
        if not self.network.training:
            self.network.train()
        nn.resample_noise(self.noisy_layers)

    def placed(self, arrays: list[np.ndarray]) -> list[Any]:
        """The arrays on the agent's device."""
        return arrays if self.device == "cpu" else [to_device(array, self.device) for array in arrays]

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Store the transition; learn when an interval is over."""
        c = self.config
        next_observation = self.followed_by(next_observation, reward, terminated, truncated, info, valid)
        observation, _ = self.as_batch(next_observation)
        self.check(observation, parts := self.encoder(observation), reward, terminated, truncated)
        reward = np.clip(reward, -1, 1) if c.clip_reward else reward
        reward = reward if c.reward_scale == 1 else c.reward_scale * np.asarray(reward)
        self.replay.end(parts, reward, terminated, truncated, valid)
        if self.explorer.lasting:
            self.explorer.reset(np.logical_or(terminated, truncated))
        before = self.steps
        self.steps += self.num_envs if valid is None else int(np.count_nonzero(valid))
        due = self.steps // c.update_interval - before // c.update_interval
        if due and self.steps >= c.learning_starts and len(self.replay):
            for _ in range(due * c.updates_per_interval):
                self.update()

    def update(self) -> None:
        """One gradient step on a batch of transitions, and one of the target network when that is due."""
        c, optimizer, even = self.config, self.optimizer, self.even
        done = min(self.steps / c.total_steps, 1.0) if c.total_steps else 0.0
        if c.learning_rate_schedule == "linear":
            optimizer.learning_rate = c.learning_rate * (1 - done)
        if c.noisy:
            self.draw_noise()
            nn.resample_noise(self.noisy_target_layers, self.noise_rng)
        if isinstance(self.replay, PrioritizedReplayBuffer):
            self.replay.beta = c.priority_beta + (1 - c.priority_beta) * done
        batch = self.drawn()
        loss, error = self.loss(batch)
        optimizer.zero_grad()
        weight = even if batch.weight is None else self.placed([batch.weight / np.float32(c.batch_size)])[0]
        backward([loss], [weight])
        norm = float(optimizer.clip_grad_norm(c.max_grad_norm))
        if not math.isfinite(norm):
            raise AnomalyError(f"{self.name}: {batch.oddity(self.num_envs) or no_gradient(self.num_updates)}")
        optimizer.step()
        self.num_updates += 1
        if self.num_updates % c.target_update_interval == 0:
            nn.polyak(self.target_network, self.network, c.tau)
        if isinstance(self.replay, PrioritizedReplayBuffer):
            self.replay.update(batch.index, to_numpy(error))
        self.latest = {"loss": float(loss.array @ even), "error": float(error @ even), "grad_norm": norm}

    def drawn(self) -> Batch:
        """A batch from the replay buffer, on the agent's device."""
        c = self.config
        batch = self.replay.sample(c.batch_size, self.replay_rng, c.gamma, c.n_step)
        if self.device == "cpu":
            return batch
        batch.action, batch.reward, batch.discount = self.placed([batch.action, batch.reward, batch.discount])
        batch.parts, batch.next_parts = self.placed(batch.parts), self.placed(batch.next_parts)
        return batch

    def loss(self, batch: Batch) -> tuple[Any, Any]:
        """The loss of each transition (n,), and its error |δ| (n,), the priority it gets."""
        target = self.target(batch)  # first: what backward reads is then still in the processor's cache
        return F.picked_huber_loss(self.network(batch.parts), batch.action, target)

    def target(self, batch: Batch) -> Any:
        """The y of each transition, (n,)."""
        with no_grad():
            following = self.values(self.target_network, batch.next_parts).array
        return batch.reward + batch.discount * F.pick(following, following.argmax(axis=1))

    def statistics(self) -> dict[str, float]:
        """Of the latest update, and the present share of random actions."""
        explorer = self.explorer
        if not self.latest or not isinstance(explorer, EpsilonGreedy):
            return dict(self.latest)
        return self.latest | {"epsilon": explorer.schedule(self.steps / self.config.epsilon_steps)}


Agent = DQN
