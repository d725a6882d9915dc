"""Our loop over copies against Gymnasium's."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dbrrl.envs.sync import SameStepSync


class Talkative(gym.Env[Any, Any]):
    """Counts to the action's digit, with infos of several kinds now and then."""

    action_space = spaces.MultiDiscrete([5, 3])

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        self.observation_space = observation_space
        self.at = 0

    def observe(self) -> Any:
        """The count, in the form that the space asks for."""
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return {"count": np.array([self.at], np.float32)}
        return self.at if isinstance(space, spaces.Discrete) else np.array([self.at], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Back to 0."""
        super().reset(seed=seed)
        self.at = 0
        return self.observe(), {"begun": True} if seed is None else {}

    def step(self, action: Any) -> Any:
        """One further."""
        self.at += 1
        info = {"action": action, "word": "odd"} if self.at % 2 else {}
        return self.observe(), float(action[0]), self.at > action[0] + 1, action[1] == 2, info


SPACES = [
    spaces.Box(0, 9, (1,), np.float32),
    spaces.Discrete(9),
    spaces.Dict({"count": spaces.Box(0, 9, (1,), np.float32)}),
]


def plain(value: Any) -> Any:
    """Arrays as lists, so that == compares all of it."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (np.ndarray, list, tuple)) else value


@pytest.mark.parametrize("space", SPACES, ids=["Box", "Discrete", "Dict"])
@pytest.mark.parametrize("count", [1, 3])
def test_results_are_gymnasiums(space: gym.Space[Any], count: int) -> None:
    copies = [lambda: Talkative(space)] * count
    ours, theirs = SameStepSync(copies), SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert plain(ours.reset(seed=1)) == plain(theirs.reset(seed=1))
    ours.action_space.seed(0)
    ended = 0
    for _ in range(60):
        action = ours.action_space.sample()
        found, expected = ours.step(action), theirs.step(action)
        for one, other in zip(found[:4], expected[:4], strict=True):
            assert plain(one) == plain(other)
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype and one.shape == other.shape
        assert plain(found[4]) == plain(expected[4])
        ended += int((found[2] | found[3]).sum())
    assert ended > 10


def test_results_are_new_arrays() -> None:
    envs = SameStepSync([lambda: Talkative(SPACES[0])] * 2)
    envs.reset()
    first = envs.step(np.array([[4, 0], [4, 0]]))
    kept = [np.array(array) for array in first[:4]]
    envs.step(np.array([[0, 0], [0, 2]]))
    for array, before in zip(first[:4], kept, strict=True):
        np.testing.assert_array_equal(array, before)
