"""Environments for workers in other processes: one that fails, and one that cannot be sent."""

import threading
from typing import Any

import gymnasium as gym
import numpy as np


class Failing(gym.Env[Any, Any]):
    """Raises in its 100th step."""

    observation_space = gym.spaces.Box(-1, 1, (3,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.count = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=options.get("seed"))
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        if self.count == 100:
            raise RuntimeError("the wheel came off")
        return np.zeros(3, np.float32), 1.0, self.count % 10 == 0, False, {}


LOCK = threading.Lock()
