"""The end of a gradient step as part of its program: the norm of the gradient, clipping, and Adam."""

from typing import Any

import numpy as np

from dbrrl.kernels.cpu.record import Operand, Step, now
from dbrrl.kernels.cpu.trace import Traced

_WIDE = 2  # the flag of float64


def closing(optimizer: Any, steps_too: bool, at: int, settings: Traced, norm: Traced) -> list[Step]:
    """Return the last steps of a program.

    Args:
        optimizer: whose vectors are read and changed.
        steps_too: whether its step is taken.
        at: where in `settings` the largest norm is, before the numbers of `Optimizer.settings`.
        settings: float64, an input of the program.
        norm: float64, where the norm of the gradient before clipping is written.
    """
    values, grads = (_operand(array) for array in (optimizer.flat.values, optimizer.flat.grads))
    n, flags = (optimizer.flat.values.size,), _WIDE * (optimizer.flat.values.dtype == np.float64)
    steps = [Step("clip", "", (norm.operand, grads, settings[at].operand), n, flags)]
    if steps_too:
        moments = _operand(optimizer.first), _operand(optimizer.second)
        steps.append(Step("adam", "", (values, grads, *moments, settings[at + 1 :].operand), n, flags))
    return steps


def _operand(array: np.ndarray) -> Operand:
    return Traced(array, now().buffer_of(array)).operand
