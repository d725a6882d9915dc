"""`Memory`: when the values that tensors share were last changed in place, so that backward reads no others unseen.

Values are changed through a tensor (by index, in place, by `data = ...`) or by an optimizer, which note the time.
The arrays that tensors hand out are read-only.
"""

import itertools
from typing import Any

# Ops and changes have their times from one clock, which runs down: a heap of times yields the newest first.
clock = itertools.count(0, -1)
NEVER = 1  # before all times
latest = [NEVER]  # the time of the latest change of all


def change() -> int:
    """The time of a change made now."""
    latest[0] = now = next(clock)
    return now


class Memory:
    """State shared by all tensors over the same values: a tensor, its views and its detached copies.

    Args:
        changed: the time of the last change.
        fixed: whether a graph computed the values and may need them: then they are not to be changed.
    """

    __slots__ = ("changed", "fixed")

    def __init__(self, changed: int = NEVER, fixed: bool = False) -> None:
        self.changed, self.fixed = changed, fixed

    def __reduce__(self) -> Any:
        return Memory, (self.changed, self.fixed)


class Unshared:
    """The memory of a tensor that nobody shares or has changed so far, the same for all of them."""

    __slots__ = ()
    changed, fixed = NEVER, False

    def __reduce__(self) -> str:
        return "UNSHARED"


UNSHARED: Any = Unshared()
