"""Normalization on a GPU."""

from typing import Any

import numpy as np

from dbrrl import normalize
from dbrrl.backend import replaces

from .kernels import Kernel


def _normalized(x: Any, total: Any, squares: Any, n: int) -> Any:
    mean = total / n
    return ((x - mean) / (np.sqrt(np.maximum(squares / n - mean * mean, 0)) + 1e-8)).astype(x.dtype)


# Zero mean and unit deviation, from the sums of x and of x².
_kernel = Kernel(
    "normalized", "T x, float64 total, float64 squares, int64 n", "T y",
    """
    double mean = total / n, var = squares / n - mean * mean;
    y = T((x - mean) / (sqrt(var > 0 ? var : 0.0) + 1e-8));
    """,
    _normalized,
)  # fmt: skip


@replaces(normalize.standardized, "cuda")
def _standardized(x: Any) -> Any:
    if x.dtype.char == "e":
        return NotImplemented
    x = x - x[:1] if x.dtype == np.float64 else x
    wide = x.astype(np.float64)
    return _kernel(x, np.sum(wide), np.sum(wide * wide), len(x))


@replaces(normalize.clipped, "cuda")
def _clipped(x: Any, low: np.float32, high: np.float32) -> Any:
    return np.minimum(np.maximum(x.astype(np.float32, copy=False), low), high)
