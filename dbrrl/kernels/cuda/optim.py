"""Steps of optimizers on a GPU, as one kernel each."""

import math
from typing import Any

import numpy as np

from dbrrl.backend import replaces
from dbrrl.kernels.cuda import kernels
from dbrrl.optim import adam, optimizer
from dbrrl.types import Array, Scalar


@replaces(optimizer.clip_norm, "cuda")
def clip_norm(g: Array, max_norm: float) -> Any:
    """The norm stays on the GPU: nothing waits for it."""
    wide = g.astype(np.float32) if g.dtype.char == "e" else g  # whose squares soon overflow
    squares = np.sum(wide * wide)
    kernels.clip(squares, max_norm, g)
    return np.sqrt(squares)


@replaces(optimizer.sweep_is_due, "cuda")
def sweep_is_due(g: Array, steps: Scalar) -> bool:
    """Never: a GPU computes with subnormal numbers as fast as with others."""
    return False


@replaces(adam.adam_step, "cuda")
def adam_step(
    values: Array,
    g: Array,
    first: Array,
    second: Array,
    scratch: Array,
    learning_rate: Scalar,
    steps: Scalar,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One kernel, which reads the learning rate and the number of steps from the GPU."""
    logs = (math.log(beta) if beta else -math.inf for beta in betas)
    kernels.adam(g, learning_rate, steps, *betas, *logs, eps, first, second, values)
