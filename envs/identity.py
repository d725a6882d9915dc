"""The identity environment: the right action is the observation; for each of the four action spaces."""

import abc
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Identity(gym.Env[Any, Any], abc.ABC):
    """A new random target at every step; reward 1 for the action equal to it, less the further it differs.

    The best policy gets 1 at every step: over the registered time limit of 10 steps a return of 10
    (`optimal_return`), a value of 1 / (1 - gamma).
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    optimal_return: ClassVar[float] = 10.0

    def __init__(self) -> None:
        self._target: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the first target."""
        super().reset(seed=seed)
        self._target = self._draw()
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the reward for the last target, and the next target."""
        reward = self._score(action)
        self._target = self._draw()
        return self._shown(), reward, False, False, {}

    def right_action(self) -> Any:
        """Return the action equal to the current target, for tests."""
        return self._target

    def _shown(self) -> Any:
        return np.array(self._target, np.float32)

    @abc.abstractmethod
    def _draw(self) -> Any:
        """Draw a target."""

    @abc.abstractmethod
    def _score(self, action: Any) -> float:
        """Return the reward, at most 1."""


class IdentityDiscrete(Identity):
    """Action and observation Discrete(size); reward 1 if equal, else 0. A uniform policy gets 1 / size."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.observation_space = self.action_space = spaces.Discrete(size)
        self.size = size

    def _draw(self) -> int:
        return int(self.np_random.integers(self.size))

    def _shown(self) -> Any:
        return self._target

    def _score(self, action: Any) -> float:
        return float(action == self._target)


class IdentityMultiDiscrete(Identity):
    """Action MultiDiscrete(sizes); reward: the share of correct components.

    Observation: float32 (sum of sizes,), one-hot per component. A uniform policy gets the mean of 1 / size.
    """

    def __init__(self, sizes: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.sizes = np.array(sizes)
        self.action_space = spaces.MultiDiscrete(self.sizes)
        self.observation_space = spaces.Box(0.0, 1.0, (int(self.sizes.sum()),), np.float32)

    def _draw(self) -> np.ndarray:
        return self.np_random.integers(self.sizes)

    def _shown(self) -> np.ndarray:
        ones = [np.eye(size, dtype=np.float32)[k] for size, k in zip(self.sizes, self._target, strict=True)]
        return np.concatenate(ones)

    def _score(self, action: Any) -> float:
        return float(np.mean(action == self._target))


class IdentityMultiBinary(Identity):
    """Action MultiBinary(size); reward: the share of correct bits.

    Observation: float32 (size,), the bits. A uniform policy gets 1/2.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size
        self.action_space = spaces.MultiBinary(size)
        self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)

    def _draw(self) -> np.ndarray:
        return self.np_random.integers(2, size=self.size, dtype=np.int8)

    def _score(self, action: Any) -> float:
        return float(np.mean(action == self._target))


class IdentityBox(Identity):
    """Action and observation Box(-1, 1, (size,)); reward 1 - the mean squared distance.

    The constant action 0 gets 2/3 on average, a uniform policy 1/3.
    """

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.size = size
        self.observation_space = self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

    def _draw(self) -> np.ndarray:
        return self.np_random.uniform(-1.0, 1.0, self.size).astype(np.float32)

    def _score(self, action: Any) -> float:
        return 1.0 - float(np.mean(np.square(np.asarray(action, np.float64) - self._target)))
