"""`Memory`: when the values that tensors share were last changed in place, so that backward reads no others unseen.

Changes by index, by `data = ...`, by an optimizer's step are known as they happen. Those made through an array that was
handed out (`Tensor.data`, `Flat.values`) are noticed by a checksum while such an array is alive.
"""

import itertools
import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

handed_out: "dict[int, weakref.ref[Any]]" = {}  # arrays that were handed out and are still alive


# Ops and changes have their times from one clock, which runs down: a heap of times yields the newest first.
clock = itertools.count(0, -1)
NEVER = 1  # before all times
latest = [NEVER]  # the time of the latest change of all


NOTHING: dict[int, tuple[Any, int, int]] = {}  # the watched arrays of a memory that has none; stays empty


def change() -> int:
    """The time of a change made now."""
    latest[0] = now = next(clock)
    return now


class Memory:
    """What all tensors have in common that show the same values: a tensor, its views and what `detach` made of it.

    Args:
        changed: the time of the last change.
        fixed: whether a graph computed the values and may need them: then they are not to be changed.
    """

    __slots__ = ("changed", "fixed", "watched")

    def __init__(self, changed: int = NEVER, fixed: bool = False) -> None:
        self.changed, self.fixed = changed, fixed
        # By id: an array of the values, its checksum, and how many arrays over it were handed out and are alive.
        self.watched = NOTHING

    def __reduce__(self) -> Any:
        return Memory, (self.changed, self.fixed)  # what was handed out shows the original's values

    def notice(self) -> None:
        """See whether the values were changed through an array handed out since the last look."""
        for key, (array, before, count) in list(self.watched.items()):
            now = fingerprint(array)
            if now != before:
                self.watched[key] = array, now, count
                self.changed = change()

    def watch(self, array: Any) -> None:
        """Watch `array`, of which one more array is handed out."""
        self.notice()
        self.watched = {} if self.watched is NOTHING else self.watched
        _, checksum, count = self.watched.get(id(array)) or (array, fingerprint(array), 0)
        self.watched[id(array)] = array, checksum, count + 1

    def forget(self, array: Any) -> None:
        """One of the arrays handed out of `array` is gone."""
        self.notice()
        array, checksum, count = self.watched.pop(id(array))
        if count > 1:
            self.watched[id(array)] = array, checksum, count - 1


class Unshared:
    """The memory of a tensor that nobody shares or has changed so far, the same for all of them."""

    __slots__ = ()
    changed, fixed = NEVER, False
    watched = NOTHING

    def __reduce__(self) -> str:
        return "UNSHARED"


UNSHARED: Any = Unshared()


def fingerprint(array: Any) -> int:
    """A checksum of the values of an array of NumPy's."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def hand_out(array: Any, owners: Sequence[tuple[Memory, Any]]) -> Any:
    """`array` to look at and to change: watched until it and all views of it are gone.

    Args:
        array: handed out unwatched if it is on a GPU, where a checksum would have to wait for it.
        owners: the memories that are changed with it, each with the part of `array` that it is the memory of.
    """
    if not isinstance(array, np.ndarray) or not array.size:
        return array
    for memory, part in owners:
        memory.watch(part)
    given = np.asarray(memoryview(array))  # type: ignore[arg-type]  # over a buffer: its views keep it alive
    key = id(given)

    def gone(_: Any) -> None:
        handed_out.pop(key, None)
        for memory, part in owners:
            memory.forget(part)

    handed_out[key] = weakref.ref(given, gone)
    return given


def notice_changes(inputs: Sequence[Any]) -> None:
    """See whether tensors among `inputs` were changed through arrays handed out."""
    for x in inputs:
        memory = getattr(x, "memory", None)
        if memory is not None and memory.watched:
            memory.notice()
