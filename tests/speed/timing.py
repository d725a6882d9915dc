"""Two callables timed in turn, on one BLAS thread and this machine's own kernels. Import it before NumPy."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


def against_peer(
    name: str, python: str, peer: str, tuned: dict[str, Any], steps: int, ours: Callable[[int], float], rounds: int = 3
) -> None:
    """Environment steps per second, each side its own process or loop, in turn; `peer` prints its own."""
    our_rates, their_rates = [], []
    for _ in range(rounds):
        our_rates.append(ours(steps))
        try:
            command = [python, "-c", peer, json.dumps(tuned), str(steps)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            print("Stable-Baselines3: not installed there, skipped (--sb3 PYTHON names one that has it)")
            print(f"{name}, CartPole-v1, 8 environments: {statistics.median(our_rates):,.0f} steps/s")
            return
        their_rates.append(float(result.stdout))
    a, b = statistics.median(our_rates), statistics.median(their_rates)
    print(f"{name} on CartPole-v1: {a:,.0f} steps/s, Stable-Baselines3 {b:,.0f}, ratio {a / b:.2f} (at least 5)")
