"""Stochastic gradient descent, with momentum."""

from collections.abc import Sequence

import numpy as np

from dbrrl.backend import replaceable
from dbrrl.nn.module import Module, Parameter
from dbrrl.optim.optimizer import Optimizer, check
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Scalar


class SGD(Optimizer):
    """v ← μ v + g;  θ ← θ - α v  (Nesterov: θ ← θ - α (g + μ v)); without momentum v = g."""

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        check(momentum=momentum, weight_decay=weight_decay)
        self.moments = ("velocity",) if momentum else ()
        super().__init__(parameters, learning_rate)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    velocity: Array

    def update(self, values: Array, g: Array, scratch: Array) -> None:
        """One step of gradient descent."""
        if self.weight_decay:
            g = g + self.weight_decay * values
        velocity = self.velocity if self.momentum else None
        sgd_step(values, g, velocity, scratch, self._learning_rate.value, self.momentum, self.nesterov)


@replaceable
def sgd_step(
    values: Array,
    g: Array,
    velocity: Array | None,
    scratch: Array,
    learning_rate: Scalar,
    momentum: float,
    nesterov: bool,
) -> None:
    """Change `values` and `velocity` (n,) by one step of SGD, given the gradient `g` (n,); None: without momentum."""
    if velocity is not None:
        velocity *= momentum
        velocity += g
        g = g + momentum * velocity if nesterov else velocity
    np.multiply(g, learning_rate, out=scratch)
    values -= scratch
