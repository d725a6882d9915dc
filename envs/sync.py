"""Gymnasium's vector environment that steps one copy after the other, with less work per step."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate

from dbrrl.errors import SpaceError

from .leaves import assemble, leaf, leaf_spaces


class SameStepSync(SyncVectorEnv):
    """`SyncVectorEnv` with autoreset SAME_STEP: the same results, each observation written into its row at once.

    Gymnasium's own collects the observations, joins them after all copies have stepped, copies them deeply, and builds
    an info for each copy. If copies share an array for observations, all rows would have the last copy's.
    """

    def __init__(self, copies: Sequence[Callable[[], gym.Env[Any, Any]]]) -> None:
        super().__init__(copies, autoreset_mode=AutoresetMode.SAME_STEP)
        try:
            self._leaves = leaf_spaces(self.single_observation_space)
        except SpaceError:  # not arrays: Gymnasium joins them
            self._leaves = []

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all copies; those whose episode ended begin another."""
        if not self._leaves:
            return super().step(actions)
        count = self.num_envs
        stores = [np.empty((count, *(space.shape or ())), space.dtype) for _, space in self._leaves]
        places = [(path, store) for (path, _), store in zip(self._leaves, stores, strict=True)]
        whole = stores[0] if places[0][0] == () else None
        rewards, flags = np.zeros(count), np.zeros((2, count), np.bool_)
        infos: dict[str, Any] = {}
        for row, (env, action) in enumerate(zip(self.envs, iterate(self.action_space, actions), strict=True)):
            observation, reward, terminated, truncated, info = env.step(action)
            rewards[row] = reward
            if terminated or truncated:
                flags[:, row] = terminated, truncated
                infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, row)
                observation, info = env.reset()
            if whole is not None:  # the usual case
                whole[row] = observation
            else:
                for path, store in places:
                    store[row] = leaf(observation, path)
            if info:  # from a recorded copy: a violation
                infos = self._add_info(infos, info, row)
        observations = assemble(self.single_observation_space, iter(stores)) if whole is None else whole
        return observations, rewards, flags[0], flags[1], infos
