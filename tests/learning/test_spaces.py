"""Spaces as data, and batches of observations."""

import dataclasses
import inspect
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents, checkpoint
from dbrrl.errors import ShapeError, SpaceError
from dbrrl.learning.spaces import as_batch, space_from_state, space_to_state

SPACES = [
    gym.spaces.Box(-1, 1, (3,), np.float32),
    gym.spaces.Box(np.array([-np.inf, 0.0]), np.array([np.inf, 2.0]), dtype=np.float64),
    gym.spaces.Box(0, 255, (4, 4, 3), np.uint8),
    gym.spaces.Box(0, 1, (), np.float32),
    gym.spaces.Discrete(5),
    gym.spaces.Discrete(5, start=-2),
    gym.spaces.MultiDiscrete([3, 4]),
    gym.spaces.MultiDiscrete([[3, 4], [5, 6]]),
    gym.spaces.MultiBinary(4),
    gym.spaces.MultiBinary([2, 3]),
    gym.spaces.Dict({"b": gym.spaces.Discrete(2), "a": gym.spaces.Dict({"c": gym.spaces.Box(0, 1, (2,))})}),
    gym.spaces.Dict([("z", gym.spaces.Discrete(2)), ("a", gym.spaces.Discrete(3))]),
]
if "dtype" in inspect.signature(gym.spaces.Discrete).parameters:  # Gymnasium 1.2
    kind: Any = gym.spaces.Discrete
    SPACES += [kind(3, dtype=np.int32), kind(3, start=1, dtype=np.int8), gym.spaces.Dict(a=kind(2, dtype=np.uint8))]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_comes_back_equal_from_a_file(tmp_path: Path, space: gym.Space) -> None:
    checkpoint.save(tmp_path / "x", {"space": space_to_state(space)}, kind="agent")
    back = space_from_state(checkpoint.load(tmp_path / "x", kind="agent")["space"])
    assert back == space and back.dtype == space.dtype and back.shape == space.shape
    if isinstance(space, gym.spaces.Dict):
        assert list(back) == list(space)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"type": "Tuple"},
        {"type": ["Box"]},
        {"type": "Discrete", "n": -1, "start": 0},
        {"type": "Discrete", "n": "5", "start": 0},
        {"type": "Box", "low": 0, "high": 1, "dtype": "float32"},
        {"type": "Box", "low": np.zeros(2), "high": np.zeros(3), "dtype": "float32"},
        {"type": "Box", "low": np.zeros(2), "high": np.zeros(2), "dtype": "no such"},
        {"type": "MultiDiscrete", "nvec": np.array([0]), "dtype": "int64", "start": np.array([0])},
        {"type": "Dict", "spaces": [1]},
        {"type": "Dict", "spaces": [["a", {"type": "x"}]]},
    ],
)
def test_what_is_no_space_is_refused(state: dict) -> None:
    with pytest.raises(SpaceError, match="not the description of a space"):
        space_from_state(state)


@pytest.mark.parametrize("name", ["low", "high", "nvec", "start"])
def test_the_numbers_of_a_space_are_real(name: str) -> None:
    state = {"type": "Box", "low": np.zeros(2), "high": np.ones(2), "dtype": "float32"}
    if name in ("nvec", "start"):
        state = {"type": "MultiDiscrete", "nvec": np.array([2]), "dtype": "int64", "start": np.array([0])}
    space_from_state(state)
    state[name] = np.asarray(state[name], np.complex64) + np.complex64(1j)
    line = f"{name}: expected an array of real numbers, got complex64"
    with warnings.catch_warnings(action="ignore"), pytest.raises(SpaceError, match=line):
        space_from_state(state)


def test_a_space_that_no_agent_serves_is_refused() -> None:
    with pytest.raises(SpaceError, match="expected one of the spaces Box, Discrete"):
        space_to_state(gym.spaces.Text(3))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_single_observations_get_a_leading_axis_and_batches_stay(space: gym.Space) -> None:
    space.seed(0)
    batch, single = as_batch(space.sample(), space)
    assert single and as_batch(batch, space)[1] is False

    def sizes(part: object) -> list[int]:
        return [n for value in part.values() for n in sizes(value)] if isinstance(part, dict) else [len(part)]

    assert set(sizes(batch)) == {1}


def test_a_batch_is_not_copied() -> None:
    batch = np.zeros((4, 3), np.float32)
    assert as_batch(batch, SPACES[0])[0] is batch


@dataclasses.dataclass
class Wrong:
    space: gym.Space
    observation: object


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(SPACES[0], np.zeros(4)),
        Wrong(SPACES[0], np.zeros((2, 2, 3))),
        Wrong(SPACES[4], np.zeros((2, 2))),
        Wrong(SPACES[11], np.zeros(2)),
        Wrong(SPACES[11], {"z": 1}),
        Wrong(SPACES[11], {"z": 1, "a": np.array([1])}),
    ],
)
def test_wrong_shapes_are_named(wrong: Wrong) -> None:
    with pytest.raises(ShapeError, match="observation: "):
        as_batch(wrong.observation, wrong.space)


@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN", "IQN"])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_a_discrete_space_of_another_dtype_comes_back_with_the_agent(tmp_path: Path, name: str, dtype: Any) -> None:
    if "dtype" not in inspect.signature(gym.spaces.Discrete).parameters:
        pytest.skip("Gymnasium 1.1 has int64 alone")
    options: Any = {"dtype": dtype}
    space, kind = gym.spaces.Discrete(3, start=2, **options), getattr(agents, name)
    agent = kind(gym.spaces.Box(-1, 1, (3,)), space, num_envs=2)
    for explore in (True, False):
        assert all(action in space for action in agent.act(np.zeros((2, 3), np.float32), explore))
    agent.save(tmp_path / "agent")
    assert kind.load(tmp_path / "agent").action_space == space
