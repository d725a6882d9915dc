"""Sums of vectors over the workers of a run, by the channels of Ray: shared memory, or the network between hosts."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.types import Array

SEMAPHORES = Path("/dev/shm")  # where Linux keeps named ones
SHORT = 2**16  # bytes of a vector that goes whole
MARGIN = 1.25  # of a channel's memory over the largest vector that is known; a larger one makes it grow


def forget_names() -> None:
    """Remove the names of the semaphores of channels on this host, which all processes have opened by now.

    Ray never does so, and its named semaphores outlive their processes. They belong to the process of Ray that started
    this one, whose number is in their names.
    """
    for kind in ("hdr", "obj"):
        for file in SEMAPHORES.glob(f"sem.{kind}{os.getppid()}-*"):
            file.unlink(missing_ok=True)


class Exchange:
    """One worker's side: it adds up vectors with one partner after the other.

    In round r the partner of worker i is i with bit r flipped. Short vectors go whole, in log2(size) rounds (recursive
    doubling). Of long ones partners halve what they work on, each sends the half that the other keeps, until every
    worker has a part of the sum, and these parts go back the same way: twice as many rounds, but each number travels
    twice at most, however many workers there are (Thakur, Rabenseifner & Gropp 2005, "Optimization of Collective
    Communication Operations in MPICH", section 4.5). Where the number of workers is no power of two, those above it
    hand their vectors to one below first, and get the sum from it last. On all workers the sum has the same bits.

    Args:
        index: of this worker.
        size: number of workers.
    """

    def __init__(self, index: int, size: int) -> None:
        self.index, self.size = index, size
        power = 1 << (size.bit_length() - 1)
        self.above = index - power if index >= power else None  # who adds for this one
        self.helped = index + power if index + power < size else None  # for whom this one adds
        below = index < power
        self.partners = [index ^ (1 << bit) for bit in range(power.bit_length() - 1)] if below else []
        self.waited = 0.0  # seconds in which it waited for others
        self._out: dict[int, Any] = {}
        self._in: dict[int, Any] = {}

    @property
    def neighbours(self) -> list[int]:
        """The workers that it has a channel to, and one from."""
        return [*self.partners, *(one for one in (self.above, self.helped) if one is not None)]

    def open(self, actors: list[Any], nodes: list[str], nbytes: int) -> dict[int, Any]:
        """Make the channels that this worker writes to, and return them by reader.

        Args:
            actors: handles of all workers.
            nodes: identifiers of the hosts that they are on.
            nbytes: of the largest vector that is known.
        """
        import ray
        from ray.experimental.channel.shared_memory_channel import Channel

        own = ray.get_runtime_context().current_actor
        for one in self.neighbours:
            self._out[one] = Channel(own, [(actors[one], nodes[one])], int(MARGIN * nbytes) + 4096)
            self._out[one].ensure_registered_as_writer()
        return self._out

    def connect(self, channels: dict[int, Any]) -> None:
        """Set the channels that this worker reads from, by writer."""
        self._in = channels
        for one in channels.values():
            one.ensure_registered_as_reader()

    def sum(self, vector: Array) -> Array:
        """Return the sum of all workers' vectors; it waits for those that it needs."""
        if self.above is not None:
            self._write(self.above, vector)
            return np.array(self._read(self.above, vector.dtype))
        total = np.array(vector)
        if self.helped is not None:
            total += self._read(self.helped, vector.dtype)
        if len(self.partners) > 1 and total.nbytes > SHORT:
            self._halve(total)
        else:
            for partner in self.partners:
                self._write(partner, total)
                total += self._read(partner, vector.dtype)
        if self.helped is not None:
            self._write(self.helped, total)
        return total

    def _halve(self, total: Array) -> None:
        """Add up a long vector in place, part by part."""
        low, high, done = 0, len(total), []
        for bit, partner in reversed(list(enumerate(self.partners))):
            middle = (low + high) // 2
            first, second = slice(low, middle), slice(middle, high)
            own, other = (second, first) if self.index >> bit & 1 else (first, second)
            self._write(partner, total[other])
            total[own] += self._read(partner, total.dtype)
            low, high = own.start, own.stop
            done.append((partner, own, other))
        for partner, own, other in reversed(done):
            self._write(partner, total[own])
            total[other] = self._read(partner, total.dtype)

    def _write(self, reader: int, vector: Array) -> None:
        self._out[reader].write(vector.tobytes())  # Ray takes bytes as they are, and serializes arrays

    def _read(self, writer: int, dtype: Any) -> Array:
        start = time.perf_counter()
        try:
            return np.frombuffer(self._in[writer].read(), dtype)
        finally:
            self.waited += time.perf_counter() - start
