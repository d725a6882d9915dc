"""Base of agents that learn from a replay buffer: acting, storing, sampling, gradient steps."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import nn, schedules, seeding
from dbrrl.backend import to_numpy
from dbrrl.backend.trees import count, leaves
from dbrrl.buffers import (
    Batch,
    HindsightReplayBuffer,
    PrioritizedHindsightReplayBuffer,
    PrioritizedReplayBuffer,
    ReplayBuffer,
)
from dbrrl.buffers.cutting import cut
from dbrrl.buffers.replay import non_finite
from dbrrl.checkpoint import State
from dbrrl.compiled.evaluated import Evaluated
from dbrrl.config import Config
from dbrrl.distributions.heads import ACTION_SPACES, Head, head_for
from dbrrl.distributions.masks import MASK
from dbrrl.errors import ConfigError, SpaceError, undefined
from dbrrl.explorers import Explorer, LazyValues
from dbrrl.learning import goals
from dbrrl.learning.agent import Agent
from dbrrl.learning.gradient_step import StepMetrics, finite, number
from dbrrl.learning.joined_metrics import JoinedMetrics
from dbrrl.learning.own_agent import check_actions, statistics_of
from dbrrl.networks.preprocessor import OBSERVATION_SPACES, Preprocessor
from dbrrl.renamed import Renamed
from dbrrl.types import Metrics, Observation


class OffPolicyAgent(Agent):
    """An agent that stores transitions in a replay buffer and learns from batches that are drawn from it.

    A page adds `act_greedily`, `explore` and `update`, and makes its networks in `make_networks`; its Config is an
    `OffPolicyConfig`. `update` is public: it takes any batch with the columns of `ReplayBuffer.gather`, offline too.

    Attributes:
        replay: the replay buffer.
        explorer: what the page's `explore` chooses by, if it has one.
        steps: environment steps observed.
    """

    saved_attributes: ClassVar[tuple[str, ...]] = ("replay", "explorer", "replay_rng", "steps", "num_updates", "latest")
    observation_spaces = OBSERVATION_SPACES
    distributed: ClassVar[Literal["", "team", "actors", "trajectories"]] = "actors"
    action_spaces: ClassVar[tuple[type[gym.Space[Any]], ...]] = ACTION_SPACES
    encoder, drawn, build = Renamed("preprocessor"), Renamed("sample"), Renamed("make_network")
    judged, chosen = Renamed("action_values"), Renamed("greedy_action")

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], config: Config | None = None, **rest: Any
    ) -> None:
        super().__init__(observation_space, action_space, config, **rest)
        scale = self.config.scale_observation
        self.preprocessor = Preprocessor(observation_space, scale=scale, actions=action_space)
        if self.preprocessor.choices and not self.action_masks:
            raise SpaceError(
                f"{self.name}: expected observations without masks of actions, got the entry {MASK!r}: this agent does "
                "not heed them (a page that does says action_masks = True); leave the entry out, or take another agent"
            )
        self.head = self.make_head()
        self.computed = Evaluated(self.device, *self.recorded_with)
        self.checked: set[bool] = set()  # whether what `explore` and `act_greedily` return was looked at
        self.replay_rng = self.generator("replay")
        self.make_networks(self.generator("network"))
        self.replay: Any = self.make_replay()
        self.explorer = self.make_explorer(self.generator("explorer"))
        self.steps = 0
        self._latest: Mapping[str, Any] = {}

    sized_by: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "replay": ("buffer_size", "frame_stack", "prioritized", "priority_alpha", "buffer_file", "her"),
        "explorer": ("exploration", "noisy"),
    }

    def begin_elsewhere(self) -> None:
        """End the episodes under way in the replay buffer, as a time limit does."""
        super().begin_elsewhere()
        cut(self.replay)
        self.explorer.reset(np.ones(self.num_envs, np.bool_))

    @classmethod
    def for_acting(cls, record: State) -> State:
        """Without the replay buffer, which takes most of the memory, or a file that may be another's."""
        alone = {"buffer_size": int(record["num_envs"]), "buffer_file": None, "buffer_device": "host"}
        state = {name: value for name, value in record["state"].items() if name != "replay"}
        return record | {"config": record["config"] | alone, "state": state}

    def make_head(self) -> Head:
        """Return what maps actions as the replay buffer stores them to actions of the space."""
        return head_for(self.action_space)

    @abc.abstractmethod
    def make_networks(self, rng: np.random.Generator) -> None:
        """Make the networks, their targets and their gradient steps, with initial weights from `rng`."""

    def make_replay(self) -> ReplayBuffer:
        """Return the replay buffer that the settings ask for."""
        c, given = self.config, self.preprocessor
        options: dict[str, Any] = {
            "frame_stack": c.frame_stack,
            "file": c.buffer_file,
            "device": "cpu" if c.buffer_device == "host" else self.device,
            "pinned": c.buffer_device == "pinned",
            "names": given.names,
        }
        kind = (self.head.sample_shape, self.head.sample_dtype)
        prioritized = getattr(c, "prioritized", False)
        made: type[ReplayBuffer] = PrioritizedReplayBuffer if prioritized else ReplayBuffer
        if prioritized:
            options |= {"alpha": c.priority_alpha, "beta": c.priority_beta}
        if c.her:
            made = PrioritizedHindsightReplayBuffer if prioritized else HindsightReplayBuffer
            options |= {"layout": goals.layout_of(self.observation_space, given), "learned": self.learned_reward}
            options |= {"strategy": c.her_goals, "ratio": c.her_ratio}
        return made(c.buffer_size, self.num_envs, given.shapes, given.dtypes, *kind, **options)

    def use_goals_of(self, env: Any) -> None:
        """Let hindsight replay compute rewards and ends by an environment's `compute_reward` and `compute_terminated`.

        In a loop of your own call it before the first act, where `her` is set; the runner does. `env` may be wrapped,
        or a vector of environments in this process.

        Raises:
            ConfigError: `her` is not set, or the environment has no `compute_reward` for its goals.
        """
        if not self.config.her:
            raise ConfigError("use_goals_of: expected an agent with her, got one without: give the setting her=True")
        self.replay.use(*goals.functions_of(env))

    def learned_reward(self, reward: Any) -> Any:
        """Return what is learned of rewards: clipped or scaled, as the settings say."""
        c = self.config
        reward = np.clip(reward, -1, 1) if c.clip_reward else reward
        return reward if c.reward_scale == 1 else c.reward_scale * np.asarray(reward)

    def make_explorer(self, rng: np.random.Generator) -> Explorer:
        """Return the explorer, whose state is saved with the agent; by default one that only has a generator."""
        return Explorer(rng)

    def act_greedily(self, observation: Observation) -> np.ndarray:
        """Return the actions to evaluate, (B, ...) as the replay buffer stores them, for a preprocessed observation."""
        raise undefined(self, "act_greedily")

    def explore(self, observation: Observation) -> np.ndarray:
        """Return actions to explore, (B, ...) as the replay buffer stores them, for a preprocessed observation.

        By default those that the explorer makes of `policy_actions`, which are computed only if it asks for them.
        """
        values = LazyValues((count(observation), *self.head.sample_shape), lambda: self.policy_actions(observation))
        explorer = self.explorer if self.training else self.explorer.stateless
        return explorer(values, self.exploration_progress)

    def policy_actions(self, observation: Observation) -> np.ndarray:
        """Return the actions around which the explorer explores; by default those to evaluate."""
        return self.act_greedily(observation)

    @abc.abstractmethod
    def update(self, batch: Batch) -> Mapping[str, Any]:
        """Learn from a batch of transitions; return training statistics, numbers or the metrics of a gradient step."""

    def joined(self, **steps: StepMetrics) -> JoinedMetrics:
        """Return the metrics of an update's gradient steps, as `critic_loss` of the step `critic`.

        Those of a step that this update did not take are the latest of earlier ones.
        """
        return JoinedMetrics(steps, self._latest)

    def generator(self, name: str) -> np.random.Generator:
        """Return a random generator of the agent's own, by name."""
        return seeding.generator(self.seed, name)

    def act(self, observation: Any, explore: bool = True) -> Any:
        """Return actions to explore, or the ones to evaluate if not `explore`."""
        observation, single = self.as_batch(observation)
        given = self.preprocessor(observation)
        if self.preprocessor.choices:
            self.preprocessor.check_mask(leaves(given)[-1])
        sample = self.explore(given) if explore else self.act_greedily(given)
        if explore not in self.checked:  # once: it takes a microsecond
            check_actions("explore" if explore else "act_greedily", sample, (count(given), *self.head.sample_shape))
            self.checked.add(explore)
        if explore and self.training:
            self.replay.add_action(given, sample)
            self.watch.acted(observation, sample)
        action = self.head.to_action(sample)
        if not single:
            return action
        return np.asarray(action[0]) if self.head.continuous else action[0]  # of shape () it would be a number

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Store the transition; learn when an interval is over."""
        next_observation = self.followed_by(next_observation, reward, terminated, truncated, info, valid)
        observation, _ = self.as_batch(next_observation)
        given = leaves(self.preprocessor(observation))
        self.check(observation, given, reward, terminated, truncated)
        if self.preprocessor.choices:  # what goes on has an action whose value is a target
            over = np.asarray(terminated) if valid is None else np.asarray(terminated) | ~np.asarray(valid)
            self.preprocessor.check_mask(given[-1], ~over.reshape(-1))
        self.store_outcome(given, self.learned_reward(reward), terminated, truncated, valid)

    def store_outcome(self, given: list[Any], reward: Any, terminated: Any, truncated: Any, valid: Any = None) -> None:
        """Store what followed the last action, as the replay buffer takes it; learn when an interval is over."""
        c = self.config
        self.replay.add_outcome(given, reward, terminated, truncated, valid)
        if self.explorer.per_episode_state:
            self.explorer.reset(np.logical_or(terminated, truncated))
        before = self.steps
        self.steps += self.num_envs if valid is None else int(np.count_nonzero(valid))
        due = self.steps // c.update_interval - before // c.update_interval
        if due and self.steps >= c.learning_starts and len(self.replay):
            self.anneal(self.progress)
            for _ in range(due * c.updates_per_interval):
                self._latest = statistics_of(self.update(self.sample()))

    def evaluated(self, observation: Any, function: Callable[[Observation], Any]) -> Any:
        """Return `function` of preprocessed observations, an array (B,); for a single one, a number."""
        batch, single = self.as_batch(observation)
        found = self.of_batch(batch, function)
        return float(found[0]) if single else found

    def of_batch(self, observation: Any, function: Callable[[Observation], Any]) -> np.ndarray:
        """Return `function` of a batch of preprocessed observations, (B, ...); a single one is a batch of one."""
        given = self.preprocessor(self.as_batch(observation)[0])
        if self.preprocessor.choices:
            self.preprocessor.check_mask(leaves(given)[-1])
        with nn.evaluation(noise=False):
            return host(function(self.to_device(given)))

    def sample(self) -> Batch:
        """Return a batch drawn from the replay buffer, on the agent's device."""
        c = self.config
        self.replay.anneal(self.progress)
        return self.place(self.replay.sample(c.batch_size, self.replay_rng, c.gamma, c.n_step))

    def place(self, batch: Batch) -> Batch:
        """Return a batch on the agent's device; `index` stays on the host."""
        return batch if self.device == "cpu" else batch.add(index=None).to(self.device).add(index=batch.index)

    @property
    def progress(self) -> float:
        """The part of the run that is over, 0 to 1; 0 where `total_steps` is not known."""
        total: int = self.config.total_steps
        return min(self.steps / total, 1.0) if total else 0.0

    @property
    def exploration_progress(self) -> float:
        """What the explorer's schedule is read at: the progress of the run, where a page says nothing else."""
        return self.progress

    def scheduled(self, name: str) -> float:
        """Return a setting by its schedule, at this part of the run."""
        return schedules.at(self.config, name, self.progress)  # type: ignore[no-any-return]

    @property
    def largest_matmul(self) -> int:
        """Multiply-adds of the largest layer over a batch."""
        sizes = [p.size for value in vars(self).values() if isinstance(value, nn.Module) for p in value.parameters()]
        return int(self.config.batch_size * max(sizes, default=0))

    @property
    def latest(self) -> Metrics:
        """The statistics of the latest update; {} before the first. On a GPU an AnomalyError tells that they are not
        finite, as no step waits to see it.
        """
        if isinstance(self._latest, StepMetrics | JoinedMetrics):
            found = self._latest.numbers()
            self._latest = found if self.device == "cpu" else finite(found, self)
        return {name: number(value) for name, value in self._latest.items()}

    @latest.setter
    def latest(self, found: Metrics) -> None:
        self._latest = found

    def statistics(self) -> Metrics:
        """Return the statistics of the latest update, and those of the explorer."""
        found = self.latest
        return found | self.explorer.statistics(self.exploration_progress) if found else {}

    def explain(self, batch: Batch, found: str) -> str:
        """Return the error message for a batch whose gradient is not finite: the number that is to blame, if any."""
        culprit = non_finite(batch, self.num_envs)
        return f"{self.name}: {culprit}" if culprit else super().explain(batch, found)


def host(array: Any) -> np.ndarray:
    """Return an array, or the array of a tensor, in the host's memory."""
    return array if type(array) is np.ndarray else to_numpy(getattr(array, "array", array))
