"""Two callables timed in turn, on one BLAS thread and this machine's own kernels. Import it before NumPy."""

import os
import statistics
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
