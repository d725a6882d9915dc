"""Sums over workers: the same bits on each, whatever their number, by channels that hold one message."""

import queue
import threading
from typing import Any

import numpy as np
import pytest

from dbrrl.experiment.ray_exchange import Exchange


class Channel:
    """Holds one message, as those of Ray."""

    def __init__(self) -> None:
        self.messages: queue.Queue[bytes] = queue.Queue(1)
        self.sent = 0

    def ensure_registered_as_reader(self) -> None:
        pass

    def write(self, message: bytes) -> None:
        self.sent += len(message)
        self.messages.put(message, timeout=10)

    def read(self) -> bytes:
        return self.messages.get(timeout=10)


@pytest.mark.parametrize("size", range(1, 10))
def test_each_worker_gets_the_sum_of_all(size: int) -> None:
    sides = [Exchange(i, size) for i in range(size)]
    for i, side in enumerate(sides):
        assert all(i in sides[j].neighbours for j in side.neighbours)
        side._out = {j: Channel() for j in side.neighbours}
    for i, side in enumerate(sides):
        side.connect({j: sides[j]._out[i] for j in side.neighbours})
    rng = np.random.default_rng(size)
    given: list[list[Any]] = [
        [rng.standard_normal(7).astype(np.float32), rng.standard_normal(3), rng.standard_normal(50_001)]
        for _ in range(size)
    ]
    found: list[list[Any]] = [[] for _ in range(size)]

    def work(i: int) -> None:
        found[i] += [sides[i].sum(vector) for vector in given[i]]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for k in range(3):
        whole = np.sum([vectors[k].astype(np.float64) for vectors in given], 0)
        for one in found:
            np.testing.assert_array_equal(one[k], found[0][k])
            np.testing.assert_allclose(one[k], whole, rtol=1e-5, atol=1e-6)
            assert one[k].dtype == given[0][k].dtype
    if size > 1 and size & (size - 1) == 0:  # a long vector travels less than twice, however many there are
        assert all(sum(channel.sent for channel in side._out.values()) < 2.01 * 8 * 50_001 for side in sides)
