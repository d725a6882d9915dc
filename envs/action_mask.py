"""A wrapper for environments that say in `info` which actions are allowed: it puts the mask into the observation."""

from collections.abc import Callable, Hashable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from dbrrl.distributions.masks import MASK, choices_of
from dbrrl.errors import EnvError, SpaceError


class ActionMask(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Puts `info["action_mask"]`, as Gymnasium's and PettingZoo's environments give it, into the observation.

    The observation becomes a dict {"observation": ..., "action_mask": int8 (n,)}; one that is a dict gets the further
    key "action_mask". n is the number of actions of Discrete, and for MultiDiscrete the sum of `nvec`: a mask may then
    also come as a tuple of one array for each choice. Where an episode truly ended there need be no mask, as no action
    follows.

    Raises:
        SpaceError: actions are neither Discrete nor MultiDiscrete, or observations have a key "action_mask".
        EnvError: from `reset` and `step`: `info` has no mask, or one of another size.

    Example:
        env = ActionMask(gym.make("Taxi-v4"))
        envs = gym.make_vec("Taxi-v4", 8, vectorization_mode="sync", wrappers=[ActionMask])
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        sizes, seen = choices_of(env.action_space), env.observation_space
        if not sizes:
            raise SpaceError(f"ActionMask: expected Discrete or MultiDiscrete actions, got {env.action_space}")
        self.size = sum(sizes)
        self._inside = isinstance(seen, spaces.Dict)
        parts = dict(seen.spaces) if isinstance(seen, spaces.Dict) else {"observation": seen}
        if MASK in parts:
            raise SpaceError(f"ActionMask: the observation has a key {MASK!r} already: leave the wrapper out")
        self.observation_space = spaces.Dict({**parts, MASK: spaces.MultiBinary(self.size)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the observation has the mask of the first action."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(observation, info, False), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; the observation has the mask of the next action."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_mask(observation, info, terminated), reward, terminated, truncated, info

    def _with_mask(self, observation: Any, info: dict[str, Any], terminated: bool) -> dict[str, Any]:
        parts = observation if self._inside else {"observation": observation}
        return {**parts, MASK: self._mask(info.get(MASK), terminated)}

    def _mask(self, given: Any, terminated: bool) -> np.ndarray:
        if given is None and terminated:
            return np.zeros(self.size, np.int8)
        if given is None:
            raise EnvError(f"info: expected {MASK!r} where an action follows, got none: give it in every step")
        whole = np.concatenate([np.ravel(part) for part in given]) if isinstance(given, tuple) else np.ravel(given)
        if whole.shape != (self.size,) or whole.dtype.kind not in "biuf":
            raise EnvError(
                f"info[{MASK!r}]: expected {self.size} numbers, 1 for each action that is allowed and 0 for the "
                f"others, got {np.shape(whole)} of {whole.dtype}: correct the environment"
            )
        found: np.ndarray = (whole != 0).astype(np.int8)
        return found


def mask_is_in_info(spaces_of: Any, make: Callable[[], gym.Env[Any, Any]], key: Hashable = None) -> bool:
    """Return whether an environment gives masks in `info` alone: one more of it is made, reset and closed.

    Args:
        spaces_of: the environment or its copies, whose spaces say whether it may give masks; it is not reset.
        make: makes one more.
        key: of the environment; what was found out of it is not asked again. None: it is asked.
    """
    single = isinstance(spaces_of, VectorEnv)
    seen = spaces_of.single_observation_space if single else spaces_of.observation_space
    actions = spaces_of.single_action_space if single else spaces_of.action_space
    if not choices_of(actions) or MASK in getattr(seen, "spaces", ()):
        return False
    if key is None or key not in _FOUND:
        try:
            env = make()
            _FOUND[key] = MASK in env.reset(seed=0)[1]
            env.close()
        except Exception:  # the copies themselves will tell it
            return False
    return _FOUND[key]


_FOUND: dict[Hashable, bool] = {}
