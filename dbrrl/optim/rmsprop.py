"""RMSprop in its variants."""

from collections.abc import Sequence

import numpy as np

from dbrrl.backend import replaceable
from dbrrl.nn.module import Module, Parameter
from dbrrl.optim.optimizer import Optimizer, check
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Scalar


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
        mean = self.mean if self.centered else None
        velocity = self.velocity if self.momentum else None
        rate, inside = self._learning_rate.value, self.eps_inside_root
        rmsprop_step(
            values, g, self.mean_square, mean, velocity, scratch, rate, self.alpha, self.eps, inside, self.momentum
        )


@replaceable
def rmsprop_step(
    values: Array,
    g: Array,
    mean_square: Array,
    mean: Array | None,
    velocity: Array | None,
    scratch: Array,
    learning_rate: Scalar,
    alpha: float,
    eps: float,
    eps_inside_root: bool,
    momentum: float,
) -> None:
    """Change `values` and the moments (n,) by one step of RMSprop, given the gradient `g` (n,).

    Those that a variant does not have are None.
    """
    mean_square *= alpha
    np.multiply(g, g, out=scratch)
    scratch *= 1 - alpha
    mean_square += scratch
    np.copyto(scratch, mean_square)
    if mean is not None:
        mean *= alpha
        mean += (1 - alpha) * g
        scratch -= mean * mean
        np.maximum(scratch, 0, out=scratch)  # rounding can take a variance of zero below it
    if eps_inside_root:
        scratch += eps
    np.sqrt(scratch, out=scratch)
    if not eps_inside_root:
        scratch += eps
    np.divide(g, scratch, out=scratch)
    if velocity is not None:
        velocity *= momentum
        velocity += scratch
        np.copyto(scratch, velocity)
    scratch *= learning_rate
    values -= scratch
