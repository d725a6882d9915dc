"""`Batch`: transitions as named arrays."""

import warnings
from collections.abc import Iterator
from typing import Any, Self

from dbrrl.backend import to_device_of
from dbrrl.backend.trees import count, leaves, to_device_tree

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

    def __init__(self, **columns: Any) -> None:
        self.__dict__.update(columns)
        self._columns, self._rows = columns, None

    @classmethod
    def of_rows(cls, columns: dict[str, Any], rows: Any) -> Self:
        """Return the batch of some rows of `columns`; of all where `rows` is None."""
        if rows is None:
            return cls(**columns)
        batch = cls.__new__(cls)
        batch._columns, batch._rows = columns, rows
        return batch

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in _RENAMED:
            warnings.warn(f"batch.{name} is batch.{_RENAMED[name]} now: use that", DeprecationWarning, stacklevel=2)
            return leaves(getattr(self, _RENAMED[name]))
        if name not in self._columns:
            if name in OPTIONAL:
                return None
            raise AttributeError(f"this batch has no {name!r}: expected one of {', '.join(self._columns)}")
        self._gather()
        return self.__dict__[name]

    def _gather(self) -> None:
        """Pick the rows of all columns."""
        rows, found = self._rows, self.__dict__
        for name, column in self._columns.items():
            if type(column) is dict:
                found[name] = {key: array[rows] for key, array in column.items()}
            else:
                found[name] = None if column is None else column[rows]

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return count(next(column for column in self._columns.values() if column is not None))

    def __getitem__(self, rows: Any) -> Self:
        """Return the batch of some rows, an array of integers or booleans."""
        if rows.dtype == bool:
            (rows,) = rows.nonzero()
        return self.of_rows(self._columns, rows if self._rows is None else self._rows[rows])

    def __repr__(self) -> str:
        return f"Batch of {len(self)} transitions: {', '.join(self._columns)}"

    @property
    def columns(self) -> dict[str, Any]:
        """All columns by name, each with the rows of this batch."""
        if self._rows is None:
            return self._columns
        return {name: getattr(self, name) for name in self._columns}

    def split(self) -> tuple[dict[str, Any], Any]:
        """Return the columns of the batch that this one was picked from, and its rows there; None: all."""
        return self._columns, self._rows

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
        like = leaves(next(column for column in self._columns.values() if column is not None))[0]
        order = to_device_of(like, rng.permutation(n))
        for start in range(0, n, size):
            yield self[order[start : start + size]]

    def to(self, device: str) -> Self:
        """Return the batch with all columns on `device`, a name such as "cuda"; on the "cpu" they are already."""
        if device == "cpu":
            return self
        columns = self.columns.items()
        return type(self)(**{name: None if c is None else to_device_tree(c, device) for name, c in columns})
