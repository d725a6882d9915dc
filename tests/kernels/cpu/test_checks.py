"""Checks of what environments give: one pass sees what is sound, the formula says what is wrong with the rest."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import DQN, PPO
from dbrrl.backend import load_kernels
from dbrrl.envs.validation import BatchCheck
from dbrrl.errors import EnvError, ShapeError
from dbrrl.kernels.cpu import extension
from dbrrl.learning.own_loop import Checked

if extension.module is None:
    pytest.skip("the extension module is not compiled", allow_module_level=True)

for kernels in ("environments", "checks"):
    load_kernels(kernels)

LARGEST = float(np.finfo(np.float32).max)
NUMBERS = [0.0, -0.0, 1e-45, LARGEST, -LARGEST, np.inf, -np.inf, np.nan, -np.nan]
CHECK = Checked.check.__wrapped__  # type: ignore[attr-defined]
SOUND = BatchCheck.sound.__wrapped__  # type: ignore[attr-defined]


def given(num_envs: int = 3, **changes: Any) -> list[Any]:
    """What `sound_results` takes, of that many environments."""
    found = {
        "parts": [np.zeros((num_envs, 2), np.float32)],
        "reward": np.zeros(num_envs),
        "terminated": np.zeros(num_envs, bool),
        "truncated": np.zeros(num_envs, bool),
    }
    return [*(found | changes).values(), num_envs]


def refused_by_formula(arguments: list[Any]) -> bool:
    """Whether the page of `Checked.check` finds a fault."""
    parts, *results, num_envs = arguments
    agent = Checked()
    agent.num_envs = num_envs
    agent.watch = type("Watch", (), {"check_action": lambda self: None})()  # type: ignore[assignment]
    try:
        CHECK(agent, parts[0], parts, *results)
    except (EnvError, ShapeError):
        return True
    return False


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("place", [0, 1, 36])
def test_numbers_that_are_not_finite_are_seen_wherever_they_are(c: Any, number: float, dtype: Any, place: int) -> None:
    part = np.ones((37, 1), dtype)
    part[place] = number
    right = True if math.isfinite(number) else NotImplemented
    assert c.sound_results(*given(37, parts=[part])) is right
    assert c.sound_results(*given(37, parts=[np.zeros((37, 2), np.float32), part])) is right
    assert c.sound_observation([((), (37, 1), np.dtype(dtype), True)], part) is right
    assert refused_by_formula(given(37, parts=[part])) is (right is not True)
    reward = np.ones(37, dtype)
    reward[place] = number
    assert c.sound_results(*given(37, reward=reward)) is right
    assert refused_by_formula(given(37, reward=reward)) is (right is not True)


def test_rewards_beyond_float32_are_not_sound(c: Any) -> None:
    for number in (3.5e38, -1e300):
        assert c.sound_results(*given(reward=np.array([0, 0, number]))) is NotImplemented
        assert c.sound_results(*given(1, reward=number, terminated=False, truncated=False)) is NotImplemented
    part = np.full((3, 1), 1e300)
    assert c.sound_results(*given(parts=[part])) is True  # the networks' input is made of it before


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": []},
        {"parts": (np.zeros((3, 2), np.float32),)},
        {"parts": [np.zeros((2, 2), np.float32)]},
        {"parts": [np.zeros((), np.float32)]},
        {"parts": [np.zeros((3, 2), np.float16)]},
        {"parts": [np.zeros((3, 4), np.float32)[:, ::2]]},
        {"parts": [np.zeros((3, 2), ">f4")]},
        {"parts": [np.zeros((3, 2), object)]},
        {"parts": [[[0.0], [0.0], [0.0]]]},
        {"reward": np.zeros(3, np.int64)},
        {"reward": np.zeros((3, 1))},
        {"reward": np.zeros(6)[::2]},
        {"reward": [0.0, 0.0, 0.0]},
        {"reward": 0.0},
        {"reward": 0.0, "terminated": False, "truncated": False},
        {"terminated": np.zeros(3, np.int8)},
        {"terminated": np.zeros(2, bool)},
        {"truncated": False},
        {"truncated": None},
        {"truncated": {}},
    ],
)
def test_what_is_not_usual_is_left_to_the_formula(c: Any, changes: dict[str, Any]) -> None:
    assert c.sound_results(*given(**changes)) is NotImplemented


def test_numbers_without_an_axis_are_sound_of_one_environment(c: Any) -> None:
    assert c.sound_results(*given(1, reward=1.5, terminated=True, truncated=False)) is True
    assert c.sound_results(*given(1, reward=np.float64(1.5), terminated=True, truncated=False)) is True
    for changes in (
        {"reward": 1.5},
        {"reward": 1, "terminated": True, "truncated": False},
        {"reward": math.nan, "terminated": True, "truncated": False},
        {"reward": 1.5, "terminated": 1, "truncated": False},
        {"terminated": True},
    ):
        assert c.sound_results(*given(1, **changes)) is NotImplemented
    assert c.sound_results(*given()[:-1]) is c.sound_results(*given()[:-1], "3") is NotImplemented


SPACES: dict[str, gym.Space[Any]] = {
    "box": gym.spaces.Box(-1, 1, (2,), np.float32),
    "wide": gym.spaces.Box(-1, 1, (2, 3), np.float64),
    "image": gym.spaces.Box(0, 255, (4, 4), np.uint8),
    "discrete": gym.spaces.Discrete(5),
    "dict": gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,), np.float32), "b": gym.spaces.Discrete(3)}),
    "deep": gym.spaces.Dict({"a": gym.spaces.Dict({"b": gym.spaces.MultiBinary(3)})}),
}


@pytest.mark.parametrize("name", list(SPACES))
def test_observations_of_a_space_are_sound_and_others_are_not(c: Any, name: str) -> None:
    space = SPACES[name]
    space.seed(0)
    check = BatchCheck(space, 3)
    batch = gym.vector.utils.batch_space(space, 3).sample()
    assert c.sound_observation(check.usual, batch) is True and SOUND(check, batch)
    wrong: list[Any] = [gym.vector.utils.batch_space(space, 2).sample(), None, [batch], 1.0]
    if isinstance(batch, dict):
        wrong += [{}, {**batch, "a": np.zeros(2)}, {**batch, "a": None}]
    else:
        swapped = batch.astype(batch.dtype.newbyteorder())
        wrong += [batch[..., None], batch.astype(np.complex128), batch.tolist(), *([swapped] * (batch.itemsize > 1))]
    for one in wrong:
        assert c.sound_observation(check.usual, one) is NotImplemented or SOUND(check, one)
        assert check.sound(one) == SOUND(check, one)
    assert sum(SOUND(check, one) for one in wrong) <= 1  # whole numbers may have any order of bytes
    assert c.sound_observation(check.usual) is c.sound_observation((), batch) is NotImplemented


@pytest.mark.parametrize("kind", [DQN, PPO])
def test_an_agent_still_says_what_is_wrong(kind: Any) -> None:
    box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    for change, error, said in (
        ({"reward": np.array([0.0, np.nan])}, EnvError, "reward: expected a finite number"),
        ({"terminated": np.zeros(3, bool)}, ShapeError, r"expected terminated of shape \(2,\)"),
    ):
        agent = kind(box, gym.spaces.Discrete(2), num_envs=2)
        agent.act(np.zeros((2, 2), np.float32))
        results = {"reward": np.zeros(2), "terminated": np.zeros(2, bool), "truncated": np.zeros(2, bool)} | change
        with pytest.raises(error, match=said):
            agent.observe(np.zeros((2, 2), np.float32), **results)
