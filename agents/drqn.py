"""Deep recurrent Q-network (Hausknecht & Stone 2015, arXiv:1507.06527): DQN for what one observation does not tell.

The network has a memory: h_t = LSTM(x_t, h_{t-1}), and Q_θ(h_t, ·) is read from it. Sequences of T steps of one episode
("bootstrapped random updates", section 4) are drawn from replay; each step of theirs has the loss of DQN,

    L(θ) = mean[ h( y_t - Q_θ(h_t, a_t) ) ],     y_t = r_t + γ max_a' Q_θ⁻(h⁻_{t+1}, a'),   y_t = r_t at a true end

with the Huber function h, the target network θ⁻ with a memory h⁻ of its own, and the gradient through all T steps.

A sequence from the middle of an episode begins with a memory that this θ never made. The paper takes zeros; R2D2
(Kapturowski et al. 2019, "Recurrent experience replay in distributed reinforcement learning", section 3) takes the
state that was stored when the step was acted on, and lets both networks run over the steps before the sequence first,
without a loss, so that it catches up with θ ("burn-in").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn, schedules
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import to_device
from dbrrl.backend.trees import leaves, mapped
from dbrrl.buffers import Batch, EpisodicReplayBuffer, Sequences
from dbrrl.buffers.batch import flat_rows
from dbrrl.config import setting
from dbrrl.distributions.masks import allowed, masked
from dbrrl.errors import ConfigError
from dbrrl.explorers import EpsilonGreedy, Explorer, LazyValues, greedy
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics
from dbrrl.learning.off_policy import OffPolicyAgent, host
from dbrrl.networks import recurrent_q_network
from dbrrl.networks.recurrence import State, plain
from dbrrl.optim import Adam, Optimizer
from dbrrl.returns import n_step
from dbrrl.schedules import Schedule


@dataclass(frozen=True)
class Config(OffPolicyConfig):
    """Settings of DRQN; the paper's own are in its section 3 and appendix A."""

    learning_rate: float | Schedule = setting(1e-3, above=0, help="step size of Adam (R2D2: 1e-4)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("constant", help="linear: to 0 at total_steps")
    adam_eps: float = setting(1e-8, above=0, help="ε of Adam (R2D2: 1e-3)")
    recurrent: Literal["lstm", "gru"] = setting("lstm", help="kind of the memory (paper: lstm)")
    recurrent_size: int = setting(64, at_least=1, help="units of the memory (paper: 512)")
    sequence_length: int = setting(20, at_least=1, help="T, steps of a sequence (paper: 10; R2D2: 80)")
    burn_in: int = setting(10, at_least=0, help="steps before it that only renew the state (paper: 0; R2D2: 40)")
    initial_state: Literal["stored", "zero"] = setting(
        "stored", help="before these: as it was stored (R2D2), or zeros (paper)"
    )
    batch_size: int = setting(32, at_least=1, help="sequences per update (R2D2: 64)")
    learning_starts: int = setting(1000, at_least=0, help="environment steps before the first update (DQN: 50,000)")
    target_update_interval: int = setting(500, at_least=1, help="updates between the target's (paper: 10,000)")
    tau: float = setting(1.0, above=0, at_most=1, help="how far the target moves then; 1: a copy (paper)")
    max_grad_norm: float | None = setting(10.0, above=0, help="largest global norm of the gradient (paper: 10)")
    epsilon_start: float = setting(
        1.0, at_least=0, at_most=1, requires=("epsilon", None), help="share of random actions at first"
    )
    epsilon_end: float = setting(
        0.05, at_least=0, at_most=1, requires=("epsilon", None), help="share of random actions at last (paper: 0.1)"
    )
    epsilon_steps: int = setting(
        10_000, at_least=1, requires=("epsilon", None), help="environment steps from first to last (paper: 1,000,000)"
    )
    epsilon_schedule: Literal["linear", "exponential", "cosine"] = setting(
        "linear", requires=("epsilon", None), help="the way from first to last"
    )
    epsilon: float | Schedule | None = setting(
        None, at_least=0, at_most=1, help="share of random actions over the run, in place of the four above"
    )
    buffer_device: Literal["host"] = setting("host", help="where the observations are: sequences are cut on the host")


class DRQN(OffPolicyAgent):
    """Q-learning with a memory, from sequences of replay.

    Example:
        agent = DRQN(env.observation_space, env.action_space, DRQN.Config(burn_in=20), num_envs=8, seed=0)
    """

    Config = Config
    distributed = ""
    saved_attributes: ClassVar[tuple[str, ...]] = (
        "network", "target_network", "optimizer", "memory", *OffPolicyAgent.saved_attributes,
    )  # fmt: skip
    sized_by: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "replay": ("buffer_size", "frame_stack", "buffer_file", "initial_state"), "explorer": (), "memory": (),
    }  # fmt: skip
    action_spaces = (gym.spaces.Discrete,)
    action_masks = recurrent = True
    replay: Any

    def make_networks(self, rng: np.random.Generator) -> None:
        """Q_θ, and its target θ⁻."""
        c = self.config
        self.actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.network = recurrent_q_network.RecurrentQNetwork(
            self.preprocessor, self.actions, c.hidden_sizes, c.activation, c.recurrent, c.recurrent_size, rng
        )

    @property
    def network(self) -> Any:
        """Q_θ; set it before training to a recurrent module of your own, like `RecurrentQNetwork`."""
        return self._network

    @network.setter
    def network(self, module: nn.Module) -> None:
        own = getattr(self, "_network", None)
        self.replaced = recurrent_q_network.check(self, module, own)
        self._network = module.to(self.device)
        self.target_network: Any = nn.target_copy(self._network)
        self.memory = recurrent_q_network.Acting(self._network, self.num_envs)
        optimizer = Adam(self._network, schedules.course(self.config, "learning_rate"), eps=self.config.adam_eps)
        self.gradient_step = self.gradient_step_for(self.loss, optimizer)
        if own is not None:
            self.replay = self.make_replay()  # another network may have another state

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the network's parameters."""
        return self.gradient_step.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self.gradient_step.optimizer = optimizer

    def make_replay(self) -> Any:
        """Return a buffer that is drawn from in sequences, with the states to begin them, if the settings say so."""
        c, given, head = self.config, self.preprocessor, self.head
        if c.her:
            raise ConfigError("her: drqn learns from sequences, whose goals are not replaced: leave it out")
        state = self.memory.state if c.initial_state == "stored" else ()
        return EpisodicReplayBuffer(
            c.buffer_size, self.num_envs, given.shapes, given.dtypes, head.sample_shape, head.sample_dtype,
            frame_stack=c.frame_stack, file=c.buffer_file, names=given.names,
            state_shapes=[(*part.shape[:1], *part.shape[2:]) for part in state],
        )  # fmt: skip

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Return the ε-greedy explorer."""
        c = self.config
        epsilon = Schedule(c.epsilon_schedule, c.epsilon_start, c.epsilon_end) if c.epsilon is None else c.epsilon
        return EpsilonGreedy(epsilon, rng)

    @property
    def exploration_progress(self) -> float:
        """The part of `epsilon_steps` that is over; with a schedule of its own, the part of the run."""
        part: float = self.steps / self.config.epsilon_steps
        return part if self.config.epsilon is None else self.progress

    def act(self, observation: Any, explore: bool = True, episode_start: Any = None) -> Any:
        """Return ε-greedy actions, or greedy ones if not `explore`; `episode_start` outside training as in `Agent`."""
        observation, single = self.as_batch(observation)
        given, learning = self.preprocessor(observation), explore and self.training
        if self.preprocessor.choices:
            self.preprocessor.check_mask(leaves(given)[-1])
        with nn.evaluation():
            values = host(self.memory.act(self.to_device(given), learning, episode_start))
        lazy = LazyValues(values.shape, lambda: values, allowed(given))
        sample = self.explorer(lazy, self.exploration_progress) if explore else greedy(values)
        if learning:
            self.replay.add_action(given, sample, self.state_to_store())
            self.watch.acted(observation, sample)
        action = self.head.to_action(sample)
        return action[0] if single else action

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return max_a Q of a batch of observations, (B,), or a number of a single one; `episode_start` as in `act`."""
        batch, single = self.as_batch(observation)
        with nn.evaluation():
            values = host(self.memory.look(self.to_device(self.preprocessor(batch)), episode_start)[1])
        return float(values[0]) if single else values

    def q_values(self, observation: Any, episode_start: Any = None) -> np.ndarray:
        """Return Q of all actions of a batch of observations, (B, actions); `episode_start` as in `act`."""
        return self.of_batch(observation, lambda given: self.memory.look(given, episode_start)[0])

    def chosen_output(self, given: Any, sample: Any, episode_start: Any = None) -> Any:
        """Return Q of actions, (B,), with its graph."""
        return F.pick(self.memory.look(given, episode_start)[0], sample)

    def begin_elsewhere(self) -> None:
        """End the episodes under way in the replay buffer, and forget them."""
        super().begin_elsewhere()
        self.memory = recurrent_q_network.Acting(self._network, self.num_envs)

    def state_to_store(self) -> list[np.ndarray]:
        """Return the state that was acted from, as arrays (num_envs, ...); none if sequences begin with zeros."""
        if self.config.initial_state == "zero":
            return []
        return [np.moveaxis(host(part), 1, 0) for part in self.memory.state]

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Store the transition; learn when an interval is over; forget where an episode ended."""
        super().observe(next_observation, reward, terminated, truncated, info, valid=valid)
        self.memory.advance(self.replay.latest_ends)

    def sample(self) -> Batch:
        """Return a batch of sequences drawn from the replay buffer, on the agent's device."""
        c = self.config
        return self.batch_of(self.replay.sample(c.batch_size, self.replay_rng, c.sequence_length, c.burn_in))

    def batch_of(self, s: Sequences) -> Batch:
        """Return sequences as a batch that `update` takes, on the agent's device.

        Its columns are (T, n, ...), one row per step, but for `observation`, (T + 1, n, ...), and the states of both
        networks before the first step, (layers, n, units). A step beyond the end of its sequence has a `share` of 0.
        """
        goes_on = np.zeros_like(s.mask)
        goes_on[:-1] = s.mask[1:]
        batch = Batch(
            observation=s.observation, action=s.action, reward=s.reward, terminated=s.terminated, boundary=~goes_on,
            share=s.mask.astype(np.float32) / np.float32(s.mask.sum()),
            state=self.state_before(self.network, s), target_state=self.state_before(self.target_network, s),
        )  # fmt: skip
        return self.place(batch)

    def state_before(self, network: Any, s: Sequences) -> Any:
        """Return the state of a network before the first step of sequences, by name, once it has been burned in."""
        state = [to_device(part, self.device) for part in s.state] or network.initial_state(len(s.lengths))
        if s.before is not None:
            with nn.evaluation():
                _, state = network(self.to_device(s.before), tuple(state), s.before_lengths)
        return {str(i): plain(part) for i, part in enumerate(state)}

    def update(self, batch: Batch) -> StepMetrics:
        """One gradient step on a batch, and one of the target network when that is due."""
        c = self.config
        metrics = self.gradient_step(batch)
        self.num_updates += 1
        if self.num_updates % c.target_update_interval == 0:
            nn.polyak(self.target_network, self.network, c.tau)
        return metrics

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return L(θ), and as metrics it and the mean error |δ|."""
        observation = mapped(lambda part: part[:-1], batch.observation)
        values, _ = self.network(observation, _state(batch.state))
        values, action, target = values.reshape(-1, self.actions), batch.action.reshape(-1), self.target(batch)
        term, error = losses.td_huber(values, action, target.reshape(-1))
        share = batch.share.reshape(-1)
        loss = (term * share).sum()
        return loss, lambda: {"loss": loss.array, "error": (error * share).sum()}

    def target(self, batch: Batch) -> Any:
        """Return y of each step, (T, n): of `n_step` rewards, or as many as the sequence has."""
        with no_grad():
            values = plain(self.target_network(batch.observation, _state(batch.target_state))[0])
        flat, seen = flat_rows(values[1:]), mapped(lambda part: flat_rows(part[1:]), batch.observation)
        following = F.pick(flat, masked(flat, seen).argmax(axis=1)).reshape(values.shape[0] - 1, -1)
        c = self.config
        return n_step(batch.reward, following, batch.terminated, batch.boundary, c.gamma, c.n_step)


def _state(parts: dict[str, Any]) -> State:
    return tuple(parts.values()) if parts else ()


Agent = DRQN
