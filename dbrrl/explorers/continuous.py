"""Exploration among continuous actions: noise on actions (B, ...), and uniform actions at the start."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.checkpoint import untrusted
from dbrrl.errors import ConfigError
from dbrrl.explorers.base import Explorer, LazyValues
from dbrrl.schedules import Schedule, constant
from dbrrl.types import Metrics


class NoNoise(Explorer):
    """The policy's own actions: those of a deterministic policy, or samples of a stochastic one."""

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Actions (B, ...) as they are."""
        return np.asarray(values)


class AdditiveGaussian(Explorer):
    """Independent normal noise on every component, kept inside the bounds.

    Args:
        scale: standard deviation, a number or a schedule, 0 or above.
        low, high: bounds of the action, broadcast against it.
        rng: its generator.
    """

    def __init__(self, scale: Schedule | float, low: Any, high: Any, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.schedule = scale if isinstance(scale, Schedule) else constant(scale)
        if min(self.schedule.values) < 0:
            raise ConfigError(f"scale: expected a number of 0 or above, got {self.schedule.to_dict()}: change it")
        self.low, self.high = low, high

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Actions (B, ...) to actions of the same dtype."""
        values = np.asarray(values)
        noise = self.rng.standard_normal(values.shape) * self.schedule(progress)
        return np.clip(values + noise, self.low, self.high).astype(values.dtype)


class OrnsteinUhlenbeck(Explorer):
    """Noise that wanders back to 0: x ← x - θ x + σ N(0, 1), one x per environment (Lillicrap et al. 2016, section 7).

    Args:
        scale: σ, a number or a schedule, 0 or above.
        low, high: bounds of the action, broadcast against it.
        shape: of a batch of actions, (B, ...).
        rng: its generator.
        theta: θ in [0, 1], how much of x goes back at each step.
    """

    per_episode_state = True

    def __init__(
        self,
        scale: Schedule | float,
        low: Any,
        high: Any,
        shape: tuple[int, ...],
        rng: np.random.Generator,
        theta: float = 0.15,
    ) -> None:
        super().__init__(rng)
        self.schedule = scale if isinstance(scale, Schedule) else constant(scale)
        if min(self.schedule.values) < 0 or not 0 <= theta <= 1:
            raise ConfigError(f"Ornstein-Uhlenbeck noise: expected σ >= 0 and θ in [0, 1], got {scale} and {theta}")
        self.low, self.high, self.theta = low, high, theta
        self.noise = np.zeros(shape)

    @property
    def stateless(self) -> Explorer:
        """Normal noise of the deviation that this noise has in the long run, σ / √(θ (2 - θ)); σ where θ is 0."""
        long_run = math.sqrt(self.theta * (2 - self.theta)) or 1.0
        return AdditiveGaussian(self.schedule.scaled(1 / long_run), self.low, self.high, self.rng)

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Actions (B, ...) to actions of the same dtype."""
        values = np.asarray(values)
        self.noise *= 1 - self.theta
        self.noise += self.schedule(progress) * self.rng.standard_normal(self.noise.shape)
        return np.clip(values + self.noise, self.low, self.high).astype(values.dtype)

    def reset(self, ended: np.ndarray) -> None:
        """Start again from 0 in the environments whose episode ended, bool (B,)."""
        self.noise[ended] = 0

    def state_dict(self) -> dict[str, Any]:
        """Its generator and the noise of each environment."""
        return super().state_dict() | {"noise": self.noise.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it does not fit."""
        with untrusted.state_of("OrnsteinUhlenbeck", "load with the same action space and num_envs"):
            untrusted.table(state, "", "noise")
            noise = untrusted.array(state["noise"], "noise", np.float64, self.noise.shape)
        super().load_state_dict(state)
        self.noise[...] = noise


class UniformStart(Explorer):
    """Uniform actions at first, each entry in [low, high], then those of another explorer (Fujimoto et al. 2018).

    Args:
        then: the other explorer, whose generator serves both.
        count: how many actions, of all environments together, are uniform.
        low, high: bounds of the action, broadcast against it.
    """

    def __init__(self, then: Explorer, count: int, low: Any, high: Any) -> None:
        super().__init__(then.rng)
        self.then, self.left, self.low, self.high = then, count, low, high
        self.per_episode_state = then.per_episode_state

    def __call__(self, values: np.ndarray | LazyValues, progress: float = 0.0) -> np.ndarray:
        """Actions (B, ...), which are not computed while uniform ones are taken, to actions of float32."""
        if self.left <= 0:
            return self.then(values, progress)
        self.left -= values.shape[0]
        return self.rng.uniform(self.low, self.high, values.shape).astype(np.float32)

    @property
    def stateless(self) -> Explorer:
        """What it chooses by at this moment, without counting."""
        return UniformStart(self.then, self.left, self.low, self.high) if self.left > 0 else self.then.stateless

    def statistics(self, progress: float) -> Metrics:
        """Return those of the other explorer."""
        return self.then.statistics(progress)

    def reset(self, ended: np.ndarray) -> None:
        """Hand it on to the other explorer."""
        self.then.reset(ended)

    def state_dict(self) -> dict[str, Any]:
        """That of the other explorer, and how many uniform actions are still to be taken."""
        return self.then.state_dict() | {"left": max(self.left, 0)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it does not fit."""
        with untrusted.state_of("UniformStart", "load another state"):
            untrusted.table(state, "", "left")
            left = untrusted.whole(state["left"], "left")
        self.then.load_state_dict({name: value for name, value in state.items() if name != "left"})
        self.left = left


def continuous_explorer(settings: Any, shape: tuple[int, ...], rng: np.random.Generator) -> UniformStart:
    """Return the explorer of actions in [-1, 1] that settings name, after `learning_starts` uniform actions.

    Args:
        settings: with `noise`, "gaussian", "ornstein_uhlenbeck" or "none", `noise_scale`, `noise_theta` and
            `learning_starts` (see dbrrl.learning.config.ContinuousConfig).
        shape: of a batch of actions, (B, k).
        rng: its generator.
    """
    kinds: dict[str, Callable[[], Explorer]] = {
        "gaussian": lambda: AdditiveGaussian(settings.noise_scale, -1.0, 1.0, rng),
        "ornstein_uhlenbeck": lambda: OrnsteinUhlenbeck(
            settings.noise_scale, -1.0, 1.0, shape, rng, settings.noise_theta
        ),
        "none": lambda: NoNoise(rng),
    }
    return UniformStart(kinds[settings.noise](), settings.learning_starts, -1.0, 1.0)
