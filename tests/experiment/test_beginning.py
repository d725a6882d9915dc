"""The step of the first update that a run announces is the one at which the agent first learns."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import A2C, A3C, C51, DQN, PPO, Rainbow
from dbrrl.experiment import Settings, build, registry, resolve_plan
from dbrrl.kernels.cpu import extension
from dbrrl.learning.agent import Agent

OBSERVATION, ACTION = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)


def first_update(agent: Agent, most: int) -> int:
    """The step after which the agent has learned, found by playing."""
    num_envs = agent.num_envs
    nothing, observation = np.zeros(num_envs, np.bool_), np.zeros((num_envs, 4), np.float32)
    for steps in range(num_envs, most, num_envs):
        agent.act(observation)
        agent.observe(observation, np.ones(num_envs), nothing, nothing)
        if agent.num_updates:
            return steps
    return 0


class Mine(PPO):
    """An agent of one's own, whose code may do anything."""


class Recordable(PPO):
    """One whose code reads no numbers that change."""

    recordable = True


@pytest.mark.parametrize(("kind", "told"), [(Mine, True), (Recordable, False), (PPO, False)])
def test_it_is_said_where_updates_are_not_recorded(kind: Any, told: bool) -> None:
    plan = resolve_plan({"agent": "ppo", "env": "CartPole-v1"})
    agent = kind(OBSERVATION, ACTION, num_envs=2)
    told &= extension.module is not None
    line = "updates run op by op, not as a compiled program: Mine is a class of one's own: say `recordable = True`"
    assert any(said.startswith(line) for said in build.beginning(plan, agent)) is told
    agent.compiled = False
    assert not any("op by op" in said for said in build.beginning(plan, agent))


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PPO, {}),
        (PPO, {"n_steps": 7}),
        (A2C, {}),
        (A3C, {}),
        (DQN, {"learning_starts": 50, "update_interval": 4}),
        (DQN, {"learning_starts": 0, "update_interval": 40}),
        (DQN, {"learning_starts": 3, "update_interval": 1}),
        (C51, {"learning_starts": 30, "update_interval": 16}),
        (Rainbow, {"learning_starts": 20, "update_interval": 5}),
    ],
)
def test_the_first_update_is_when_it_is_said_to_be(kind: Any, settings: dict[str, Any], num_envs: int) -> None:
    small = {"buffer_size": 5000, "hidden_sizes": (8,)} if issubclass(kind, DQN) else {"hidden_sizes": (8,)}
    agent = kind(OBSERVATION, ACTION, kind.Config(**small, **settings), num_envs=num_envs)
    assert build._first_update(agent) == first_update(agent, 2100)


@pytest.mark.parametrize(("num_envs", "n_steps"), [(1, 2048), (8, 256), (100, 20), (1000, 16)])
def test_ppo_without_settings_learns_from_2048_transitions(num_envs: int, n_steps: int) -> None:
    agent = PPO(OBSERVATION, ACTION, num_envs=num_envs)
    assert agent.n_steps == n_steps == len(agent.rollout.rewards)
    assert PPO(OBSERVATION, ACTION, PPO.Config(n_steps=5), num_envs=num_envs).n_steps == 5


def test_an_environment_without_preset_is_learned_from_early() -> None:
    """Every agent's defaults make an update in the first fortieth of the runner's default number of steps, 100,000."""
    for name in registry.agent_names():
        plan = resolve_plan({"agent": name, "env": "dbrrl/Chain-v0"})
        actions = ACTION if gym.spaces.Discrete in plan.agent_class.action_spaces else OBSERVATION
        agent = plan.agent_class(OBSERVATION, actions, plan.config, num_envs=plan.settings.num_envs)
        first = build._first_update(agent)
        assert first is not None and first <= 2048 <= Settings().steps / 40
        assert build.beginning(plan, agent) == [
            f"no preset for {name} on dbrrl/Chain-v0: the defaults, and what is given",
            f"first update at step {first:,}",
        ]
