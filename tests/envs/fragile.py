"""Environments for the tests of the adapter: nested observations, and every way to break the contract."""

import os
import signal
import sys
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

NESTED = gym.spaces.Dict(
    {
        "where": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "picture": gym.spaces.Box(0, 255, (2, 2, 1), np.uint8),
        "cell": gym.spaces.Discrete(100),
    }
)


class Walk(gym.Env[Any, Any]):
    """A random walk that depends on its generator and all its actions; ends after 3 to 9 steps."""

    observation_space = NESTED
    action_space = gym.spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=2)
        self.left = int(self.np_random.integers(3, 10))
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.at = self.at + self.np_random.normal(size=2) + np.asarray(action)
        self.left -= 1
        terminated = self.left == 0 and self.at[0] > self.at[1]
        truncated = self.left == 0 and not terminated
        return self.observe(), float(self.at.sum()), bool(terminated), bool(truncated), {"left": self.left}

    def observe(self) -> dict[str, Any]:
        picture = np.full((2, 2, 1), self.left, np.uint8)
        return {"where": self.at.astype(np.float32), "picture": picture, "cell": self.left}


class Broken(gym.Env[Any, Any]):
    """Breaks one rule at its third step, if the action is 1."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, broken: str = "") -> None:
        self.broken, self.count = broken, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if self.broken == "reset":
            return np.zeros(3, np.float32), {}
        if self.broken == "reset raises" and self.count:
            raise ValueError("no way back")
        if self.broken == "no info":
            return np.zeros(2, np.float32)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        late = self.count == 3 and action == 1
        observation: Any = np.zeros(2, np.float32)
        reward: Any = 1.0
        if late and self.broken == "raises":
            raise OSError("the motor\nis stuck")
        if late and self.broken == "exits":
            sys.exit(3)
        if late and self.broken == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if late and self.broken == "four":
            return observation, reward, False, {}
        if late and self.broken == "info":
            return observation, reward, False, False, None
        if late and self.broken == "reset raises":
            return observation, reward, True, False, {}
        if late and self.broken == "nan":
            observation[1] = np.nan
        if late and self.broken == "final":
            return np.full(2, np.inf, np.float32), 1.0, True, False, {}
        if late and self.broken == "dtype":
            observation = np.zeros(2)
        if late and self.broken == "shape":
            observation = np.zeros((2, 1), np.float32)
        if late and self.broken == "reward":
            reward = np.inf
        if late and self.broken == "large":
            reward = -1e308
        if late and self.broken == "array":
            reward = np.ones(1)
        if late and self.broken == "ragged":
            observation = [[0.0], [0.0, 1.0]]
        return observation, reward, False, False, {}


class Drifting(gym.Env[Any, Any]):
    """Cannot be replayed: what it shows depends on how often it was ever stepped."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    total = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.total += 1
        self.count += 1
        return np.full(1, self.total, np.float32), 1.0, False, self.count == 4, {}


class Ours(VectorEnv[Any, Any, Any]):
    """A user's own vector environment, NEXT_STEP; its attributes are plain, but for one if asked."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, opaque: bool = False) -> None:
        self.num_envs = num_envs
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.at = np.zeros((num_envs, 1))
        self.ended = np.zeros(num_envs, bool)
        self.memory: dict[str, Any] = {"log": [1, 2.5, None], "pair": (np.float32(0.5), "a")}
        if opaque:
            self.handle = object()

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=(self.num_envs, 1))
        self.ended[:] = False
        return self.at.astype(np.float32), {}

    def step(self, actions: Any) -> Any:
        self.at = self.at + self.np_random.normal(size=self.at.shape)
        began = self.ended
        self.at[began] = 0.0
        self.memory["log"][0] += 1
        self.ended = (abs(self.at[:, 0]) > 2) & ~began
        none = np.zeros(self.num_envs, bool)
        return self.at.astype(np.float32), np.where(began, 7.0, self.at[:, 0]), self.ended.copy(), none, {}
