"""Two callables timed in turn, on one BLAS thread and this machine's own kernels. Import it before NumPy."""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a bare checkout can be timed too

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # a BLAS reads them once, when it is loaded
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)  # a pinned kernel would be timed instead of this machine's


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Mean seconds of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, repeats: tuple[int, int]
) -> tuple[float, float]:
    """Medians in seconds per call over rounds in which both take their turn, after one that does not count."""
    pairs = [(seconds(ours, repeats[0]), seconds(theirs, repeats[1])) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


class Peer:
    """A script in a process of its own that takes a turn whenever it is asked: its turn(size) gives a number.

    Args:
        python: the Python that has what the script imports.
        script: it finds `arguments` as sys.argv[1:].

    Raises:
        PeerError: that Python is not there, or the script failed.
    """

    _ANSWER = "\nfor line in sys.stdin:\n    print('turn', turn(int(line)), flush=True)\n"

    def __init__(self, python: str, script: str, *arguments: str) -> None:
        command = [python, "-c", "import sys\n" + script + self._ANSWER, *arguments]
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise PeerError(str(error)) from error

    def turn(self, size: int) -> float:
        """The number that the script returns."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it says why below
            print(size, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("turn "):
                return float(line.split()[1])
        raise PeerError(self.process.communicate()[1].strip().rpartition("\n")[2])

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


class PeerError(Exception):
    """The other side cannot take part."""


def with_peer(
    name: str, python: str, script: str, arguments: Sequence[str], ours: Callable[[int], float], size: int, rounds: int
) -> list[tuple[float, float]]:
    """Results of both sides in rounds in which each takes a short turn; empty, with a printed reason, without a peer.

    Neighbours meet the same machine: what slows it for seconds slows both.

    Args:
        script: see `Peer`, of which `arguments` are, too.
        ours: what the script's turn gives, for a turn of as many.
        size: of a turn.
    """
    try:
        with Peer(python, script, *arguments) as peer:
            return [(ours(size), peer.turn(size)) for _ in range(rounds + 1)][1:]
    except PeerError as error:
        print(f"{name}: Stable-Baselines3: skipped, {error} (--sb3 PYTHON names one that has it)")
        return []


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Medians of each side, and of the rounds' ratios of the first to the second."""
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return ours, theirs, statistics.median(own / other for own, other in pairs)


def against_peer(
    name: str,
    python: str,
    script: str,
    settings: dict[str, Any],
    ours: Callable[[int], float],
    *,
    bar: float,
    size: int,
    rounds: int = 15,
) -> None:
    """Environment steps per second of both sides; the script gets the settings as JSON."""
    rates = with_peer(name, python, script, [json.dumps(settings)], ours, size, rounds)
    if not rates:
        print(f"{name}: {statistics.median(ours(size) for _ in range(rounds)):,.0f} steps/s")
        return
    a, b, ratio = medians(rates)
    print(f"{name}: {a:,.0f} steps/s, Stable-Baselines3 {b:,.0f}, ratio {ratio:.2f} (at least {bar:g})")


LEARN = """

def turn(steps):
    began, start = model.num_timesteps, time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return (model.num_timesteps - began) / (time.perf_counter() - start)
"""
"""The turn of a script that has made a model of Stable-Baselines3: steps per second while it learns."""


def peer_options(description: str | None) -> argparse.Namespace:
    """Read the command line of a script that times dbrrl against Stable-Baselines3: `rounds` and the peer's Python."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side")
    parser.add_argument("--sb3", default=sys.executable, help="a Python that has stable-baselines3")
    return parser.parse_args()


class Loop:
    """An agent in environments, as a loop of your own runs it."""

    def __init__(self, agent: Any, envs: Any) -> None:
        self.agent, self.envs, self.observation = agent, envs, envs.reset()

    def rate(self, steps: int) -> float:
        """Environment steps per second over so many more."""
        agent, envs, observation = self.agent, self.envs, self.observation
        began, start = agent.steps, time.perf_counter()
        while agent.steps < began + steps:
            step = envs.step(agent.act(observation))
            agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
            observation = step.observation
        self.observation = observation
        return float((agent.steps - began) / (time.perf_counter() - start))
