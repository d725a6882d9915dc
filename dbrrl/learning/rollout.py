"""`Rollout`: T steps of B environments, ready to be learned from."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dbrrl.backend import to_device_of, to_numpy
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
        ended = self.buffer.ended if self.state.recurrent else None
        kind = SequenceBatch if self.state.recurrent else Batch
        batch = kind(action=action, **flat).to(self.device)
        observation = Batch(observation=self.buffer.observation(rows)).to(self.device).observation
        return batch.add(observation=self.state.select(observation, ended, self.keep))

    def _kept(self, column: Any) -> Any:
        return column if self.keep is None else column[to_device_of(column, self.keep)]
