"""Environments for workers in other processes: one that fails, and one that cannot be sent."""

import contextlib
import os
import threading
import time
from pathlib import Path
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


class Tens(gym.Env[Any, Any]):
    """Its episodes have ten steps, with a reward of 1 each."""

    observation_space = gym.spaces.Box(-1, 1, (3,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=options.get("seed"))
        self.count = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.zeros(3, np.float32), 1.0, self.count == 10, False, {}


class Uneven(Tens):
    """Takes longer in the process that steps first, which leaves its number in a folder."""

    def __init__(self, folder: str) -> None:
        self.place = Path(folder) / "slow"

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        with contextlib.suppress(FileExistsError), self.place.open("x") as file:
            file.write(str(os.getpid()))
        if self.place.read_text() == str(os.getpid()):
            time.sleep(0.002)
        return super().step(action)


LOCK = threading.Lock()
