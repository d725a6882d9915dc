"""Gymnasium's vector environment that steps one copy after the other, with less around each step."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate


class SameStepSync(SyncVectorEnv):
    """`SyncVectorEnv` with autoreset SAME_STEP: the same results, written once where observations are one array.

    Gymnasium's own collects observations, joins them, copies them deeply, and builds an info for each copy.
    """

    def __init__(self, copies: Sequence[Callable[[], gym.Env[Any, Any]]]) -> None:
        super().__init__(copies, autoreset_mode=AutoresetMode.SAME_STEP)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all copies; those whose episode ended begin another."""
        space, count = self.single_observation_space, self.num_envs
        if space.shape is None:
            return super().step(actions)
        observations = np.empty((count, *space.shape), space.dtype)
        rewards, flags = np.zeros(count), np.zeros((2, count), np.bool_)
        infos: dict[str, Any] = {}
        for row, (env, action) in enumerate(zip(self.envs, iterate(self.action_space, actions), strict=True)):
            observation, reward, terminated, truncated, info = env.step(action)
            rewards[row] = reward
            if terminated or truncated:
                flags[:, row] = terminated, truncated
                infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, row)
                observation, info = env.reset()
            observations[row] = observation
            if info:
                infos = self._add_info(infos, info, row)
        return observations, rewards, flags[0], flags[1], infos
