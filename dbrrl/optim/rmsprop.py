"""RMSprop in its variants."""

from collections.abc import Sequence

import numpy as np

from dbrrl.nn.module import Module, Parameter
from dbrrl.optim.optimizer import Optimizer, check
from dbrrl.schedules import Schedule
from dbrrl.types import Array


class RMSprop(Optimizer):
    """Hinton 2012, lecture 6e: v ← ρ v + (1 - ρ) g²;  θ ← θ - α g / √(v + ε) or, with eps outside, g / (√v + ε).

    Args:
        alpha: ρ, the decay of the mean square.
        centered: subtract the squared running mean of g from v (Graves 2013, eq. 40).
        eps_inside_root: as in the A3C and Nature DQN papers; PyTorch adds it outside.
        momentum: heavy-ball momentum on the scaled step.
        initial_mean_square: v before the first step. With 0 the first steps are up to 1 / √(1 - ρ) times as long as
            later ones; TensorFlow's RMSPropOptimizer begins with 1, and so with steps of about α g.
    """

    mean_square: Array
    mean: Array
    velocity: Array

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        centered: bool = False,
        eps_inside_root: bool = False,
        momentum: float = 0.0,
        initial_mean_square: float = 0.0,
    ) -> None:
        check(alpha=alpha, eps=eps, momentum=momentum, initial_mean_square=initial_mean_square)
        self.moments = ("mean_square",) + ("mean",) * centered + ("velocity",) * bool(momentum)
        super().__init__(parameters, learning_rate)
        self.mean_square.fill(initial_mean_square)
        self.alpha, self.eps, self.centered = alpha, eps, centered
        self.eps_inside_root, self.momentum = eps_inside_root, momentum

    def update(self, values: Array, g: Array, scratch: Array) -> None:
        """One step of RMSprop."""
        self.mean_square *= self.alpha
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self.alpha
        self.mean_square += scratch
        np.copyto(scratch, self.mean_square)
        if self.centered:
            self.mean *= self.alpha
            self.mean += (1 - self.alpha) * g
            scratch -= self.mean * self.mean
            np.maximum(scratch, 0, out=scratch)  # rounding can take a variance of zero below it
        if self.eps_inside_root:
            scratch += self.eps
        np.sqrt(scratch, out=scratch)
        if not self.eps_inside_root:
            scratch += self.eps
        np.divide(g, scratch, out=scratch)
        if self.momentum:
            self.velocity *= self.momentum
            self.velocity += scratch
            np.copyto(scratch, self.velocity)
        scratch *= self._learning_rate.value
        values -= scratch
