"""Ends the episodes under way in a replay buffer, when what it is given next does not follow what it has."""

import numpy as np

from dbrrl.backend import to_numpy
from dbrrl.buffers.bits import TRUNCATED
from dbrrl.buffers.ring import Ring


def cut(ring: Ring) -> None:
    """Mark the newest transition of each episode under way as its last one, cut there as by a time limit.

    What followed it, as far as it is known, stays its next observation. A row that was begun is dropped.
    """
    envs, ring.begun = ring.num_envs, False
    newest = ring.wrapped((ring.head - 1) * envs + np.arange(envs))
    bits = ring.ends[newest]
    if not ring.size or bits.all():
        return
    following = [to_numpy(part) for part in ring.take_next(newest, bits)]
    for row in np.flatnonzero(bits == 0):
        ring.ends[newest[row]] = TRUNCATED
        ring.final[newest[row]] = ring.finals.push([part[row] for part in following])
        ring.episode_cut(int(row))
    ring.look_ahead(ring.head - ring.size)
