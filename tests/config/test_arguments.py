"""Calls that no agent and no Config takes: the error names the right call, and is a TypeError as Python's own."""

import copy
import dataclasses
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents
from dbrrl.agents import C51, PPO
from dbrrl.config import Config, setting
from dbrrl.errors import ArgumentError, ConfigError

SPACES = gym.spaces.Box(-1.0, 1.0, (3,), np.float32), gym.spaces.Discrete(2)
every_agent = pytest.mark.parametrize("name", agents.__all__)


@every_agent
def test_a_setting_given_as_an_argument_is_shown_its_place(name: str) -> None:
    agent = getattr(agents, name)
    with pytest.raises(ConfigError) as caught:
        agent(*SPACES, learning_rate=0.5, num_envs=2, gamma=0.9)
    call = f"{name}(observation_space, action_space, {name}.Config(learning_rate=0.5, gamma=0.9))"
    assert str(caught.value) == f"{name}: learning_rate, gamma: expected settings in the config: write {call}"
    assert isinstance(caught.value, TypeError)


@every_agent
@pytest.mark.parametrize(("given", "meant"), [("n_envs", "num_envs"), ("lr", "learning_rate"), ("sed", "seed")])
def test_an_unknown_argument_is_answered_with_the_nearest(name: str, given: str, meant: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name}: unknown argument '{given}'; did you mean '{meant}'\?"):
        getattr(agents, name)(*SPACES, **{given: 1})


@every_agent
def test_what_is_written_in_stable_baselines_is_said_how_it_is_done_here(name: str) -> None:
    agent: Any = getattr(agents, name)
    env = gym.make("CartPole-v1")
    calls: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("MlpPolicy", env), {}, "'MlpPolicy'"),
        (("MlpPolicy", env), {"verbose": 1, "learning_rate": 1e-3}, "'MlpPolicy'"),
        (("MlpPolicy", "CartPole-v1"), {}, "'MlpPolicy'"),
        ((), {"policy": "MlpPolicy", "env": env}, "TimeLimit"),
        ((env,), {}, "TimeLimit"),
        ((env.observation_space, env), {}, "TimeLimit"),
    ]
    call = rf"write {name}\(env.observation_space, env.action_space, {name}.Config\(\)\) .*dbrrl.Experiment\('"
    for arguments, options, got in calls:
        with pytest.raises(ArgumentError, match=rf"^{name}: expected the spaces .*, got {got}: {call}"):
            agent(*arguments, **options)


def test_a_vector_environment_is_told_of_its_single_spaces() -> None:
    envs = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    spaces = r"env.single_observation_space, env.single_action_space, PPO.Config\(\), num_envs=env.num_envs"
    with pytest.raises(ArgumentError, match=rf"got SyncVectorEnv: write PPO\({spaces}\)"):
        PPO(envs)  # type: ignore[call-arg, arg-type]


class Own(PPO):
    """An agent with an argument of its own, whose constructor can break."""

    def __init__(self, *arguments: Any, learning_rate: float = 0.0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.given = learning_rate + 1


def test_an_agent_of_your_own_takes_what_it_likes_and_its_own_errors_come_through() -> None:
    assert Own(*SPACES, learning_rate=0.5).given == 1.5
    with pytest.raises(TypeError, match=r"^unsupported operand|^can only concatenate") as caught:
        Own(*SPACES, learning_rate="much")  # type: ignore[arg-type]
    assert not isinstance(caught.value, ArgumentError)
    with pytest.raises(ArgumentError, match="Own: unknown argument 'sed'; did you mean 'seed'"):
        Own(*SPACES, sed=1)


@every_agent
def test_a_misspelt_setting_is_answered_with_the_nearest(name: str) -> None:
    config: Any = getattr(agents, name).Config
    line = r"^unknown setting 'learning_rat'; did you mean 'learning_rate'\?$"
    with pytest.raises(TypeError, match=line):
        config(learning_rat=1.0)
    with pytest.raises(ConfigError, match=line):
        config.from_dict({"learning_rat": 1.0})
    with pytest.raises(ArgumentError, match="'learning_rat'; did you mean"):
        config().replace(learning_rat=1.0)


def test_a_config_of_your_own_is_told_of_its_decorator_and_keeps_its_constructor() -> None:
    class Bare(C51.Config):
        extra: int = setting(3)

    class Built(Config):
        def __init__(self, size: int, **others: int) -> None:
            object.__setattr__(self, "sum", size + sum(others.values()))

    with pytest.raises(ArgumentError, match=r"extra is no setting yet: write @dataclass\(frozen=True\) above .*Bare"):
        Bare(extra=4)
    assert Built(size=1, more=2).sum == 3  # type: ignore[attr-defined]


def test_a_config_is_copied_replaced_and_pickled() -> None:
    config = PPO.Config(n_steps=7, hidden_sizes=(3,))
    for same in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert same == config and type(same) is PPO.Config
    assert dataclasses.replace(config, n_steps=8) == config.replace(n_steps=8)
