"""Exploration among discrete actions: values (B, number of actions) to actions (B,)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.checkpoint import untrusted
from dbrrl.distributions.masks import uniform
from dbrrl.errors import ConfigError
from dbrrl.explorers.base import Explorer, LazyValues
from dbrrl.schedules import Schedule, constant
from dbrrl.types import Metrics


def greedy(values: np.ndarray | LazyValues) -> np.ndarray:
    """Argmax over the last axis: values (B, A) give int64 (B,)."""
    values = values.compute() if isinstance(values, LazyValues) else values
    best: np.ndarray = values.argmax(-1)
    return best


class Greedy(Explorer):
    """Always the action of the largest value; it draws nothing."""

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Values (B, A) to actions int64 (B,)."""
        return greedy(values)


class NoisyGreedy(Greedy):
    """The greedy action of a network whose noisy layers explore (Fortunato et al. 2018): new noise for each batch.

    Args:
        draw: draws the noise.
        rng: as of the other explorers; the layers have generators of their own.
    """

    def __init__(self, draw: Callable[[], None], rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.draw = draw

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Values (B, A), to be computed after the draw, to actions int64 (B,)."""
        self.draw()
        return greedy(values)


class EpsilonGreedy(Explorer):
    """With probability ε any action, each alike, else the greedy one (Sutton & Barto 2018, section 2.2).

    Args:
        epsilon: a number, or a schedule (constant, linear, exponential), in [0, 1].
        rng: its generator.

    Attributes:
        power: the probability is ε to this power, one of its own for each of several workers (Horgan et al. 2018).
    """

    power: float = 1.0

    def __init__(self, epsilon: Schedule | float, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.schedule = epsilon if isinstance(epsilon, Schedule) else constant(epsilon)
        for value in self.schedule.values:
            if not 0 <= value <= 1:
                raise ConfigError(f"epsilon: expected a probability in [0, 1], got {value}: change it")

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Values (B, A) to actions int64 (B,)."""
        (envs, actions), epsilon = values.shape, self.schedule(progress) ** self.power
        allowed = getattr(values, "allowed", None)
        if envs == 1 and allowed is None:  # the same draws, as numbers: they take a third of the time of arrays of one
            return np.array([self.rng.integers(actions)]) if self.rng.random() < epsilon else greedy(values)
        random: Any = self.rng.random(envs) < epsilon
        count = np.count_nonzero(random)
        action = greedy(values) if count < envs else np.empty(envs, np.int64)
        if count:
            draws = self.rng.integers(actions, size=count) if allowed is None else uniform(allowed[random], self.rng)
            action[random] = draws
        return action

    def statistics(self, progress: float) -> Metrics:
        """Return ε as "epsilon"."""
        return {"epsilon": self.schedule(progress) ** self.power}


class EZGreedy(EpsilonGreedy):
    """ε-greedy whose random actions last (εz-greedy: Dabney, Ostrovski & Barreto 2021, arXiv:2006.01782, algorithm 1).

    An action begun with probability ε is taken n times in all, P(n) = n^-μ / ζ(μ), or until the episode ends or does
    not allow it. The same push many times over gets to places that single random actions never reach; where all n are
    1, it is ε-greedy.

    Args:
        epsilon: probability to begin one, a number or a schedule, in [0, 1].
        num_envs: B.
        rng: its generator.
        mu: μ above 1; the larger, the shorter (section 4: 2).
    """

    per_episode_state = True

    def __init__(self, epsilon: Schedule | float, num_envs: int, rng: np.random.Generator, mu: float = 2.0) -> None:
        super().__init__(epsilon, rng)
        if not mu > 1:
            raise ConfigError(f"mu: expected a number above 1, got {mu}: change it")
        self.mu = mu
        self.action, self.left = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Values (B, A) to actions int64 (B,)."""
        lasting, allowed = self.left > 0, getattr(values, "allowed", None)
        if allowed is not None:  # what may not be taken again is over
            lasting &= allowed[np.arange(len(lasting)), self.action]
            self.left[~lasting] = 0
        begun = (self.rng.random(len(lasting)) < self.schedule(progress) ** self.power) & ~lasting
        if count := np.count_nonzero(begun):
            actions = values.shape[1]
            draws = self.rng.integers(actions, size=count) if allowed is None else uniform(allowed[begun], self.rng)
            self.action[begun] = draws
            self.left[begun] = self.rng.zipf(self.mu, count)
            lasting |= begun
        self.left -= lasting
        return self.action.copy() if lasting.all() else np.where(lasting, self.action, greedy(values))

    @property
    def stateless(self) -> Explorer:
        """ε-greedy, with the same generator."""
        return EpsilonGreedy(self.schedule, self.rng)

    def reset(self, ended: np.ndarray) -> None:
        """Choose anew where an episode ended, bool (B,)."""
        self.left[ended] = 0

    def state_dict(self) -> dict[str, Any]:
        """Its generator, and the action of each environment with how often it is still to be taken."""
        return super().state_dict() | {"action": self.action.copy(), "left": self.left.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it does not fit."""
        with untrusted.state_of("EZGreedy", "load with the same num_envs"):
            untrusted.table(state, "", "action", "left")
            action, left = (
                untrusted.array(state[name], name, np.int64, self.left.shape, at_least=0) for name in ("action", "left")
            )
        super().load_state_dict(state)
        self.action[...], self.left[...] = action, left


class Boltzmann(Explorer):
    """Action a with probability e^(Q(a)/τ) / Σ e^(Q/τ) (Sutton & Barto 2018, eq. 13.2).

    Args:
        temperature: τ, a number or a schedule, above 0.
        rng: its generator.
    """

    def __init__(self, temperature: Schedule | float, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.schedule = temperature if isinstance(temperature, Schedule) else constant(temperature)
        if min(self.schedule.values) <= 0:
            raise ConfigError(f"temperature: expected a number above 0, got {self.schedule.to_dict()}: change it")

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Values (B, A) to actions int64 (B,)."""
        # The largest of values with Gumbel noise is a draw from their softmax (Gumbel 1954).
        return greedy(np.asarray(values) / self.schedule(progress) + self.rng.gumbel(size=values.shape))
