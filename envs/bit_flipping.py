"""Bit flipping, where a reward is never seen without hindsight (Andrychowicz et al. 2017, section 3.1)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class BitFlipping(gym.Env[Any, Any]):
    """n bits and n actions, each of which flips one; reward -1 until the bits are those of the goal, which ends it.

    State and goal are drawn for each episode. A uniform policy reaches a goal among 2ⁿ hardly ever; the best flips each
    wrong bit once. Observations are those of a goal environment, float32 (n,) each: `observation` and `achieved_goal`,
    the bits, and `desired_goal`.

    size: n. It is registered with n = 10 and a time limit of n steps, as in the paper: -10 is a return without success.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, size: int = 10) -> None:
        self.size = size
        bits = spaces.Box(0.0, 1.0, (size,), np.float32)
        self.observation_space = spaces.Dict({"achieved_goal": bits, "desired_goal": bits, "observation": bits})
        self.action_space = spaces.Discrete(size)
        self._bits = self._goal = np.zeros(size, np.float32)

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: dict[str, Any]) -> Any:
        """Return 0 where a goal, or each of several, is achieved, and -1 elsewhere."""
        return -np.any(achieved_goal != desired_goal, axis=-1).astype(np.float32)

    def compute_terminated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: dict[str, Any]) -> Any:
        """Return whether a goal, or each of several, is achieved."""
        return np.all(achieved_goal == desired_goal, axis=-1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw bits, and a goal that is not these."""
        super().reset(seed=seed)
        self._bits, self._goal = self.np_random.integers(2, size=(2, self.size)).astype(np.float32)
        if np.array_equal(self._bits, self._goal):
            wrong = self.np_random.integers(self.size)
            self._goal[wrong] = 1 - self._goal[wrong]
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Flip the bit of the action's number."""
        self._bits = self._bits.copy()
        self._bits[action] = 1 - self._bits[action]
        pair = self._bits, self._goal
        reward, terminated = self.compute_reward(*pair, {}), self.compute_terminated(*pair, {})
        return self._observation(), float(reward), bool(terminated), False, {}

    def right_action(self) -> int:
        """Return the first bit that is wrong, for tests."""
        return int(np.flatnonzero(self._bits != self._goal)[0])

    def _observation(self) -> dict[str, np.ndarray]:
        return {"achieved_goal": self._bits.copy(), "desired_goal": self._goal.copy(), "observation": self._bits.copy()}
