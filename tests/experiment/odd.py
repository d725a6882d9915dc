"""Environments that keep the contract, but say odd things in their infos, or use one array for all observations."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

BOX = gym.spaces.Box(-10, 10, (3,), np.float32)
SHARED = np.zeros(3, np.float32)


def said(kind: str, at: int) -> dict[str, Any]:
    """The info at step `at` of an episode; 0 is its reset."""
    if kind == "markers":
        return {"valid": False, "_valid": True, "final_obs": np.full(3, 9.0, np.float32), "_final_obs": False}
    kinds: dict[str, list[Any]] = {
        "path": [np.zeros(n) for n in (1, 2, 3)],
        "text": [1, "one", "none"],
        "array": [1, np.zeros(2), 1],
        "dict": [{"x": 1}, 1, {"x": {"y": 1}}],
        "ragged": [[[0], [0, 1]], np.zeros((2, 2)), [[0]]],
        "large": [1, 2**70, -(2**70)],
    }
    return {kind: kinds[kind][at % 3]} if kind else {}


class Odd(gym.Env[Any, Any]):
    """Shows where it is; each episode is cut or ends after 3 to 5 steps.

    says: what its infos hold (see `said`). reuses: "own" writes every observation into one array of the environment's,
    "shared" into one of all environments. nested: the observation is a dict. continuous: an action is a number.
    """

    action_space: Any = gym.spaces.Discrete(2)

    def __init__(
        self, says: str = "", reuses: str = "", nested: bool = False, endless: bool = False, continuous: bool = False
    ) -> None:
        if continuous:
            self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.says, self.reuses, self.nested, self.endless = says, reuses, nested, endless
        self.array = SHARED if reuses == "shared" else np.zeros(3, np.float32)
        self.observation_space = gym.spaces.Dict({"a": BOX}) if nested else BOX

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at, self.place = 0, self.np_random.normal(size=3)
        self.length = int(self.np_random.integers(3, 6))
        return self.observe(), said(self.says, 0)

    def step(self, action: Any) -> Any:
        self.at += 1
        self.place = np.clip(self.place + self.np_random.normal(size=3) + action, -10, 10)
        over = self.at == self.length and not self.endless
        ended = over and bool(self.place[0] > 0)
        return self.observe(), float(self.place[0]), ended, over and not ended, said(self.says, self.at)

    def observe(self) -> Any:
        array = self.array if self.reuses else np.empty(3, np.float32)
        array[:] = self.place
        return {"a": array} if self.nested else array


class OddVector(VectorEnv[Any, Any, Any]):
    """The same, in a loop of the user's own: it says what no copy can, and may give out the arrays that it works in."""

    def __init__(self, num_envs: int, says: str = "", mode: str = "SAME_STEP", reuses: bool = False) -> None:
        self.copies = [Odd() for _ in range(num_envs)]
        self.num_envs, self.says, self.mode, self.reuses = num_envs, says, AutoresetMode[mode], reuses
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space, self.single_action_space = BOX, Odd.action_space
        self.observation_space = batch_space(BOX, num_envs)
        self.action_space = batch_space(Odd.action_space, num_envs)
        self.observations, self.rewards = np.zeros((num_envs, 3), np.float32), np.zeros(num_envs)
        self.terminated, self.truncated = np.zeros((2, num_envs), np.bool_)
        self.over = np.zeros(num_envs, np.bool_)

    def given(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return arrays if self.reuses else tuple(array.copy() for array in arrays)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        for row in np.flatnonzero(mask):
            self.observations[row] = self.copies[row].reset(seed=None if seed is None else seed + int(row))[0]
        self.terminated[mask] = self.truncated[mask] = False
        self.rewards[mask] = 0
        return *self.given(self.observations), {}

    def step(self, actions: Any) -> Any:
        mark = np.zeros(self.num_envs, np.bool_)
        info: dict[str, Any] = {"valid": mark, "final_info": "done"} if self.says == "markers" else {}
        for row, copy in enumerate(self.copies):
            if self.mode is AutoresetMode.NEXT_STEP and self.over[row]:
                result: Any = (copy.reset()[0], 0.0, False, False)
            else:
                result = copy.step(actions[row])
            self.observations[row], self.rewards[row], self.terminated[row], self.truncated[row] = result[:4]
        self.over = self.terminated | self.truncated
        if self.mode is AutoresetMode.SAME_STEP and self.over.any():
            info |= {"final_obs": self.observations.copy(), "_final_obs": self.over}
            for row in np.flatnonzero(self.over):
                self.observations[row] = self.copies[row].reset()[0]
        elif self.says == "markers":
            info |= {"final_obs": np.full((self.num_envs, 3), 9.0, np.float32), "_final_obs": ~mark}
        return *self.given(self.observations, self.rewards, self.terminated, self.truncated), info
