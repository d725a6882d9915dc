"""An environment whose observations are pictures with one bright dot, for tests of the inspector."""

from typing import Any

import gymnasium as gym
import numpy as np


class Dot(gym.Env[np.ndarray, int]):
    """An action on the dot's side is worth 1; an episode has 5 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, fails: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
        self.action_space = gym.spaces.Discrete(2)
        self.render_mode, self.fails = render_mode, fails

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.fails:
            raise RuntimeError("the machine\nis out of order")
        right = float(action == self.side)
        self.steps += 1
        return self._look(), right, self.steps == 5, False, {}

    def render(self) -> Any:
        return np.full((20, 30, 3), 10 * self.steps, np.uint8)

    def _look(self) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        picture = np.zeros((1, 36, 36), np.uint8)
        picture[0, 10:14, 4 + 24 * self.side : 8 + 24 * self.side] = 255
        return picture


gym.register("dbrrl-tests/Dot-v0", entry_point="tests.dashboard.images:Dot")
