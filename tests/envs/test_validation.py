"""Broken contracts: environment, step, field, what was expected and the cure, in one line."""

import os
import sys
import traceback
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fragile import Ours

from dbrrl.envs import Environments, make
from dbrrl.errors import AnomalyError, EnvError
from tests.experiment.odd import OddVector


def seed() -> np.random.SeedSequence:
    return np.random.SeedSequence(0)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("nan", r"observation \(element 1\): expected a finite number, got nan: correct"),
        ("final", r"observation \(element 0\): expected a finite number, got inf: correct"),
        ("dtype", "observation: expected dtype float32, got float64: convert it"),
        ("shape", r"observation: expected shape \(2,\), got \(2, 1\): return"),
        ("ragged", "observation: expected one array, got rows of different lengths: pad"),
        ("reward", "reward: expected a finite number, got inf: correct"),
        ("array", r"reward: expected one number, got shape \(1,\): return a float"),
        ("four", r"step\(\): expected \(observation, .* info\), got 4 values: return"),
        ("info", r"info: expected a dict, got NoneType: return \{\}"),
        ("raises", r"step\(\): raised OSError: the motor is stuck at .*fragile.py:\d+: correct"),
        ("exits", r"step\(\): raised SystemExit: 3 at"),
        ("reset raises", r"reset\(\): raised ValueError: no way back at .*fragile.py:\d+: correct"),
    ],
)
def test_broken_contract_is_named(kind: str, broken: str, line: str, capfd: Any) -> None:
    environments = make("fragile:Broken", 3, seed=seed(), vectorization=kind, env_kwargs={"broken": broken})
    environments.reset()
    action = np.array([0, 0, 1])
    environments.step(action)
    environments.step(action)
    with pytest.raises(EnvError, match=rf"^environment 2 \(fragile:Broken\), step 3, {line}") as caught:
        environments.step(action)
    assert "\n" not in str(caught.value)
    environments.close()
    assert capfd.readouterr().err == ""


def step_thrice(environments: Environments, *actions: int) -> None:
    for _ in range(3):
        environments.step(np.array(actions))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_an_environment_raises_can_be_traced(kind: str) -> None:
    options = {"vectorization": kind, "env_kwargs": {"broken": "raises"}}
    environments = make("fragile:Broken", 2, seed=seed(), **options)  # type: ignore[arg-type]
    environments.reset()
    with pytest.raises(EnvError, match="environment 0") as caught:
        step_thrice(environments, 1, 1)
    traced = "".join(traceback.format_exception(caught.value))
    assert 'raise OSError("the motor\\nis stuck")' in traced and traced.count("in step") > 1
    assert (type(caught.value.__cause__) is OSError) == (kind == "sync")
    environments.close()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_process_that_dies_is_named_and_the_others_end(capfd: Any) -> None:
    environments = make("fragile:Broken", 3, seed=seed(), vectorization="async", env_kwargs={"broken": "dies"})
    environments.reset()
    with pytest.raises(EnvError, match=r"^environment 1 \(fragile:Broken\), step 3, its process died \(exit code -9\)"):
        step_thrice(environments, 0, 1, 0)
    environments.close()
    assert not any(worker.is_alive() for worker in environments.vector_env.unwrapped.processes)  # type: ignore[attr-defined]
    environments.close()
    del environments
    assert capfd.readouterr().err == ""


def test_a_reset_without_info_is_named() -> None:
    environments = make("fragile:Broken", 2, seed=seed(), env_kwargs={"broken": "no info"})
    with pytest.raises(EnvError, match=r"step 0, reset\(\): expected \(observation, info\), got ndarray: return"):
        environments.reset()


def test_broken_reset_is_named() -> None:
    environments = make("fragile:Broken", 2, seed=seed(), env_kwargs={"broken": "reset"})
    with pytest.raises(EnvError, match=r"environment 0 \(fragile:Broken\), step 0, observation: expected shape"):
        environments.reset()


class Lying(Ours):
    """A vector environment whose batches are wrong."""

    def __init__(self, broken: str) -> None:
        super().__init__(3)
        self.broken = broken

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(actions)
        if self.broken == "dtype":
            observation = observation.astype(np.float64)
        if self.broken == "shape":
            observation = observation[:, 0]
        if self.broken == "nan":
            observation[1] = np.nan
        if self.broken == "reward":
            reward = reward[:, None]
        if self.broken == "list":
            observation = observation.tolist()
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("dtype", "environment 0 .Lying., step 1, observation: expected dtype float32, got float64"),
        ("shape", r"environment 0 .Lying., step 1, observation: expected shape \(3, 1\), got \(3,\)"),
        ("nan", "environment 1 .Lying., step 1, observation: expected a finite number, got nan"),
        ("reward", r"environment 0 .Lying., step 1, reward: expected shape \(3,\), got \(3, 1\)"),
        ("list", "environment 0 .Lying., step 1, observation: expected dtype float32, got float64"),
    ],
)
def test_wrong_batches_are_named(broken: str, line: str) -> None:
    environments = Environments(Lying(broken), "Lying", seed=seed())
    environments.reset()
    with pytest.raises(EnvError, match=line):
        environments.step(np.zeros(3, np.int64))


def test_large_but_finite_numbers_pass() -> None:
    """Their dot product overflows: then each is looked at."""

    class Large(Ours):
        def step(self, actions: Any) -> Any:
            _, reward, terminated, truncated, info = super().step(actions)
            return np.full((2, 1), 3e38, np.float32), reward * 1e37, terminated, truncated, info

    environments = Environments(Large(2), "Large", seed=seed())
    environments.reset()
    assert environments.step(np.zeros(2, np.int64)).next_observation[0, 0] == np.float32(3e38)


def test_part_of_a_nested_observation_is_named() -> None:
    environments = make("fragile:Walk", 2, seed=seed())
    environments.reset()
    for copy in environments.vector_env.envs:
        walk: Any = copy.unwrapped
        walk.at = walk.at * np.array([1.0, np.nan])
    with pytest.raises(EnvError, match=r"environment 0 .*, step 1, observation\['where'\] \(element 1\): expected"):
        environments.step(np.zeros((2, 2), np.int64))


def play(environments: Environments) -> None:
    environments.reset()
    for _ in range(3):
        environments.step(np.array([0, 1]))


class Faulty(OddVector):
    """A user's vector environment that breaks the contract at its third step."""

    def __init__(self, num_envs: int, how: str) -> None:
        super().__init__(num_envs)
        self.how, self.count = how, 0

    def reset(self, **options: Any) -> Any:
        if self.how == "reset raises":
            raise RuntimeError("no way\nin")
        return (super().reset(**options)[0],) if self.how == "reset one" else super().reset(**options)

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(actions)
        self.count += 1
        if self.count < 3:
            return observation, reward, terminated, truncated, info
        if self.how == "raises":
            raise ValueError("could not broadcast")
        if self.how == "closes":
            raise ConnectionError("the simulator is gone")
        if self.how == "exits":
            sys.exit(3)
        if self.how == "four":
            return observation, reward, terminated, info
        if self.how == "info":
            return observation, reward, terminated, truncated, None
        given = {
            "text": np.array(["1.0", "2.0"]),
            "column": reward[:, None],
            "object": np.array([1.0, None]),
            "large": np.array([0.0, 1e308]),
            "nan": np.array([0.0, np.nan]),
        }
        if self.how == "flags":
            terminated = np.array(["False", "False"])
        return observation, given.get(self.how, reward), terminated, truncated, info


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("reset raises", r"^Faulty, step 0, reset\(\): raised RuntimeError: no way in at .*validation.py:\d+: correct"),
        ("reset one", r"^Faulty, step 0, reset\(\): expected \(observation, info\), got 1 values"),
        ("raises", r"^Faulty, step 3, step\(\): raised ValueError: could not broadcast at .*py:\d+: correct"),
        ("closes", r"^environment 0 \(Faulty\), step 3, step\(\): raised ConnectionError: the simulator is gone"),
        ("exits", r"^Faulty, step 3, step\(\): raised SystemExit: 3"),
        ("four", r"^Faulty, step 3, step\(\): expected \(observation, .* info\), got 4 values"),
        ("info", r"^Faulty, step 3, info: expected a dict, got NoneType"),
        ("text", r"^environment 0 \(Faulty\), step 3, reward: expected numbers, got .*'1.0'"),
        ("object", r"^environment 0 \(Faulty\), step 3, reward: expected numbers, got 1.0"),
        ("column", r"^environment 0 \(Faulty\), step 3, reward: expected shape \(2,\), got \(2, 1\)"),
        ("large", r"^environment 1 \(Faulty\), step 3, reward: expected at most 3.4e\+38 \(float32\), got 1e\+308"),
        ("nan", r"^environment 1 \(Faulty\), step 3, reward: expected a finite number, got nan"),
        ("flags", r"^environment 0 \(Faulty\), step 3, terminated: expected bools, got .*'False'"),
    ],
)
def test_a_vector_environment_of_your_own_that_fails_is_named(how: str, line: str) -> None:
    environments = Environments(Faulty(2, how), "Faulty", seed=seed())
    with pytest.raises(EnvError, match=line):
        play(environments)


class Pushed(gym.Env[Any, Any]):
    """Adds the action to its observation, or to its reward, or ignores it, or refuses one that is not in its space."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, where: str) -> None:
        self.where = where

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        if self.where == "refused" and not self.action_space.contains(action):
            raise ValueError("not an action")
        observation = action.astype(np.float32) if self.where == "observation" else np.zeros(2, np.float32)
        return observation, float(action.sum()) if self.where == "reward" else 0.0, False, False, {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("where", ["observation", "reward", "refused"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_the_agents_fault(vectorization: str, where: str, value: float) -> None:
    options: Any = {"env_kwargs": {"where": where}, "vectorization": vectorization}
    environments = make("test_validation:Pushed", 3, seed=seed(), **options)
    environments.reset()
    action = np.zeros((3, 2), np.float32)
    environments.step(action)
    action[2, 1] = value
    place = r"environment 2 \(test_validation:Pushed\), step 2, action \(element 1\)"
    line = rf"{place}: expected a finite number from the agent's act\(\), got {value}: lower the learning rate"
    with pytest.raises(AnomalyError, match=f"^{line}"):
        environments.step(action)
    environments.close()


def test_actions_that_are_not_finite_are_found_where_the_environment_ignores_them() -> None:
    nan, zeros = np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), np.float32)
    environments = make("test_validation:Pushed", 2, seed=seed(), env_kwargs={"where": ""}, vectorization="sync")
    environments.reset()
    with pytest.raises(AnomalyError, match=r"^environment 0 .*, step 1, action \(element 0\)"):
        environments.step(nan)
    environments.step(zeros)
    for _ in range(30):
        environments.step(nan)
    with pytest.raises(AnomalyError, match=r"^environment 0 .*, step 33, action \(element 0\)"):
        environments.step(nan)
    environments.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_reward_beyond_float32_is_named(vectorization: str) -> None:
    environments = make("fragile:Broken", 2, seed=seed(), env_kwargs={"broken": "large"}, vectorization=vectorization)
    with pytest.raises(EnvError, match=r"environment 1 \(fragile:Broken\), step 3, reward: expected at most 3.4e\+38"):
        play(environments)
    environments.close()
