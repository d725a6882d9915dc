"""Entries that only some rows of a buffer have, numbered in the order they come, the oldest dropped first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.buffers.memory import Layout, nbytes, zeros
from dbrrl.checkpoint import untrusted


class Queue:
    """Entries of a few arrays each, in arrays that double when they are full.

    Args:
        layout: shape and dtype of each array of an entry.

    Attributes:
        first, next: entries first to next - 1 are kept; numbers begin with 1.
        arrays: entry i is row i modulo their length.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = list(layout)
        self.first = self.next = 1
        self._make(0)

    def __len__(self) -> int:
        return self.next - self.first

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays as they are now."""
        return len(self.arrays[0]) * nbytes(self.layout) if self.arrays else 0

    def push(self, entry: Sequence[np.ndarray]) -> int:
        """Add an entry; returns its number."""
        kept = len(self)
        if kept == len(self.arrays[0]):
            order, old = np.arange(self.first, self.next), self.arrays
            self._make(kept + 1)
            for array, before in zip(self.arrays, old, strict=True):
                array[order % len(array)] = before[order % kept]
        self.put(self.next, entry)
        self.next += 1
        return self.next - 1

    def put(self, number: int, entry: Sequence[np.ndarray]) -> None:
        """Set an entry that is there."""
        for array, value in zip(self.arrays, entry, strict=True):
            array[number % len(array)] = value

    def drop(self, count: int) -> None:
        """Forget the oldest `count`."""
        self.first += count

    def state_dict(self) -> dict[str, Any]:
        """Copies of the entries, the oldest first."""
        order = np.arange(self.first, self.next)
        return {"first": self.first, "arrays": [array[order % len(array)] for array in self.arrays]}

    def check(self, state: dict[str, Any], name: str) -> None:
        """CheckpointError where `state` is none of this queue."""
        state = untrusted.table(state, name, "first", "arrays")
        untrusted.whole(state["first"], f"{name}: first", 1)
        arrays = untrusted.entries(state["arrays"], f"{name}: arrays", len(self.layout))
        count = len(arrays[0]) if arrays and isinstance(arrays[0], np.ndarray) and arrays[0].ndim else 0
        for array, (shape, dtype) in zip(arrays, self.layout, strict=True):
            untrusted.array(array, f"{name}: arrays", dtype, (count, *shape))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.first = int(state["first"])
        self.next = self.first + len(state["arrays"][0])
        self._make(len(self))
        order = np.arange(self.first, self.next)
        for array, values in zip(self.arrays, state["arrays"], strict=True):
            array[order % len(array)] = values

    def _make(self, count: int) -> None:
        """Room for `count` entries at least: a power of two."""
        room = 1 << max(count - 1, 0).bit_length()
        self.arrays = zeros([((room, *shape), dtype) for shape, dtype in self.layout])
