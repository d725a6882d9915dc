"""`Batch` and `Rollout`: transitions as named arrays, one after the other, or with axes of time and environments."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import numpy as np

from dbrrl import nn
from dbrrl.backend import array_module, to_device, to_device_of, to_numpy
from dbrrl.backend.trees import count, leaves, mapped, to_device_tree, tree_of
from dbrrl.buffers.rollout import RolloutBuffer
from dbrrl.types import Observation

_RENAMED = {"parts": "observation", "next_parts": "next_observation"}

OPTIONAL = ("weight", "index")  # None in a batch without them: weights of 1, and data of another origin than a buffer


class Batch:
    """Named arrays with one row per transition: `batch.action` (n, ...), `batch.reward` (n,), and so on.

    A column may also be a dict of arrays, as observations are. Rows that are picked with `batch[rows]` are gathered
    when a column is first asked for. A column that is None stands for one that is not needed, such as the weights of a
    batch that was drawn uniformly.

    Example:
        batch = Batch(observation=observation, action=action, advantage=advantage)
        for minibatch in batch.minibatches(64, rng):
            minibatch.advantage                                   # (64,)
    """

    _columns: dict[str, Any] | None = None  # of the batch that this one was picked from; None: it was not picked
    _rows: Any = None  # the rows of that batch

    def __init__(self, **columns: Any) -> None:
        self.__dict__ = columns

    @classmethod
    def of_columns(cls, columns: dict[str, Any]) -> Self:
        """Return the batch that keeps the dict `columns` itself: in half the time of `Batch(**columns)`."""
        batch = cls.__new__(cls)
        batch.__dict__ = columns
        return batch

    @classmethod
    def of_rows(cls, columns: dict[str, Any], rows: Any) -> Self:
        """Return the batch of some rows of `columns`."""
        batch = cls.__new__(cls)
        batch._columns, batch._rows = columns, rows
        return batch

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in _RENAMED:
            warnings.warn(f"batch.{name} is batch.{_RENAMED[name]} now: use that", DeprecationWarning, stacklevel=2)
            return leaves(getattr(self, _RENAMED[name]))
        columns, rows = self.split()
        if rows is None or name not in columns:
            if name in OPTIONAL:
                return None
            raise AttributeError(f"this batch has no {name!r}: expected one of {', '.join(columns)}")
        self._gather(columns, rows)
        return self.__dict__[name]

    def _gather(self, columns: dict[str, Any], rows: Any) -> None:
        """Pick the rows of all columns."""
        found = self.__dict__
        for name, column in columns.items():
            if type(column) is dict:
                found[name] = {key: array[rows] for key, array in column.items()}
            else:
                found[name] = None if column is None else column[rows]

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return count(next(column for column in self.__dict__.values() if column is not None))

    def __getitem__(self, rows: Any) -> Self:
        """Return the batch of some rows, an array of integers or booleans."""
        if rows.dtype.kind == "b":
            (rows,) = rows.nonzero()
        columns, before = self.split()
        return self.of_rows(columns, rows if before is None else before[rows])

    def __repr__(self) -> str:
        return f"Batch of {len(self)} transitions: {', '.join(self.split()[0])}"

    @property
    def columns(self) -> dict[str, Any]:
        """All columns by name, each with the rows of this batch."""
        columns, rows = self.split()
        return columns if rows is None else {name: getattr(self, name) for name in columns}

    def split(self) -> tuple[dict[str, Any], Any]:
        """Return the columns of the batch that this one was picked from, and its rows there; None: all."""
        return self.__dict__ if self._columns is None else self._columns, self._rows

    def add(self, **columns: Any) -> Self:
        """Return a batch with further columns, or with other ones of the same names."""
        return type(self)(**{**self.columns, **columns})

    def minibatches(self, size: int, rng: Any) -> Iterator[Self]:
        """Split all rows into batches of `size`, in random order; the last may be smaller. A batch that is no larger
        than `size` comes as it is, and nothing is drawn.

        Args:
            size: rows per batch.
            rng: a generator with `permutation`.
        """
        n = len(self)
        if n <= size:
            yield self
            return
        columns, rows = self.split()
        like = leaves(next(column for column in columns.values() if column is not None))[0]
        order = to_device_of(like, rng.permutation(n))
        for start in range(0, n, size):
            picked = order[start : start + size]
            yield self.of_rows(columns, picked if rows is None else rows[picked])

    def to(self, device: str) -> Self:
        """Return the batch with all columns on `device`, a name such as "cuda"; on the "cpu" they are already."""
        if device == "cpu":
            return self
        columns = self.columns.items()
        return type(self)(**{name: None if c is None else to_device_tree(c, device) for name, c in columns})


class PolicyState(Protocol):
    """The state of a policy within an episode, as a rollout uses it; see dbrrl.networks.recurrence."""

    recurrent: bool
    start: tuple[Any, ...]  # before the first row of the rollout

    def values(
        self, observations: Observation, ended: Any, finals: Observation | None, final_state: list[Any]
    ) -> tuple[Any, Any]:
        """Return V of a rollout's T + 1 observations, (T + 1, B), and of its n final observations, (n,), or None."""

    def batch(self, observations: Observation, ended: Any, keep: Any, columns: dict[str, Any]) -> Batch:
        """Return the batch of the rows `keep` of observations (T, B, ...), with `columns` of these rows."""


class Rollout:
    """The transitions between two updates of an on-policy agent, with one row per step and one column per environment.

    Attributes:
        reward: float32 (T, B), as it is to be learned from.
        terminated: bool (T, B), where the episode truly ended.
        boundary: bool (T, B), where the next row belongs to another episode, or carries no transition.
        n: number of transitions: T B without the rows that carry none.
        behavior: further columns (T, B) of every batch: what is known of the policy that acted, by name.
    """

    def __init__(
        self, buffer: RolloutBuffer, state: PolicyState, device: str, evaluate: Callable[..., Any] | None = None
    ) -> None:
        rows = buffer.size
        self.buffer, self.state, self.device = buffer, state, device
        self.evaluate = evaluate or state.values  # what is called as PolicyState.values
        self.reward, self.terminated = buffer.rewards[:rows], buffer.terminated[:rows]
        self.observation = buffer.observation(rows + 1)  # one more than transitions: the last one follows them
        self.boundary = self.terminated | buffer.truncated[:rows]
        self.behavior: dict[str, Any] = {}
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
        columns |= self.behavior | {"action": self.buffer.actions[: self.buffer.size]}
        flat = {name: self._kept(flat_rows(column)) for name, column in columns.items()}
        observation = to_device_tree(mapped(lambda array: array[:-1], self.observation), self.device)
        return self.state.batch(observation, self.ended, self.keep, to_device_tree(flat, self.device))

    def values(self) -> tuple[Any, Any]:
        """Return V(s_t) and V(s'_t), each (T, B), where s' is the true final observation at a time limit."""
        buffer, rows, finals = self.buffer, self.buffer.size, None
        arrays, state = len(buffer.observations), []
        if buffer.next_rows:
            finals = mapped(flat_rows, tree_of(buffer.names, [part[:rows] for part in buffer.next_observations]))
        elif buffer.finals:
            columns = [np.stack(column) for column in zip(*(final for _, _, final in buffer.finals), strict=True)]
            columns = [to_device(column, self.device) for column in columns]
            finals, state = tree_of(buffer.names, columns[:arrays]), columns[arrays:]
        with nn.evaluation(noise=True):
            observations = to_device_tree(self.observation, self.device)
            values, ends = self.evaluate(observations, self.ended, finals, state)
        if buffer.device == "cpu":
            values, ends = to_numpy(values), None if ends is None else to_numpy(ends)
        if buffer.next_rows:
            return values[:-1], ends.reshape(rows, buffer.num_envs)
        following = values[1:].copy()
        if ends is not None:
            at = tuple(np.array([place[:2] for place in buffer.finals]).T)
            following[to_device_of(following, at)] = ends
        return values[:-1], following

    def spread(self, rows: Any) -> Any:
        """Return a column of `batch`, (n,), with axes of time and environments, (T, B); 0 where no transition is."""
        rows = to_numpy(rows) if self.buffer.device == "cpu" else rows
        if self.keep is None:
            return rows.reshape(self.reward.shape)
        found = array_module(rows).zeros(self.reward.size, rows.dtype)
        found[to_device_of(rows, self.keep)] = rows
        return found.reshape(self.reward.shape)

    def _kept(self, column: Any) -> Any:
        return column if self.keep is None else column[to_device_of(column, self.keep)]


def flat_rows(array: Any) -> Any:
    """Return (T, B, ...) as (T B, ...)."""
    return array.reshape(-1, *array.shape[2:])
