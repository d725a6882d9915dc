"""The runner passes an agent nothing of an environment's own infos, and no array that the environment uses again."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents, checkpoint
from dbrrl.envs import Environments, make
from dbrrl.experiment.observing import observing
from dbrrl.learning.agent import Agent

from .stub import Stub

ALL = sorted(agents.__all__)
ON_POLICY = ("PPO", "A2C", "A3C", "IMPALA", "REINFORCE", "TRPO")
ODD, VECTOR = "tests.experiment.odd:Odd", "tests.experiment.odd:OddVector"


def trained(name: str, env: str, num_envs: int, vectorization: str, **env_kwargs: Any) -> bytes:
    """The state of an agent after some updates, of which every weight depends on every transition."""
    sequence = np.random.SeedSequence(0)
    kind = getattr(agents, name)
    if gym.spaces.Discrete not in kind.action_spaces:
        env_kwargs["continuous"] = True
    envs = make(env, num_envs, seed=sequence, vectorization=vectorization, env_kwargs=env_kwargs)
    settings: dict[str, Any] = {"n_steps": 8, "hidden_sizes": (8,)}
    if name not in ON_POLICY:
        settings = {"learning_starts": 8, "batch_size": 8, "buffer_size": 64, "hidden_sizes": (8,)}
    agent = kind(envs.observation_space, envs.action_space, kind.Config(**settings), num_envs=num_envs, seed=0)
    envs.reset()
    with observing(agent) as observe:
        for _ in range(40):
            observe(envs.step(agent.act(envs.observation)))
    envs.close()
    assert agent.num_updates > 0
    return checkpoint.encode(agent.state_dict(), kind="agent")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("num_envs", [1, 2])
def test_an_environments_own_infos_steer_no_agent(name: str, num_envs: int) -> None:
    assert trained(name, ODD, num_envs, "sync", says="markers") == trained(name, ODD, num_envs, "sync")


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
def test_infos_of_a_vector_environment_of_your_own_steer_no_agent(name: str, mode: str) -> None:
    silent = trained(name, VECTOR, 2, "vector", mode=mode)
    assert trained(name, VECTOR, 2, "vector", mode=mode, says="markers") == silent


def test_infos_steer_no_agent_from_other_processes_either() -> None:
    assert trained("PPO", ODD, 2, "async", says="markers") == trained("PPO", ODD, 2, "sync")


@pytest.mark.parametrize("says", ["path", "text", "array", "dict", "ragged", "large"])
def test_infos_of_other_shapes_and_types_are_not_joined(says: str) -> None:
    assert trained("DQN", ODD, 2, "sync", says=says) == trained("DQN", ODD, 2, "sync")


def test_nor_are_those_of_other_processes() -> None:
    assert trained("DQN", ODD, 2, "async", says="path") == trained("DQN", ODD, 2, "sync")


@pytest.mark.parametrize("reuses", ["own", "shared"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
def test_an_environment_may_use_one_array_for_all_its_observations(name: str, nested: bool, reuses: str) -> None:
    plain = trained(name, ODD, 2, "sync", nested=nested)
    assert trained(name, ODD, 2, "sync", nested=nested, reuses=reuses) == plain


@pytest.mark.parametrize("nested", [False, True])
def test_an_environment_in_another_process_may_too(nested: bool) -> None:
    plain = trained("PPO", ODD, 2, "sync", nested=nested)
    assert trained("PPO", ODD, 2, "async", nested=nested, reuses="own") == plain


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
def test_a_vector_environment_may_give_out_the_arrays_it_works_in(name: str, mode: str) -> None:
    plain = trained(name, VECTOR, 2, "vector", mode=mode)
    assert trained(name, VECTOR, 2, "vector", mode=mode, reuses=True) == plain


class Old(Stub):
    """An agent whose `observe` takes no `valid`."""

    told: list[Any]

    def observe(self, next_observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None) -> None:  # type: ignore[override]
        self.told = [*getattr(self, "told", []), info]


def test_an_agent_without_that_argument_is_told_in_an_info_of_its_own() -> None:
    envs = make(VECTOR, 2, seed=np.random.SeedSequence(0), env_kwargs={"mode": "NEXT_STEP", "says": "markers"})
    agent: Agent = Old(envs.observation_space, envs.action_space, num_envs=2)
    envs.reset()
    with pytest.warns(DeprecationWarning, match=r"Old.observe takes no `valid`"):
        valid = told(agent, envs)
    assert [{key: mask.tolist() for key, mask in info.items()} for info in agent.told] == valid  # type: ignore[attr-defined]
    assert {} in valid and len(valid) > 1


def told(agent: Agent, envs: Environments) -> list[dict[str, Any]]:
    with observing(agent) as observe:
        steps = [envs.step(np.zeros(2, np.int64)) for _ in range(12)]
        for step in steps:
            observe(step)
    return [{} if step.all_valid else {"valid": step.valid.tolist()} for step in steps]
