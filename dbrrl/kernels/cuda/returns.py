"""Advantages on a GPU: a thread for each environment."""

from typing import Any

import numpy as np

from dbrrl.backend import replaces
from dbrrl.returns import advantages

from .kernels import Kernel


def _gae(
    reward: Any, value: Any, following: Any, terminated: Any, boundary: Any, gamma: float, decay: float, steps: int,
    batch: int, advantage: Any,
) -> None:  # fmt: skip
    last: Any = 0
    for t in range(steps - 1, -1, -1):
        delta = reward[t] + gamma * (1 - terminated[t].astype(reward.dtype)) * following[t] - value[t]
        last = delta + decay * (1 - boundary[t].astype(reward.dtype)) * last
        advantage[t] = last


# One thread an environment, from its last step back (Schulman et al. 2016, eq. 16); decay is γ λ.
_kernel = Kernel(
    "gae",
    "raw T reward, raw T value, raw T following, raw bool terminated, raw bool boundary, float64 gamma, float64 decay, "
    "int64 steps, int64 batch",
    "raw T advantage",
    """
    T last = 0;
    for (ptrdiff_t at = (steps - 1) * batch + i; at >= 0; at -= batch) {
        T delta = (terminated[at] ? T(0) : T(gamma) * following[at]) + reward[at] - value[at];
        last = delta + (boundary[at] ? T(0) : T(decay) * last);
        advantage[at] = last;
    }
    """,
    _gae,
)  # fmt: skip


@replaces(advantages, "cuda")
def _advantages(
    reward: Any, value: Any, next_value: Any, terminated: Any, boundary: Any, gamma: float, lambda_: float
) -> Any:
    arrays = reward, value, next_value, terminated, boundary
    alike = all(x.flags.c_contiguous for x in arrays) and reward.dtype == value.dtype == next_value.dtype
    if not (alike and reward.size):
        return NotImplemented
    advantage = np.empty_like(reward)
    _kernel(*arrays, gamma, gamma * lambda_, *reward.shape, advantage, size=reward.shape[1])
    return advantage
