"""Replay of sequences for recurrent learners (Hausknecht & Stone 2015, arXiv:1507.06527; Kapturowski et al. 2019)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl.backend.trees import leaves, tree_of
from dbrrl.buffers.bits import TERMINATED, TRUNCATED
from dbrrl.buffers.ring import Ring
from dbrrl.errors import ConfigError
from dbrrl.types import Observation


@dataclass(slots=True)
class Sequences:
    """n sequences of up to T steps, each within one episode; time first, as in rollouts. What is beyond one is 0.

    For a recurrent network: `lstm(x, lengths=sequences.lengths)`; a hidden state begins with zeros where `first` is,
    and elsewhere with what the learner makes of it: zeros, or the stored `state`, and after the steps to burn in.
    """

    observation: Observation  # acted on, (T + 1, n, ...); step `lengths` has the one that
    # followed the last step: the true final one at a time limit, 0 where the episode truly ended
    action: np.ndarray  # (T, n, ...)
    reward: np.ndarray  # float32 (T, n)
    terminated: np.ndarray  # bool (T, n)
    truncated: np.ndarray  # bool (T, n)
    mask: np.ndarray  # bool (T, n): whether there is such a step
    first: np.ndarray  # bool (T, n): the first step of an episode, which only the first of a sequence can be
    lengths: np.ndarray  # int64 (n,): steps, 1 to T
    index: np.ndarray  # int64 (n,): places of the first steps in the buffer
    state: tuple[np.ndarray, ...] = ()  # the policy's state as it was stored, before the first step to burn in
    before: Observation | None = None  # (burn_in, n, ...): the steps to burn in come before those of the sequence
    before_lengths: np.ndarray | None = None  # int64 (n,): how many they are, 0 to burn_in; None: none anywhere

    @property
    def parts(self) -> list[np.ndarray]:
        """Deprecated: the arrays of `observation`."""
        warnings.warn("sequences.parts is sequences.observation now: use that", DeprecationWarning, stacklevel=2)
        return leaves(self.observation)


class EpisodicReplayBuffer(Ring):
    """The latest transitions, drawn in sequences of one episode each (see `Ring` for the other arguments).

    Whole episodes are stored; of the oldest, the steps that the ring still has.

    Args:
        state_shapes: shapes of the arrays of a recurrent policy's state in one environment, which `add_action` is then
            given with each act ("stored state": Kapturowski et al. 2019, section 3).
    """

    arrays = (*Ring.arrays, "position")
    per_place = 4

    def __init__(self, *args: Any, state_shapes: Sequence[tuple[int, ...]] = (), **kwargs: Any) -> None:
        if kwargs.get("device", "cpu") != "cpu":
            raise ConfigError("episodic replay: its sequences are put together on the host: leave device out")
        names = tuple(f"state_{i}" for i in range(len(state_shapes)))
        self.per_place += 4 * sum(map(math.prod, state_shapes))
        self.arrays = (*self.arrays, *names)
        super().__init__(*args, **kwargs)
        self.position = np.zeros(self._places, np.int32)  # steps of the episode before
        for name, shape in zip(names, state_shapes, strict=True):
            setattr(self, name, np.zeros((self._places, *shape), np.float32))
        self._states: list[np.ndarray] = [getattr(self, name) for name in names]

    def add_action(self, observation: Observation | list[Any], action: np.ndarray, state: Sequence[Any] = ()) -> None:
        """Open a row (see `Ring`), with the state that the policy acted from: arrays (B, ...)."""
        super().add_action(observation, action)
        rows = slice(self.head * self.num_envs, (self.head + 1) * self.num_envs)
        for array, part in zip(self._states, state, strict=True):
            array[rows] = part

    def add_outcome(self, *args: Any, **kwargs: Any) -> None:
        """Complete the open row with what followed (see `Ring`)."""
        envs, t = self.num_envs, self.head
        super().add_outcome(*args, **kwargs)
        here, there = t * envs, self.head * envs
        goes_on = self.ends[here : here + envs] == 0
        self.position[there : there + envs] = (self.position[here : here + envs] + 1) * goes_on

    def episode_cut(self, env: int) -> None:
        """Let another episode begin with the open row of an environment."""
        self.position[self.head * self.num_envs + env] = 0

    @property
    def latest_ends(self) -> np.ndarray:
        """Whether an episode does not go on after the newest complete row, bool (B,)."""
        ends = self.ends.reshape(self._ring, self.num_envs)
        found: np.ndarray = ends[self.head - 1] != 0
        return found

    def sample(self, n: int, rng: np.random.Generator, length: int, burn_in: int = 0) -> Sequences:
        """`n` sequences of T = `length` steps; of fewer only where the episode has no more.

        A transition is drawn uniformly, then one of the windows of T steps that hold it; a window that reaches beyond
        the episode is moved into it. With T as long as the longest episode, whole episodes come. The steps to burn in
        are up to `burn_in` that come before the window in its episode.

        Raises:
            GraphError: there is no transition.
            ConfigError: T is below 1.
        """
        if length < 1:
            raise ConfigError(f"sample(): expected length of at least 1, got {length}: give steps of a sequence")
        index = self.draw(n, rng)
        before = self._held_before(index)
        back = np.minimum(rng.integers(length, size=n), before)
        steps = np.count_nonzero(self.run(self.wrapped(index - back * self.num_envs), length)[2], axis=1)
        back = np.minimum(back + length - steps, before)
        return self.gather(self.wrapped(index - back * self.num_envs), length, burn_in)

    def _held_before(self, index: np.ndarray) -> np.ndarray:
        """How many steps of the same episode the buffer has before those at the places `index` (n,)."""
        rows = index // self.num_envs
        held: np.ndarray = np.minimum(self.position.take(index), (rows - self.head + self.size) % self._ring)
        return held

    def gather(self, index: np.ndarray, length: int, burn_in: int = 0) -> Sequences:
        """The sequences of up to `length` steps that begin at the places `index` (n,), and up to `burn_in` before."""
        n = len(index)
        places, ends, belong = (x.T for x in self.run(index, length))
        places, mask = self.wrapped(places), np.ascontiguousarray(belong)
        lengths, sequence = np.count_nonzero(mask, axis=0), np.arange(n)
        last, last_ends = places[lengths - 1, sequence], ends[lengths - 1, sequence]
        parts = []
        for here, after in zip(self.take(places.ravel()), self.take_next(last, last_ends), strict=True):
            part = np.zeros((length + 1, n, *here.shape[1:]), here.dtype)
            part[:length][mask] = here.reshape(length, n, *here.shape[1:])[mask]
            on = np.flatnonzero(last_ends & TERMINATED == 0)
            part[lengths[on], on] = after[on]
            parts.append(part)
        action = self.actions.take(places, axis=0)
        action[~mask] = 0
        return Sequences(
            tree_of(self.names, parts),
            action,
            self.rewards.take(places) * mask,
            (ends & TERMINATED != 0) & mask,
            (ends & TRUNCATED != 0) & mask,
            mask,
            (self.position.take(places) == 0) & mask,
            lengths,
            index,
            *self._before(index, burn_in),
        )

    def _before(self, index: np.ndarray, burn_in: int) -> tuple[Any, ...]:
        """The state before the steps to burn in, (n,) after its layers, their observations and how many they are."""
        if not burn_in:
            return self._state_at(index), None, None
        lengths = np.minimum(self._held_before(index), burn_in).astype(np.int64)
        start = self.wrapped(index - lengths * self.num_envs)
        places, mask = start + np.arange(burn_in)[:, None] * self.num_envs, np.arange(burn_in)[:, None] < lengths
        parts = []
        for found in self.take(self.wrapped(places).ravel()):
            part = np.zeros((burn_in, len(index), *found.shape[1:]), found.dtype)
            part[mask] = found.reshape(part.shape)[mask]
            parts.append(part)
        return self._state_at(start), tree_of(self.names, parts), lengths

    def _state_at(self, index: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.moveaxis(array[index], 0, 1) for array in self._states)
