"""The protocol's base class: spaces, files, and Gymnasium's raw final observations."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, testing
from dbrrl.agent import true_next_observation, valid_rows
from dbrrl.config import Config
from dbrrl.errors import CheckpointError, ConfigError, SpaceError

from .experiment.stub import OtherStub, Stub, StubConfig

BOX = gym.spaces.Box(-1, 1, (3,), np.float32)


def make() -> Stub:
    return Stub(BOX, gym.spaces.Discrete(2), StubConfig(learning_rate=0.1), num_envs=2, seed=3)


def test_the_stub_keeps_the_protocol() -> None:
    testing.check_agent(make)


def test_spaces_that_are_not_served_are_named() -> None:
    with pytest.raises(SpaceError, match=r"stub serves actions of the spaces Discrete, got MultiBinary\(2\)"):
        Stub(BOX, gym.spaces.MultiBinary(2))
    with pytest.raises(SpaceError, match="stub serves observations of the spaces Box, got Discrete"):
        Stub(gym.spaces.Discrete(2), gym.spaces.Discrete(2))


def test_a_saved_agent_comes_back_whole(tmp_path: Path) -> None:
    agent = make()
    agent.act(np.ones((2, 3), np.float32))
    agent.save(tmp_path / "x")
    back = Stub.load(tmp_path / "x")
    assert (back.observation_space, back.action_space) == (agent.observation_space, agent.action_space)
    assert (back.config, back.num_envs, back.seed, back.name) == (agent.config, 2, 3, "stub")
    assert checkpoint.encode(back.record(), kind="agent") == checkpoint.encode(agent.record(), kind="agent")


def test_another_agents_file_is_refused(tmp_path: Path) -> None:
    OtherStub(BOX, gym.spaces.Discrete(2)).save(tmp_path / "x")
    with pytest.raises(CheckpointError, match="holds the agent 'other', expected 'stub'"):
        Stub.load(tmp_path / "x")


@pytest.mark.parametrize(
    "damage",
    [
        {"config": {"learning_rate": -1}},
        {"config": {"unknown": 1}},
        {"config": None},
        {"spaces": {}},
        {"spaces": {"observation": 1, "action": 2}},
        {"num_envs": "many"},
        {"num_envs": -3},
        {"state": {}},
        {"state": {"weights": np.zeros((9, 9)), "noise": 1, "num_updates": 0, "generator": {}}},
    ],
)
def test_a_record_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, damage: dict) -> None:
    checkpoint.save(tmp_path / "x", make().record() | damage, kind="agent")
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        Stub.load(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_final_observations_of_gymnasium_are_put_where_an_episode_ended() -> None:
    final = np.array([None, np.full(2, 7.0)], dtype=object)
    given = np.zeros((2, 2))
    true = true_next_observation(given, {"final_obs": final, "_final_obs": np.array([False, True])})
    assert true.tolist() == [[0, 0], [7, 7]] and given.sum() == 0
    assert true_next_observation(given, {"other": 1}) is given
    final = np.array([{"a": np.array([5.0])}, None], dtype=object)
    assert true_next_observation({"a": np.zeros((2, 1))}, {"final_obs": final})["a"].tolist() == [[5], [0]]


def test_the_same_from_gymnasiums_own_vector_environment() -> None:
    mode = gym.vector.AutoresetMode.SAME_STEP
    envs = gym.make_vec("CartPole-v1", 4, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    envs.reset(seed=0)
    ended = 0
    for _ in range(40):
        observation, _, terminated, _, info = envs.step(np.zeros(4, np.int64))
        true = true_next_observation(observation, info)
        ended += terminated.sum()
        # Past 12 degrees or 2.4 metres the pole has fallen; a fresh episode begins within 0.05 of the middle.
        assert (np.abs(true[terminated, 2]) > 0.2).all() and (np.abs(observation[terminated]) <= 0.05).all()
    assert ended > 4
    envs.close()


def test_rows_without_a_transition() -> None:
    assert valid_rows(None, 3).tolist() == valid_rows({}, 3).tolist() == [True] * 3
    assert valid_rows({"valid": [True, False, True]}, 3).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"config": {"learning_rate": 1}}, r"config: expected the Config of stub, got dict: write Stub\.Config"),
        ({"config": Config()}, "config: expected the Config of stub, got Config"),
        ({"num_envs": 0}, "num_envs: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_said(options: dict, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        Stub(BOX, gym.spaces.Discrete(2), **options)
