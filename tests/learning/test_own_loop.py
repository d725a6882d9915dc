"""Mistakes in your own loop: an old-style observe, a missing num_envs, resets among transitions."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dbrrl import agents, nn
from dbrrl.agents import PPO
from dbrrl.errors import ArgumentError, ShapeError
from dbrrl.experiment import Experiment
from dbrrl.learning.own_loop import ResetWatch
from tests.agents.feeding import actions_for

every_agent = pytest.mark.parametrize("name", agents.__all__)
BOX, TWO = gym.spaces.Box(-1.0, 1.0, (3,), np.float32), gym.spaces.Discrete(2)
DICT = gym.spaces.Dict({"seen": BOX, "where": gym.spaces.Discrete(3)})
NO = np.zeros(2, bool)
ON_POLICY = ("PPO", "A2C", "A3C", "IMPALA", "REINFORCE", "TRPO")


def made(name: str, space: Any = BOX, action: Any = None, *, num_envs: int = 1, **settings: Any) -> Any:
    """An agent with small buffers."""
    kind: Any = getattr(agents, name)
    buffers = {"n_steps": 8} if name in ON_POLICY else {"buffer_size": 64}
    return kind(space, action or actions_for(kind), kind.Config(**buffers, **settings), num_envs=num_envs, seed=0)


def zeros(space: Any, rows: int) -> Any:
    """A batch of observations."""
    return {"seen": zeros(BOX, rows), "where": np.zeros(rows, int)} if space is DICT else np.zeros((rows, 3), "f4")


@every_agent
def test_an_old_style_observe_is_answered_with_the_new_one(name: str) -> None:
    agent = made(name)
    agent.act(np.zeros(3, np.float32))
    line = r"got dict, the info of .*: write observe\(next_observation, reward, terminated, truncated, info\)"
    with pytest.raises(ArgumentError, match=line):
        agent.observe(np.zeros(3, np.float32), 1.0, False, {"TimeLimit.truncated": True})
    agent.observe(np.zeros(3, np.float32), 1.0, False, True, {})  # nothing was kept of it
    agent = made(name, num_envs=2)
    agent.act(np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="got list, the info of a step"):
        agent.observe(np.zeros((2, 3), np.float32), np.ones(2), NO, [{}, {}])


@every_agent
@pytest.mark.parametrize("info", [True, False, [{}]])
def test_an_info_that_is_no_dict_is_answered_with_the_right_call(name: str, info: Any) -> None:
    agent = made(name)
    agent.act(np.zeros(3, np.float32))
    with pytest.raises(ArgumentError, match=r"expected info as a dict, .*, got .*: write observe\(next_observation"):
        agent.observe(np.zeros(3, np.float32), 1.0, False, False, info)
    agent.observe(np.zeros(3, np.float32), 1.0, False, True, {})


@pytest.mark.parametrize("space", [BOX, DICT], ids=["box", "dict"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, {}) for name in agents.__all__] + [(name, {"recurrent": "lstm"}) for name in ON_POLICY],
)
def test_a_missing_num_envs_is_named_by_the_first_act(name: str, settings: dict[str, Any], space: Any) -> None:
    agent = made(name, space, **settings)
    with pytest.raises(ShapeError, match=r"^act\(\): .* of 1 environments .*got 8.*: make the agent with num_envs=8, "):
        agent.act(zeros(space, 8))


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, {}) for name in agents.__all__]
    + [(name, {"normalize_reward": True}) for name in ON_POLICY]
    + [(name, {"recurrent": "gru"}) for name in ON_POLICY],
)
def test_a_missing_num_envs_is_named_by_the_first_observe_where_the_space_is_the_batched_one(
    name: str, settings: dict[str, Any]
) -> None:
    agent = made(name, gym.spaces.Box(-1.0, 1.0, (8, 3), np.float32), **settings)
    agent.act(np.zeros((8, 3), np.float32))
    line = r"^observe\(\): expected reward of shape \(1,\), got \(8,\): .* the agent with num_envs=8 and single_"
    with pytest.raises(ShapeError, match=line):
        agent.observe(np.zeros((8, 3), np.float32), np.ones(8), np.zeros(8, bool), np.zeros(8, bool), {})


class Walk(gym.Env[Any, int]):
    """An episode of a few steps without rewards but at its end; it may show always the same, or begin where it ends."""

    observation_space: Any = BOX

    def __init__(self, length: int = 3, shows: str = "place", nested: bool = False, action: Any = TWO) -> None:
        self.action_space = action
        self.length, self.shows, self.place = length, shows, 0
        if nested:
            self.observation_space = DICT
        self.nested = nested

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        self.place = 0
        return self.seen(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 1
        ended = self.place == self.length
        return self.seen(), float(ended), ended, False, {}

    def seen(self) -> Any:
        """The observation."""
        place = {"place": self.place, "same": 0, "ring": self.place % self.length}[self.shows]
        vector = np.full(3, place / 10, np.float32)
        return {"seen": vector, "where": np.int64(place % 3)} if self.nested else vector


def played(name: str, mode: AutoresetMode, *, steps: int = 24, says: bool = False, **kwargs: Any) -> int:
    """How often an agent warned in a loop over two environments."""
    kwargs["action"] = actions_for(getattr(agents, name))
    envs = SyncVectorEnv([lambda: Walk(3, **kwargs), lambda: Walk(4, **kwargs)], autoreset_mode=mode)
    agent = made(name, envs.single_observation_space, envs.single_action_space, num_envs=2)
    observation, _ = envs.reset(seed=0)
    ended = np.zeros(2, bool)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            observation, reward, terminated, truncated, info = envs.step(agent.act(observation))
            told = {"valid": ~ended} if says else {}
            agent.observe(observation, reward, terminated, truncated, info, **told)
            ended = terminated | truncated
            if mode is AutoresetMode.DISABLED and ended.any():
                observation, _ = envs.reset(options={"reset_mask": ended})
    assert {warning.filename for warning in caught} <= {__file__}
    return sum("NEXT_STEP" in str(warning.message) for warning in caught)


@every_agent
@pytest.mark.parametrize("nested", [False, True])
def test_resets_that_come_as_transitions_are_warned_of_once(name: str, nested: bool) -> None:
    assert played(name, AutoresetMode.NEXT_STEP, nested=nested) == 1
    assert played(name, AutoresetMode.NEXT_STEP, nested=nested, says=True) == 0


@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
@pytest.mark.parametrize("shows", ["place", "same", "ring"])
def test_the_other_modes_are_not_warned_of(name: str, shows: str) -> None:
    assert played(name, AutoresetMode.SAME_STEP, shows=shows) == 0
    if shows != "ring":  # there an episode begins with the observation that the last one ended with
        assert played(name, AutoresetMode.DISABLED, shows=shows) == 0


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1", "Acrobot-v1"])
def test_what_gymnasium_does_by_default_is_found_in_its_own_environments(env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=4, vectorization_mode="sync", max_episode_steps=20)
    agent = made("PPO", envs.single_observation_space, envs.single_action_space, num_envs=4)
    observation, _ = envs.reset(seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(100):
            observation, reward, terminated, truncated, info = envs.step(agent.act(observation))
            agent.observe(observation, reward, terminated, truncated, info)
    (message,) = {str(warning.message) for warning in caught}
    assert "autoreset mode NEXT_STEP" in message and "pass observe(..., valid=~ended)" in message


def test_the_watch_ends_with_the_first_episode_that_begins_otherwise() -> None:
    agent = made("PPO", num_envs=2)
    final, first, ended = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.ones(2, bool)
    agent.act(first)
    assert not agent.watch.over
    agent.observe(final, np.zeros(2), ended, NO)
    agent.act(first)
    agent.observe(final, np.zeros(2), NO, NO)
    assert agent.watch.over


def test_one_environment_is_not_watched_and_the_runner_is_not_either() -> None:
    agent = made("PPO")
    agent.act(np.zeros(3, np.float32))
    agent.observe(np.zeros(3, np.float32), 0.0, False, False, {})
    assert agent.watch.over
    settings = {"num_envs": 2, "n_steps": 8, "steps": 64, "final_episodes": 1, "progress": False}
    run = Experiment("ppo", f"{__name__}:Ring", **settings).run()  # without a warning
    assert not run.agent.watch.over  # it was told nothing


class Ring(Walk):
    """Ends where it begins."""

    def __init__(self) -> None:
        super().__init__(3, shows="ring")


def test_a_reward_or_an_end_is_no_reset() -> None:
    first, final = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    for reward, terminated in ((np.ones(2), NO), (np.zeros(2), ~NO)):
        watch = ResetWatch()
        watch.observed(final, np.zeros(2), ~NO, NO, said=False)
        watch.acted(final)
        watch.observed(first, reward, terminated, NO, said=False)
        assert watch.over


def test_what_an_agent_learns_is_the_same_with_and_without_the_watch() -> None:
    def weights(watched: bool) -> bytes:
        envs = SyncVectorEnv([Walk, Walk], autoreset_mode=AutoresetMode.SAME_STEP)
        agent = PPO(BOX, TWO, PPO.Config(n_steps=8), num_envs=2, seed=0)
        agent.watch.over = not watched
        observation, _ = envs.reset(seed=0)
        for _ in range(32):
            observation, reward, terminated, truncated, info = envs.step(agent.act(observation))
            agent.observe(observation, reward, terminated, truncated, info)
        return bytes(nn.parameters_to_vector(agent.network).tobytes())

    assert weights(True) == weights(False)
