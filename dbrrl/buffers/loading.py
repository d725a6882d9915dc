"""Whether a state that was read can be that of a replay buffer: sizes, types, and numbers that point to rows."""

from typing import Any

import numpy as np

from dbrrl.buffers.bits import INVALID, TERMINATED, TRUNCATED
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError


def check_ring(ring: Any, state: Any) -> None:
    """CheckpointError where `state` cannot be put back into the `Ring`."""
    state = untrusted.table(state, "", "size", "head", "used", "begun", "observations", "finals", *ring.arrays)
    used = untrusted.whole(state["used"], "used rows", 1, ring._ring)
    head = untrusted.whole(state["head"], "head", 0, used - 1)
    size = untrusted.whole(state["size"], "size", 0, ring.rows if used == ring._ring else head)
    untrusted.truth(state["begun"], "begun")
    parts = untrusted.entries(state["observations"], "observations", len(ring.stores))
    for store, part in zip(ring.stores, parts, strict=True):
        store.check(part, used)
    ring.finals.check(state["finals"], "finals")
    for name in ring.arrays:
        array = getattr(ring, name)
        shape = used * ring.num_envs, *array.shape[1:]
        untrusted.array(state[name], name, array.dtype, shape, finite=name != "rewards")  # those of invalid rows may be
    first = (head - size) * ring.num_envs
    complete = ring.wrapped(np.arange(first, first + size * ring.num_envs))
    ends, numbers = state["ends"][complete], state["final"][complete]
    if not np.isfinite(state["rewards"][state["ends"] & INVALID == 0]).all():
        raise CheckpointError("rewards: expected finite numbers, got nan or inf")
    if ends.size and ends.max() > TERMINATED | TRUNCATED | INVALID:
        raise CheckpointError(f"ends: expected bits, got {ends.max()}")
    check_numbers(numbers[ring.final_kept.take(ends)], state["finals"], "final")


def check_numbers(numbers: np.ndarray, queue: dict[str, Any], name: str) -> None:
    """CheckpointError where one of `numbers` is not that of an entry in the state of a `Queue`."""
    oldest, count = queue["first"], len(queue["arrays"][0])
    if numbers.size and not oldest <= numbers.min() <= numbers.max() < oldest + count:
        raise CheckpointError(f"{name}: expected the numbers of {count} entries, got {numbers.min()}")
