"""Problems with known answers; a wrong answer shows which part of an agent is broken."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Probe(gym.Env[Any, Any]):
    """Base of the probes: observation float32 (1,) in [-1, 1]; two actions, or a Box(-1, 1, (1,)).

    After Jones 2021, "Debugging reinforcement learning systems". The first three ignore the action.
    `optimal_return` is the expected return of the best policy, undiscounted; `value` its discounted value.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    optimal_return: ClassVar[float] = 1.0

    def __init__(self, continuous: bool = False) -> None:
        self.continuous = continuous
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space: gym.Space[Any] = spaces.Discrete(2)
        if continuous:
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._observed = 0.0

    @classmethod
    def value(cls, observation: float, gamma: float) -> float:
        """Return the optimal discounted value of an observation."""
        return 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._observed = self._first()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """End the episode after one step, unless a probe overrides this."""
        return self._observation(), self._reward(action), True, False, {}

    def _first(self) -> float:
        return 0.0

    def _reward(self, action: Any) -> float:
        return 1.0

    def _observation(self) -> np.ndarray:
        return np.full(1, self._observed, np.float32)

    def _sign(self) -> float:
        return float(2 * self.np_random.integers(2) - 1)


class ProbeConstant(Probe):
    """Reward 1 for the only step, observation 0: V = 1. If not found: the value loss or its optimizer."""


class ProbeObservation(Probe):
    """Observation -1 or 1, reward equal to it: V(o) = o. If not found: gradients through the network."""

    optimal_return = 0.0

    @classmethod
    def value(cls, observation: float, gamma: float) -> float:
        """V(o) = o."""
        return observation

    def _first(self) -> float:
        return self._sign()

    def _reward(self, action: Any) -> float:
        return self._observed


class ProbeDelayed(Probe):
    """Observation 0, then 1; reward 0, then 1: V(0) = gamma, V(1) = 1. If not found: the bootstrap."""

    @classmethod
    def value(cls, observation: float, gamma: float) -> float:
        """V(0) = gamma, V(1) = 1."""
        return 1.0 if observation > 0.5 else gamma

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Give the reward after two steps."""
        arrived, self._observed = self._observed, 1.0
        return self._observation(), arrived, bool(arrived), False, {}


class ProbeAction(Probe):
    """Observation 0; the action decides, 1 is right: V = 1. If not found: the policy's loss or advantages.

    Discrete: reward 1 for action 1, -1 for action 0. Continuous: reward 1 - (a - 0.5)^2, best at 0.5.
    """

    def _reward(self, action: Any) -> float:
        return self._score(action, 1.0)

    def _score(self, action: Any, target: float) -> float:
        if self.continuous:
            return 1.0 - (float(action[0]) - 0.5 * target) ** 2
        return target * float(2 * int(action) - 1)


class ProbeBoth(ProbeAction):
    """Observation -1 or 1, the right action has its sign: V = 1. If not found: rows are mixed up in batches.

    Discrete: reward 1 for the action of the sign (0 for -1, 1 for 1), else -1. Continuous: reward
    1 - (a - 0.5 o)^2, best at half the observation.
    """

    def _first(self) -> float:
        return self._sign()

    def _reward(self, action: Any) -> float:
        return self._score(action, self._observed)


class Endless(Probe):
    """Reward 1 at every step; registered with a time limit, which is no termination: V = 1 / (1 - gamma).

    `optimal_return` is that of the registered limit of 10 steps.
    """

    optimal_return = 10.0

    @classmethod
    def value(cls, observation: float, gamma: float) -> float:
        """V = 1 / (1 - gamma)."""
        return 1.0 / (1.0 - gamma)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Never terminate."""
        return self._observation(), 1.0, False, False, {}
