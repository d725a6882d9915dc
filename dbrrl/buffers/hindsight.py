"""Hindsight experience replay (Andrychowicz et al. 2017, arXiv:1707.01495): what was achieved instead is a goal, too.

A transition of a goal environment is drawn as it happened, or with its desired goal replaced by one that was achieved
later in its episode ("future"), or at its end ("final"). Its reward is then what the environment's `compute_reward`
says of the new goal, and whether it ends the episode what `compute_terminated` says of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dbrrl.backend.trees import leaves
from dbrrl.buffers.batch import Batch
from dbrrl.buffers.bits import INVALID
from dbrrl.buffers.prioritized import PrioritizedReplayBuffer
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, ConfigError, EnvError

Function = Callable[[Any, Any, Any], Any]  # of achieved goal, desired goal and info


@dataclass(frozen=True)
class GoalLayout:
    """Where the goals are in the vector of an observation (see `dbrrl.networks.preprocessor`), and what they look like.

    Attributes:
        achieved, desired: their entries in the vector.
        shape, dtype: of one goal as the environment has it.
    """

    achieved: slice
    desired: slice
    shape: tuple[int, ...]
    dtype: Any

    @property
    def size(self) -> int:
        """Numbers of a goal."""
        return self.achieved.stop - self.achieved.start  # type: ignore[no-any-return]

    def goals(self, entries: np.ndarray) -> np.ndarray:
        """Return goals as the environment has them, (n, *shape), given their entries in the vector, (n, size)."""
        return entries.reshape(-1, *self.shape).astype(self.dtype)


class GoalFunction:
    """`compute_reward` or `compute_terminated` of an environment, for n pairs of goals at once.

    It is asked once for all pairs where it can answer so, and once for each otherwise, which is found out by a try. As
    no `info` is stored, it is given an empty one.

    Args:
        function: (achieved_goal, desired_goal, info) -> a number.
        name: for error messages.
        layout: what goals look like.

    Raises:
        ConfigError: it fails, or gives something else than a number for a pair of goals.
    """

    def __init__(self, function: Function, name: str, layout: GoalLayout) -> None:
        self.function, self.name = function, name
        achieved = np.stack([np.zeros(layout.shape, layout.dtype), np.ones(layout.shape, layout.dtype)])
        desired = np.ones_like(achieved)
        try:
            expected = self._one_by_one(achieved, desired)
        except Exception as error:
            raise ConfigError(
                f"her: expected {name}(achieved_goal, desired_goal, info) to give a number for goals of shape "
                f"{layout.shape}, got {type(error).__name__}: {error}: it is given an empty info"
            ) from error
        self.together = self._answers_together(achieved, desired, expected)

    def __call__(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return its answers for n pairs, float32 (n,)."""
        if not self.together:
            return self._one_by_one(achieved, desired)
        return np.asarray(self.function(achieved, desired, {}), np.float32)

    def _one_by_one(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        found = [float(self.function(a, d, {})) for a, d in zip(achieved, desired, strict=True)]
        return np.array(found, np.float32)

    def _answers_together(self, achieved: np.ndarray, desired: np.ndarray, expected: np.ndarray) -> bool:
        try:
            found = np.asarray(self.function(achieved, desired, {}), np.float32)
        except Exception:  # it takes one pair alone
            return False
        return found.shape == expected.shape and bool(np.array_equal(found, expected))


class HindsightReplayBuffer(ReplayBuffer):
    """Uniform replay of which a share is drawn with other goals (see `Ring` for the other arguments).

    Returns of several steps have all their rewards computed for the new goal; they stop where it would have ended the
    episode, and go on past no end that happened. As an end under the old goal need be none under the new one, the true
    final observation is kept of every episode, terminated ones, too. Of an episode under way the goals are those that
    were achieved so far.

    Args:
        layout: where the goals are in an observation.
        strategy: "future": a goal achieved by this or a later step of the episode, each alike; "final": by its last.
        ratio: share of the batch with other goals; k of the paper's section 3.3 is ratio / (1 - ratio).
        learned: what is learned of rewards, an array as the environment gives them: clipped or scaled.

    Attributes:
        achieved: entries of the goal achieved by each step, float32 (places, size).
        left: steps of the episode after each; -1 where it is under way.
        running: steps so far of the episode under way in each environment.
    """

    final_kept = np.array([False, True, True, True] * 2)
    compute_reward: GoalFunction | None = None
    compute_terminated: GoalFunction | None = None

    def __init__(
        self,
        *args: Any,
        layout: GoalLayout,
        strategy: Literal["future", "final"] = "future",
        ratio: float = 0.8,
        learned: Callable[[np.ndarray], np.ndarray] = np.asarray,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("device", "cpu") != "cpu":
            raise ConfigError("her: goals are replaced on the host: expected buffer_device host, leave it out")
        self.layout, self.strategy, self.ratio, self.learned = layout, strategy, ratio, learned
        self.per_place += 4 * layout.size + 4
        self.arrays = (*self.arrays, "achieved", "left")
        super().__init__(*args, **kwargs)
        self.achieved = np.zeros((self._places, layout.size), np.float32)
        self.left = np.zeros(self._places, np.int32)
        self.running = np.zeros(self.num_envs, np.int64)

    def use(self, compute_reward: Function, compute_terminated: Function | None) -> None:
        """Set how rewards and ends are computed; ConfigError where a function does not take such goals."""
        self.compute_reward = GoalFunction(compute_reward, "compute_reward", self.layout)
        self.compute_terminated = (
            None if compute_terminated is None else GoalFunction(compute_terminated, "compute_terminated", self.layout)
        )

    def add_action(self, observation: Any, action: np.ndarray) -> None:
        """Open a row (see `Ring`); ConfigError where it was not said how rewards are computed."""
        if self.compute_reward is None:
            raise ConfigError(
                "her: expected the environment's compute_reward, got none: call agent.use_goals_of(env) before act()"
            )
        super().add_action(observation, action)

    def add_outcome(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any, valid: Any = None
    ) -> None:
        """Complete the open row with what followed (see `Ring`).

        Raises:
            EnvError: an episode was terminated, and the environment does not say for which goals.
        """
        ended = terminated if valid is None else np.logical_and(terminated, valid)
        if self.compute_terminated is None and np.any(ended):
            raise EnvError(
                "her: an episode was terminated, and the environment has no compute_terminated(achieved_goal, "
                "desired_goal, info) to say which goals terminate one: add it, or let a time limit truncate"
            )
        t, envs = self.head, self.num_envs
        super().add_outcome(next_observation, reward, terminated, truncated, valid)
        here = slice(t * envs, (t + 1) * envs)
        self.achieved[here] = leaves(next_observation)[0][:, self.layout.achieved]
        self.left[here] = -1
        self.running += 1
        for env in np.flatnonzero(self.ends[here]):
            self._close(t, int(env))

    def episode_cut(self, env: int) -> None:
        """Let no goal of later rows of an environment belong to those before."""
        self._close((self.head - 1) % self._ring, env)

    def _close(self, t: int, env: int) -> None:
        """The episode of an environment ended with row t, or before it where that is no transition."""
        left = self.left.reshape(self._ring, self.num_envs)
        invalid = bool(self.ends[t * self.num_envs + env] & INVALID)
        steps = min(int(self.running[env]) - invalid, self.size)
        left[t, env] = 0
        left[(t - invalid - np.arange(steps)) % self._ring, env] = np.arange(steps)
        self.running[env] = 0

    def sample(self, n: int, rng: np.random.Generator, gamma: float, n_steps: int = 1) -> Batch:
        """Return `n` transitions, a share of them with other goals (see `ReplayBuffer.gather` for the columns)."""
        batch = super().sample(n, rng, gamma, n_steps)
        rows = np.flatnonzero(rng.random(n) < self.ratio)
        if len(rows):
            self.relabel(batch, rows, self.draw_goals(batch.index[rows], rng), gamma, n_steps)
        return batch

    def draw_goals(self, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the entries of a new goal for each of the transitions at the places `index`: (m, size)."""
        left = self.left.take(index)
        under_way = (self.head - 1 - index // self.num_envs) % self._ring
        ahead = np.where(left < 0, under_way, left)
        if self.strategy == "future":
            ahead = (rng.random(len(index)) * (ahead + 1)).astype(np.int64)
        found: np.ndarray = self.achieved[self.wrapped(index + ahead * self.num_envs)]
        return found

    def relabel(self, batch: Batch, rows: np.ndarray, goal: np.ndarray, gamma: float, n_steps: int = 1) -> None:
        """Give `rows` of a batch that was drawn here other goals, (m, size) as in the vector, and all that follows."""
        assert self.compute_reward is not None
        places, ends, belong = self.run(batch.index[rows], n_steps)
        places, row = self.wrapped(places), np.arange(len(rows))
        at, _ = np.nonzero(belong)
        pairs = self.layout.goals(self.achieved[places[belong]]), self.layout.goals(goal[at])
        reward, over = np.zeros(places.shape, np.float32), np.zeros(places.shape, np.bool_)
        reward[belong] = self.learned(self.compute_reward(*pairs))
        if self.compute_terminated is not None:
            over[belong] = self.compute_terminated(*pairs) != 0
            belong[:, 1:] &= ~np.logical_or.accumulate(over, axis=1)[:, :-1]
        last = np.count_nonzero(belong, axis=1) - 1
        powers = (gamma ** np.arange(n_steps + 1)).astype(np.float32)
        batch.reward[rows] = (reward * belong) @ powers[:-1]
        batch.discount[rows] = np.where(over[row, last], 0, powers.take(last + 1))
        following = self.take_next(places[row, last], ends[row, last])
        for part, found in zip(leaves(batch.next_observation), following, strict=True):
            part[rows] = found
        for observation in (batch.observation, batch.next_observation):
            leaves(observation)[0][rows, self.layout.desired] = goal

    def state_dict(self) -> dict[str, Any]:
        """All that is stored, and how long the episodes under way are."""
        return super().state_dict() | {"running": self.running.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a buffer of other sizes."""
        super().load_state_dict(state)
        self.running[:] = state["running"]

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        with untrusted.state_of("hindsight replay", "load the state of a buffer with her"):
            untrusted.table(state, "", "running", "achieved", "left")
            untrusted.array(state["running"], "running", np.int64, self.running.shape, at_least=0)
            untrusted.array(state["left"], "left", np.int32, state["left"].shape, at_least=-1)
            if state["left"].max(initial=0) >= self._ring:
                raise CheckpointError(f"left: expected steps of an episode, got {state['left'].max()}")


class PrioritizedHindsightReplayBuffer(HindsightReplayBuffer, PrioritizedReplayBuffer):
    """The same, where transitions are drawn by their last error, under whichever goal it was."""
