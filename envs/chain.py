"""The A-B-C chain: only the right actions in the right order are rewarded, with a return of exactly 1."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Chain(gym.Env[Any, Any]):
    """N states in a row; in state k the right action is k, and the last right action has reward 1 (PFRL's `ABC`).

    size: N. Action: Discrete(N), or with `continuous` Box(-1, 1, (N,)), whose largest entry is the action.
    Observation: float32 (N + 2,), one-hot of the state (N is the end). With `hidden` it is shifted by an
    offset, 0 or 1, drawn for each episode: only the first observation reveals it, so that memory is needed.
    A wrong action ends the episode with 0; with `continuing` nothing ends it (it is registered with a time
    limit of N steps): a wrong action and the last right one lead back to the first state.

    The best policy returns exactly 1 (`optimal_return`); its value in the first state is gamma^(N - 1), or
    with `continuing` gamma^(N - 1) / (1 - gamma^N), as a time limit is no end.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    optimal_return: ClassVar[float] = 1.0

    def __init__(self, size: int = 3, continuous: bool = False, hidden: bool = False, continuing: bool = False) -> None:
        self.size, self.continuous, self.hidden, self.continuing = size, continuous, hidden, continuing
        self.observation_space = spaces.Box(0.0, 1.0, (size + 2,), np.float32)
        self.action_space: gym.Space[Any] = spaces.Discrete(size)
        if continuous:
            self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        self._state = self._offset = 0

    def value(self, gamma: float) -> float:
        """Return the optimal discounted value of the first state."""
        once = gamma ** (self.size - 1)
        return once / (1.0 - gamma**self.size) if self.continuing else float(once)

    def right_action(self) -> Any:
        """Return the right action in the current state, for tests."""
        return np.eye(self.size, dtype=np.float32)[self._state] if self.continuous else self._state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin in the first state."""
        super().reset(seed=seed)
        self._state = 0
        self._offset = int(self.np_random.integers(2)) if self.hidden else 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move to the next state if the action is right."""
        chosen = int(np.argmax(action)) if self.continuous else int(action)
        right = chosen == self._state
        self._state += right
        paid = self._state == self.size
        terminated = not self.continuing and (paid or not right)
        if self.continuing and (paid or not right):
            self._state = 0
        return self._observation(), float(paid), terminated, False, {}

    def _observation(self) -> np.ndarray:
        observation = np.zeros(self.size + 2, np.float32)
        observation[self._state + self._offset] = 1.0
        return observation
