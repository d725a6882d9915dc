"""Adam and AdamW."""

import math
from collections.abc import Sequence

import numpy as np

from dbrrl.backend import replaceable
from dbrrl.nn.module import Module, Parameter
from dbrrl.optim.optimizer import Optimizer, check
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Scalar


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1: θ ← θ - α m̂ / (√v̂ + ε), with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    The vectors kept are m / (1 - β₁) and v / (1 - β₂): the constants join the step size, which saves three passes
    over the parameters per step.
    """

    moments = ("first", "second")
    first: Array
    second: Array

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check(**{f"betas[{i}]": beta for i, beta in enumerate(betas)}, eps=eps, weight_decay=weight_decay)
        super().__init__(parameters, learning_rate)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def settings(self, ahead: int = 0) -> tuple[float, ...] | None:
        """Return the step size, the number of the next step, or of one `ahead` of it, β₁, β₂ and ε; None with weight
        decay, or of a subclass.
        """
        if type(self) is not Adam or self.weight_decay:
            return None
        return self._learning_rate.host, self._steps.host + 1 + ahead, *self.betas, self.eps

    def update(self, values: Array, g: Array, scratch: Array) -> None:
        """One step of Adam; weight decay is L2: it joins the gradient."""
        if self.weight_decay:
            g = g + self.weight_decay * values
        rate, steps = self._learning_rate.value, self._steps.value
        adam_step(values, g, self.first, self.second, scratch, rate, steps, self.betas, self.eps)


@replaceable
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
    """Change `values`, `first` and `second` (n,) by step number `steps` of Adam, given the gradient `g` (n,)."""
    beta1, beta2 = betas
    first *= beta1
    first += g
    second *= beta2
    np.multiply(g, g, out=scratch)
    second += scratch
    root = math.sqrt((1 - beta2) / (1 - beta2**steps))
    size = learning_rate * (1 - beta1) / (1 - beta1**steps)
    np.sqrt(second, out=scratch)
    scratch += eps / root
    np.divide(first, scratch, out=scratch)
    scratch *= size / root
    values -= scratch


class AdamW(Adam):
    """Loshchilov & Hutter 2019, algorithm 2: Adam whose decay is taken from the weights, θ ← θ - α λ θ, directly."""

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, learning_rate, betas, eps)
        check(weight_decay=weight_decay)
        self.decay = weight_decay

    def update(self, values: Array, g: Array, scratch: Array) -> None:
        """Decay, then one step of Adam."""
        values *= 1 - self._learning_rate.value * self.decay
        super().update(values, g, scratch)
