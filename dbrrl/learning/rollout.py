"""`Rollout`: T steps of B environments, ready to be learned from."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dbrrl import nn
from dbrrl.backend import to_device, to_device_of, to_numpy
from dbrrl.backend.trees import mapped, to_device_tree, tree_of
from dbrrl.buffers.batch import Batch
from dbrrl.buffers.rollout import RolloutBuffer
from dbrrl.networks.recurrence import FeedForward, Recurrent, flat_rows


class SequenceBatch(Batch):
    """A batch whose observations are `Sequences`; its minibatches hold whole sequences, one per environment."""

    def minibatches(self, size: int, rng: Any) -> Iterator[Self]:
        """Split all rows into batches of about `size` transitions; a batch no larger than that comes as it is."""
        if len(self) <= size:
            yield self
            return
        for rows in self.observation.groups(size, rng):
            yield self[to_device_of(self.action, rows)]


class Rollout:
    """The transitions between two updates of an on-policy agent, with one row per step and one column per environment.

    Attributes:
        reward: float32 (T, B), as it is to be learned from.
        terminated: bool (T, B), where the episode truly ended.
        boundary: bool (T, B), where the next row belongs to another episode, or carries no transition.
        n: number of transitions: T B without the rows that carry none.
    """

    def __init__(self, buffer: RolloutBuffer, state: FeedForward | Recurrent, device: str) -> None:
        rows = buffer.size
        self.buffer, self.state, self.device = buffer, state, device
        self.reward, self.terminated = buffer.rewards[:rows], buffer.terminated[:rows]
        self.boundary = self.terminated | buffer.truncated[:rows]
        self.ended = buffer.ended if state.recurrent else None
        self.keep: Any = None
        self.n = rows * buffer.num_envs
        if not buffer.all_valid:
            valid = buffer.valid[:rows]
            self.boundary[:-1] |= ~valid[1:]  # no sum runs into an entry that carries no transition
            keep = np.flatnonzero(to_numpy(valid))
            if len(keep) < self.n:
                self.keep, self.n = keep, len(keep)

    def batch(self, **columns: Any) -> Batch:
        """Return the transitions as rows, with their `observation`, `action`, and further columns given as (T, B)."""
        rows = self.buffer.size
        flat = {name: self._kept(flat_rows(column)) for name, column in columns.items()}
        action = self._kept(flat_rows(self.buffer.actions[:rows]))
        kind = SequenceBatch if self.state.recurrent else Batch
        batch = kind(action=action, **flat).to(self.device)
        observation = to_device_tree(self.buffer.observation(rows), self.device)
        return batch.add(observation=self.state.select(observation, self.ended, self.keep))

    def values(self) -> tuple[Any, Any]:
        """Return V(s_t) and V(s'_t), each (T, B), where s' is the true final observation at a time limit."""
        buffer, rows, finals = self.buffer, self.buffer.size, None
        arrays, state = len(buffer.observations), []
        if buffer.followed:
            finals = mapped(flat_rows, tree_of(buffer.names, [part[:rows] for part in buffer.following]))
        elif buffer.finals:
            columns = [np.stack(column) for column in zip(*(final for _, _, final in buffer.finals), strict=True)]
            columns = [to_device(column, self.device) for column in columns]
            finals, state = tree_of(buffer.names, columns[:arrays]), columns[arrays:]
        with nn.evaluation(noise=True):
            observations = to_device_tree(buffer.observation(rows + 1), self.device)
            values, ends = self.state.values(observations, self.ended, finals, state)
        if buffer.device == "cpu":
            values, ends = to_numpy(values), None if ends is None else to_numpy(ends)
        if buffer.followed:
            return values[:-1], ends.reshape(rows, buffer.num_envs)
        following = values[1:].copy()
        if ends is not None:
            at = tuple(np.array([place[:2] for place in buffer.finals]).T)
            following[to_device_of(following, at)] = ends
        return values[:-1], following

    def _kept(self, column: Any) -> Any:
        return column if self.keep is None else column[to_device_of(column, self.keep)]
