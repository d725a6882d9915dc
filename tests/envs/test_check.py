"""check_env: every environment of ours passes, and each broken rule is named in one line."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

import dbrrl.envs  # noqa: F401 - registers dbrrl/*
from dbrrl.envs.check import check_env
from dbrrl.envs.registration import BATCHED, OWN, TOYS
from dbrrl.errors import EnvError


@pytest.mark.parametrize("env_id", [*BATCHED, *OWN, *TOYS])
def test_each_of_our_environments_passes(env_id: str) -> None:
    check_env(gym.make(f"dbrrl/{env_id}"))


@pytest.mark.parametrize("env_id", [*BATCHED, *OWN, *TOYS])
def test_each_of_our_environments_passes_gymnasiums_checker(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(symmetric|normalized|infinity|render).*")
        gymnasium_check(gym.make(f"dbrrl/{env_id}").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasiums_pass(env_id: str) -> None:
    check_env(gym.make(env_id))


class Fragile(gym.Env[Any, Any]):
    """Breaks one rule: that which its argument names."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, broken: str = "") -> None:
        self.broken, self.count, self.buffer = broken, 0, np.zeros(2, np.float32)
        self.total = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        if self.broken == "reset":
            return self._observe()
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        self.total += 1
        terminated: Any = self.count >= 5
        reward: Any = {"reward": np.ones(1), "infinite": np.inf}.get(self.broken, 1.0)
        if self.broken == "flag":
            terminated = int(terminated)
        info: Any = None if self.broken == "info" else {}
        if self.broken == "four":
            return self._observe(), reward, terminated, info
        return self._observe(), reward, terminated, False, info

    def _observe(self) -> Any:
        late = self.count == 5
        if self.broken == "dtype":
            return np.zeros(2)
        if self.broken == "shape" and late:
            return np.zeros(3, np.float32)
        if self.broken == "nan" and late:
            return np.array([0.0, np.nan], np.float32)
        if self.broken == "outside" and late:
            return np.array([0.0, 2.0], np.float32)
        if self.broken == "seed":
            return np.full(2, self.total / 1000, np.float32)
        if self.broken == "buffer":
            self.buffer += 0.01
            return self.buffer
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


def enforced(broken: str) -> gym.Env[Any, Any]:
    return gym.wrappers.OrderEnforcing(Fragile(broken))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("dtype", "Fragile: reset, observation: expected dtype float32, got float64: convert it"),
        ("shape", r"Fragile: step 5, observation: expected shape \(2,\), got \(3,\)"),
        ("nan", "Fragile: step 5, observation: expected finite numbers"),
        ("outside", "Fragile: step 5, observation: .* is outside Box"),
        ("reward", r"Fragile: step 1, reward: expected one number, got shape \(1,\)"),
        ("infinite", "Fragile: step 1, reward: expected a finite number, got inf"),
        ("flag", "Fragile: step 1, terminated: expected a bool, got int"),
        ("info", "Fragile: step 1, info: expected a dict, got NoneType"),
        ("four", "Fragile: step 1: expected observation, reward, terminated, truncated and info"),
        ("reset", "Fragile: reset: expected an observation and an info dict"),
        ("seed", "the same seed and actions gave something else the second time"),
        ("buffer", "the observation returned before was changed: return a new array"),
    ],
)
def test_broken_rule_is_named(broken: str, message: str) -> None:
    with pytest.raises(EnvError, match=message) as caught:
        check_env(enforced(broken))
    assert "\n" not in str(caught.value)


def test_step_before_reset_must_be_an_error() -> None:
    with pytest.raises(EnvError, match=r"step\(\) before the first reset\(\) was accepted"):
        check_env(Fragile())
    check_env(enforced(""))


def test_action_space_is_left_as_it_is() -> None:
    env = enforced("")
    env.action_space.seed(5)
    state = env.action_space.np_random.bit_generator.state
    check_env(env)
    assert env.action_space.np_random.bit_generator.state == state
