"""Optimizers over one flat vector: each step is a handful of array operations, however deep the network.

All share one form: `step()` reads the flat gradient, changes the flat values in place and keeps its moments as vectors
of the same length. Schedules are data: set `optimizer.learning_rate` before a step.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import array_module, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.kernels.cuda import kernels
from dbrrl.kernels.cuda.dial import Dial
from dbrrl.nn.flat import Flat, flatten
from dbrrl.nn.module import Module, Parameter

_SWEEP = 128  # steps between looks for moments next to 0


class Optimizer:
    """Base: holds the flat vectors of a module's (or a list of) parameters and named moment vectors beside them.

    Parameters that ask for no gradient when the optimizer is made are left out. Several optimizers may share a model,
    each with parameters of its own.

    Raises:
        ConfigError: a hyperparameter is out of range.
        GraphError: there is nothing to learn; later: another optimizer took over some of the parameters.
    """

    moments: tuple[str, ...] = ()  # names of the vectors that `state_dict` holds

    def __init__(self, parameters: Module | Sequence[Parameter], learning_rate: float) -> None:
        _check(learning_rate=learning_rate)
        given = parameters.parameters() if isinstance(parameters, Module) else parameters
        self.flat: Flat = flatten([p for p in given if getattr(p, "requires_grad", True)])
        self.rate = Dial(self.flat.vector, learning_rate)
        self.clock = Dial(self.flat.vector, 0)
        for name in self.moments:
            setattr(self, name, array_module(self.flat.vector).zeros_like(self.flat.vector))
        self._scratch = array_module(self.flat.vector).empty_like(self.flat.vector)

    @property
    def learning_rate(self) -> float:
        """The step size of the next step; set it for a schedule."""
        return self.rate.host

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.rate.set(value)

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return int(self.clock.read())

    def zero_grad(self) -> None:
        """Set all gradients to zero: before every backward pass that shall not add to the last."""
        self.flat.grads.fill(0)

    def clip_grad_norm(self, max_norm: float) -> Any:
        """Scale the gradient down to a global L2 norm of at most `max_norm`; returns the norm before: a number, or an
        array without axes on a GPU, which nobody waits for.
        """
        if not max_norm > 0:
            raise ConfigError(f"max_norm: expected a number above 0, got {max_norm}")
        g = self.flat.gather()
        wide = g.astype(np.float32) if g.dtype.char == "e" else g  # whose squares soon overflow
        if type(g) is not np.ndarray:
            squares = np.sum(wide * wide)
            kernels.clip(squares, max_norm, g)
            return np.sqrt(squares)
        norm = math.sqrt(wide @ wide)
        if norm > max_norm:
            g *= max_norm / norm
        return norm

    def step(self) -> None:
        """Change the parameters once, by their gradients."""
        g = self.flat.gather()
        self.clock.add(1)
        self.update(self.flat.vector, g, self._scratch)
        if self.moments and type(g) is np.ndarray and self.steps % _SWEEP == 0:
            self._clear_tiny()
        self.flat.changed()

    def _clear_tiny(self) -> None:
        """Set to 0 what is left in the moments of gradients that have long been 0, as those of a dead ReLU unit are.

        It would shrink to subnormal numbers, never to 0 (0.9 times the smallest of them rounds to itself), and a
        processor computes with each of those many times slower. The limit leaves a decay of 0.9 no time to get there.
        """
        for moment in (getattr(self, name) for name in self.moments):
            if moment.dtype.itemsize > 2:  # float16 is computed as float32
                np.copyto(moment, 0, where=np.abs(moment) < 1e6 * np.finfo(moment.dtype).tiny)

    def update(self, values: Any, g: Any, scratch: Any) -> None:
        """The rule: change `values` (n,) in place, given the gradient `g` (n,); `scratch` is free to use."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Copies of the moments (n,), the number of steps and the learning rate."""
        vectors = {name: np.array(to_numpy(getattr(self, name))) for name in self.moments}
        return {**vectors, "steps": self.steps, "learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            CheckpointError: an entry is missing or unknown, or a moment of another length; nothing is changed then.
        """
        where, expected = f"{type(self).__name__}.load_state_dict", {*self.moments, "steps", "learning_rate"}
        if untrusted.table(state, where).keys() != expected:
            raise CheckpointError(
                f"{where}: expected {sorted(expected)}, got {sorted(state)}: load the state of one like this"
            )
        with untrusted.state_of(where, "load the state of this optimizer and network"):
            for name in self.moments:
                least = 0 if name in ("second", "mean_square") else -math.inf  # of g²
                untrusted.array(state[name], name, self.flat.vector.dtype, self.flat.vector.shape, at_least=least)
            steps = untrusted.whole(state["steps"], "steps")
            learning_rate = untrusted.number(state["learning_rate"], "learning_rate", 0)
        for name in self.moments:
            getattr(self, name)[...] = array_module(self.flat.vector).asarray(state[name])
        self.clock.set(steps)
        self.learning_rate = learning_rate


def _check(**settings: float) -> None:
    """Refuse what is out of the range that a setting of this name has in every optimizer."""
    for name, value in settings.items():
        if name in ("learning_rate", "weight_decay", "initial_mean_square"):
            ok, expected = value >= 0, "0 or above"
        else:
            ok, expected = (value > 0, "above 0") if name == "eps" else (0 <= value < 1, "in [0, 1)")
        if not ok or not math.isfinite(value):
            raise ConfigError(f"{name}: expected a number {expected}, got {value}")


class SGD(Optimizer):
    """v ← μ v + g;  θ ← θ - α v  (Nesterov: θ ← θ - α (g + μ v)); without momentum v = g."""

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        _check(momentum=momentum, weight_decay=weight_decay)
        self.moments = ("velocity",) if momentum else ()
        super().__init__(parameters, learning_rate)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    velocity: Any

    def update(self, values: Any, g: Any, scratch: Any) -> None:
        """One step of gradient descent."""
        if self.weight_decay:
            g = g + self.weight_decay * values
        if self.momentum:
            self.velocity *= self.momentum
            self.velocity += g
            g = g + self.momentum * self.velocity if self.nesterov else self.velocity
        np.multiply(g, self.rate.value, out=scratch)
        values -= scratch


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1: θ ← θ - α m̂ / (√v̂ + ε), with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    The vectors kept are m / (1 - β₁) and v / (1 - β₂): the constants join the step size, which saves three passes
    over the parameters per step.
    """

    moments = ("first", "second")
    first: Any
    second: Any

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _check(**{f"betas[{i}]": beta for i, beta in enumerate(betas)}, eps=eps, weight_decay=weight_decay)
        super().__init__(parameters, learning_rate)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, values: Any, g: Any, scratch: Any) -> None:
        """One step of Adam; weight decay is L2: it joins the gradient."""
        if self.weight_decay:
            g = g + self.weight_decay * values
        beta1, beta2 = self.betas
        if type(values) is not np.ndarray:
            logs = (math.log(beta) if beta else -math.inf for beta in self.betas)
            numbers = (self.rate.value, self.clock.value, beta1, beta2, *logs, self.eps)
            return kernels.adam(g, *numbers, self.first, self.second, values)  # type: ignore[no-any-return]
        self.first *= beta1
        self.first += g
        self.second *= beta2
        np.multiply(g, g, out=scratch)
        self.second += scratch
        root = math.sqrt((1 - beta2) / (1 - beta2**self.steps))
        size = self.learning_rate * (1 - beta1) / (1 - beta1**self.steps)
        np.sqrt(self.second, out=scratch)
        scratch += self.eps / root
        np.divide(self.first, scratch, out=scratch)
        scratch *= size / root
        values -= scratch


class AdamW(Adam):
    """Loshchilov & Hutter 2019, algorithm 2: Adam whose decay is taken from the weights, θ ← θ - α λ θ, directly."""

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, learning_rate, betas, eps)
        _check(weight_decay=weight_decay)
        self.decay = weight_decay

    def update(self, values: Any, g: Any, scratch: Any) -> None:
        """Decay, then one step of Adam."""
        values *= 1 - self.rate.value * self.decay
        super().update(values, g, scratch)


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

    mean_square: Any
    mean: Any
    velocity: Any

    def __init__(
        self,
        parameters: Module | Sequence[Parameter],
        learning_rate: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        centered: bool = False,
        eps_inside_root: bool = False,
        momentum: float = 0.0,
        initial_mean_square: float = 0.0,
    ) -> None:
        _check(alpha=alpha, eps=eps, momentum=momentum, initial_mean_square=initial_mean_square)
        self.moments = ("mean_square",) + ("mean",) * centered + ("velocity",) * bool(momentum)
        super().__init__(parameters, learning_rate)
        self.mean_square.fill(initial_mean_square)
        self.alpha, self.eps, self.centered = alpha, eps, centered
        self.eps_inside_root, self.momentum = eps_inside_root, momentum

    def update(self, values: Any, g: Any, scratch: Any) -> None:
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
        scratch *= self.rate.value
        values -= scratch
