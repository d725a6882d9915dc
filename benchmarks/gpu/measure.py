"""Clocks on both sides of a launch, on a GPU or on the stand-in for one, and contenders that take turns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dbrrl import backend

SPIN = """
extern "C" __global__ void spin(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""
CYCLES = 2.0e9  # per second, about: how long the device is kept busy need not be exact


class Deadline:
    """How much of a section's seconds is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds; below 0 when the time is over."""
        return self.end - time.perf_counter()

    @property
    def over(self) -> bool:
        """Whether none is left."""
        return self.left <= 0


class Machine:
    """The GPU: when it is done, how long it computed, and graphs of what was launched."""

    stand_in = False
    device = "cuda"

    def __init__(self) -> None:
        self.xp: Any = backend.array_module(backend.to_device(np.zeros(1, np.float32), self.device))

    def put(self, x: Any) -> Any:
        """A NumPy array on the device."""
        return backend.to_device(x, self.device)

    def wait(self) -> None:
        """Until all that was launched on the GPU is done, by whichever library."""
        self.xp.cuda.Device().synchronize()

    def computing(self, call: Callable[[], Any], repeats: int, host: float) -> float:
        """Seconds between two events around the calls, launched while the device is kept busy with something else.

        So the launches lie ready when their turn comes, and the gaps of a slow host are not counted; where the call
        itself waits for the device, they are.
        """
        cuda = self.xp.cuda
        if not hasattr(self, "_spin"):
            self._spin = self.xp.RawKernel(SPIN, "spin")
        start, stop = cuda.Event(), cuda.Event()
        self.wait()
        busy = min(0.5, 2 * host * repeats + 1e-3)
        self._spin((1,), (1,), (np.int64(busy * CYCLES),))
        start.record()
        for _ in range(repeats):
            call()
        stop.record()
        self.wait()
        return float(cuda.get_elapsed_time(start, stop)) / 1e3 / repeats

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A function that launches all kernels of `call` as one graph."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        self.wait()
        with stream:
            stream.begin_capture()
            call()
            graph = stream.end_capture()
        return lambda: graph.launch()


class StandIn(Machine):
    """NumPy behind the face of CuPy: the same code runs, and its times mean nothing."""

    stand_in = True

    def wait(self) -> None:
        """All is done already."""

    def computing(self, call: Callable[[], Any], repeats: int, host: float) -> float:
        return seconds(call, repeats)

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        return call


def nothing() -> None:
    """Nothing."""


@dataclass
class Contender:
    """One way to do a job: `call` starts it once, `wait` waits for what was started, `enter` comes before a turn."""

    name: str
    call: Callable[[], Any]
    wait: Callable[[], Any] = nothing
    enter: Callable[[], Any] = nothing
    weights: Callable[[], np.ndarray] | None = None
    refused: Callable[[], str] = str  # why it does not do what its name says; "" if it does
    updates: int = 0  # done while it was made
    row: dict[str, Any] = field(default_factory=dict)  # what the report says of it
    times: list[float] = field(default_factory=list)

    def run(self, times: int = 1) -> None:
        """So many calls, done when this returns."""
        self.enter()
        for _ in range(times):
            self.call()
        self.wait()


def seconds(call: Callable[[], Any], repeats: int, wait: Callable[[], Any] = nothing) -> float:
    """Per call, with one wait for all of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - start) / repeats


def in_turn(contenders: list[Contender], rounds: int, turn: float, deadline: Deadline) -> None:
    """Seconds per call of each, in `times`: rounds in which all take a turn of about `turn` seconds, one after another.

    A round ends once begun; of those that no time is left for, three are done all the same.
    """
    repeats = []
    for one in contenders:
        one.run()
        once = seconds(one.call, 1, one.wait)
        repeats.append(max(1, min(2000, round(turn / max(once, 1e-7)))))
    for k in range(rounds):
        if deadline.over and k >= 3:
            break
        for one, times in zip(contenders, repeats, strict=True):
            one.enter()
            one.times.append(seconds(one.call, times, one.wait))
    for one, times in zip(contenders, repeats, strict=True):
        one.row.update(
            us=1e6 * statistics.median(one.times),
            least_us=1e6 * min(one.times),
            rounds=len(one.times),
            calls_per_round=times,
        )


def both_sides(machine: Machine, call: Callable[[], Any], repeats: int, samples: int = 5) -> dict[str, float]:
    """Microseconds per call that the host spends launching, and the device computing: medians."""
    hosts, devices = [], []
    for _ in range(samples):
        machine.wait()
        hosts.append(seconds(call, repeats))
        machine.wait()
        devices.append(machine.computing(call, repeats, hosts[-1]))
    return {"host_us": 1e6 * statistics.median(hosts), "device_us": 1e6 * statistics.median(devices)}
