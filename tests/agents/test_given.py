"""A wrong argument of `observe` is named at once by every agent: environment, field and cure."""

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents
from dbrrl.distributions import Normal
from dbrrl.errors import AnomalyError, DbrrlError, EnvError, ShapeError
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.off_policy import OffPolicyAgent

from .feeding import actions_for

ALL = sorted(agents.__all__)
BOX = gym.spaces.Box(-1, 1, (3,), np.float32)
NESTED = gym.spaces.Dict({"a": BOX, "b": gym.spaces.Dict({"c": BOX})})


def make(name: str, num_envs: int = 2, space: Any = BOX, **settings: Any) -> Any:
    kind = getattr(agents, name)
    return kind(space, actions_for(kind), kind.Config(**settings), num_envs=num_envs)


def transition(num_envs: int = 2) -> dict[str, Any]:
    none = np.zeros(num_envs, np.bool_)
    observation = np.zeros((num_envs, 3), np.float32)
    return {"next_observation": observation, "reward": np.zeros(num_envs), "terminated": none, "truncated": none}


def feed(agent: Any, *changes: dict[str, Any], observation: Any = None) -> None:
    for given in changes:
        agent.act(np.zeros((2, 3), np.float32) if observation is None else observation)
        agent.observe(**transition() | given)


def refused(agent: Any, kind: type[DbrrlError], line: str, **given: Any) -> None:
    """`observe` raises at once, before anything is stored."""
    agent.act(np.zeros((agent.num_envs, 3), np.float32))
    with pytest.raises(kind, match=line):
        agent.observe(**transition(agent.num_envs) | given)
    agent.observe(**transition(agent.num_envs))  # the row is still open


@pytest.mark.parametrize("name", ALL)
def test_rewards_that_are_not_one_number_each(name: str) -> None:
    two, one = make(name), make(name, num_envs=1)
    for reward in (np.zeros((2, 1)), np.zeros(3), 1.0):
        refused(two, ShapeError, r"observe\(\): expected reward of shape \(2,\), got \((2, 1|3,)?\)", reward=reward)
    refused(one, ShapeError, r"expected reward of shape \(1,\), got \(1, 1\)", reward=np.zeros((1, 1)))
    for reward in (np.array(["1.0", "2.0"]), np.array([1.0, None]), ["a", "b"]):
        refused(two, EnvError, "reward: expected numbers, got .*: convert it", reward=reward)
    refused(two, EnvError, "reward: expected numbers, got None: convert it", reward=np.array([1.0, None]))
    refused(one, EnvError, "reward: expected numbers, got .*'high'.*: convert it", reward="high")
    refused(two, EnvError, "terminated: expected numbers, got .*'no'", terminated=np.array(["no", "no"]))
    refused(two, ShapeError, "expected truncated of shape", truncated=np.zeros((2, 1), np.bool_))


@pytest.mark.parametrize("name", ALL)
def test_rows_with_a_transition_are_marked_by_one_boolean_each(name: str) -> None:
    two, one = make(name), make(name, num_envs=1)
    line = r"observe\(\): expected valid as bool of shape \(2,\), got .*: give False"
    for valid in (np.ones(3, np.bool_), np.ones((2, 1), np.bool_), True, np.array([1, 0]), [0, 1], ["a", "b"]):
        refused(two, ShapeError, line, valid=valid)
    refused(one, ShapeError, r"expected valid as bool of shape \(1,\)", valid=np.ones(2, np.bool_))
    feed(two, {"valid": [True, False]}, {"valid": np.array([False, True])}, {"valid": np.zeros(2, np.bool_)})
    one.act(np.zeros((1, 3), np.float32))
    one.observe(**transition(1), valid=True)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("clip_reward", [False, True])
@pytest.mark.parametrize("reward", [1e308, -1e308, 4e38, np.inf, -np.inf, np.nan])
def test_a_reward_that_float32_does_not_hold(name: str, clip_reward: bool, reward: float) -> None:
    line = re.escape(f"reward: expected a finite number of at most 3.4e+38 (float32), got {reward}")
    refused(make(name, clip_reward=clip_reward), EnvError, f"{line} in environment 1", reward=np.array([0.0, reward]))
    many = np.zeros(20)
    many[17] = reward
    refused(make(name, 20, clip_reward=clip_reward), EnvError, f"{line} in environment 17", reward=many)
    refused(make(name, 1), EnvError, f"{line} in environment 0", reward=reward)


@pytest.mark.parametrize("name", ALL)
def test_large_rewards_pass(name: str) -> None:
    agent = make(name)
    agent.act(np.zeros((2, 3), np.float32))
    agent.observe(**transition() | {"reward": np.array([3.4e38, -3.4e38])})
    agent = make(name, 20)
    agent.act(np.zeros((20, 3), np.float32))
    agent.observe(**transition(20) | {"reward": np.full(20, 3.4e38)})


@pytest.mark.parametrize("name", ALL)
def test_another_number_of_rows(name: str) -> None:
    for rows in (1, 3):
        agent = make(name)
        agent.act(np.zeros((2, 3), np.float32))
        with pytest.raises(ShapeError, match=f"expected observations of 2 environments .* got {rows}: make the agent"):
            agent.observe(**transition() | {"next_observation": np.zeros((rows, 3), np.float32)})


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("PPO", "A2C", "IMPALA", "REINFORCE", "TRPO")])
@pytest.mark.parametrize("nested", [False, True])
def test_observations_that_are_not_finite(name: str, nested: bool) -> None:
    for value in (np.nan, np.inf):
        agent = make(name, space=NESTED if nested else BOX)
        rows = [np.zeros((2, 3), np.float32) for _ in range(2)]
        observation: Any = {"a": rows[0], "b": {"c": rows[1]}} if nested else rows[1]
        agent.act(observation)
        rows[1][1, 2] = value
        field = r"observation\['b'\]\['c'\]" if nested else "observation"
        with pytest.raises(EnvError, match=f"^{field}: expected finite numbers, got {value} in environment 1: correct"):
            agent.observe(**transition() | {"next_observation": observation})


class Swinging(OffPolicyAgent):
    """Its actions are not finite."""

    Config = OffPolicyConfig
    action_spaces = (gym.spaces.Box,)

    def make_networks(self, rng: np.random.Generator) -> None:
        """It has none."""

    def update(self, batch: Any) -> dict[str, float]:
        return {}

    def explore(self, observation: Any) -> np.ndarray:
        return np.full((len(observation), 1), np.nan, np.float32)


@pytest.mark.parametrize("where", ["reward", "next_observation"])
def test_an_agent_whose_action_is_not_finite_is_named_and_not_the_environment(where: str) -> None:
    agent = Swinging(BOX, gym.spaces.Box(-2, 2, (1,)), num_envs=2, seed=0)
    agent.act(np.zeros((2, 3), np.float32))
    given = {"reward": np.full(2, np.nan), "next_observation": np.full((2, 3), np.nan, np.float32)}
    with pytest.raises(AnomalyError, match=r"^environment 0, action: expected a finite number from the agent's"):
        agent.observe(**transition() | {where: given[where]})


@pytest.mark.parametrize("name", ["PPO", "A2C", "A3C", "IMPALA", "REINFORCE", "TRPO"])
@pytest.mark.parametrize("where", ["reward", "next_observation"])
def test_the_same_of_an_agent_with_rollouts(name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = getattr(agents, name)
    agent = kind(BOX, gym.spaces.Box(-2, 2, (2,)), kind.Config(n_steps=2), num_envs=2, seed=0)
    monkeypatch.setattr(Normal, "sample", lambda self, rng: self.mean.array * [1, np.nan])
    given = {"reward": np.full(2, np.nan), "next_observation": np.full((2, 3), np.nan, np.float32)}
    with pytest.raises(AnomalyError, match=r"^(environment 0, )?action.*: expected .* from the agent's act\(\)"):
        feed(agent, {where: given[where]}, {where: given[where]})


def test_an_action_upon_an_observation_that_is_not_finite_is_no_fault_of_the_agents() -> None:
    agent = Swinging(BOX, gym.spaces.Box(-2, 2, (1,)), num_envs=2, seed=0)
    nan = np.full((2, 3), np.nan, np.float32)
    agent.act(nan)
    with pytest.raises(EnvError, match=r"^observation: expected finite numbers"):
        agent.observe(**transition() | {"next_observation": nan})


@pytest.mark.parametrize("name", ["PPO", "A2C", "A3C", "IMPALA", "REINFORCE", "TRPO"])
def test_a_final_observation_that_is_not_finite(name: str) -> None:
    agent = make(name, n_steps=2)
    final = np.array([[0, 0, 0], [0, 0, np.nan]], np.float32)
    cut = np.array([False, True])
    with pytest.raises(EnvError, match=r"observation: expected finite numbers, got .*nan.* in environment 1"):
        feed(agent, {"next_observation": final, "truncated": cut}, {})


@pytest.mark.parametrize(
    "name", [name for name in ALL if name not in ("PPO", "A2C", "A3C", "IMPALA", "REINFORCE", "TRPO")]
)
def test_the_first_observation_of_an_episode_that_is_not_finite(name: str) -> None:
    agent = make(name, learning_starts=1, batch_size=8, update_interval=1)
    place = "at .* of the batch" if name == "DRQN" else "in environment 1, at index"  # sequences have no index
    with (
        np.errstate(all="ignore"),
        pytest.raises(AnomalyError, match=f"observation: expected finite numbers, got nan {place}"),
    ):
        feed(agent, *[{}] * 50, observation=np.array([[0, 0, 0], [0, np.nan, 0]], np.float32))
