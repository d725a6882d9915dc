"""Checks for your own agents, environments and functions: an AssertionError says what is wrong."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import checkpoint, seeding
from dbrrl.agent import Agent
from dbrrl.autodiff.gradcheck import check_gradients
from dbrrl.checkpoint import State
from dbrrl.envs.check import check_env

__all__ = ["check_agent", "check_env", "check_gradients"]

_STEPS = 50


def check_agent(make_agent: Callable[[], Agent], *, steps: int = _STEPS) -> None:
    """Check that an agent keeps the promises of the protocol, on random transitions of its spaces.

    Its actions are in the action space, for its own batch, other batches and single observations, and acting
    without exploration changes nothing; two agents made alike stay alike; a state saved in the middle of a
    rollout gives back an agent that goes on bit for bit, statistics included.

    Args:
        make_agent: makes a fresh agent, always with the same seed.
        steps: transitions to feed; more than a rollout's length lets the agent learn on the way.
    """
    agent, twin = make_agent(), make_agent()
    _check_actions(agent)
    for index in range(steps):
        _step(agent, index)
        _step(twin, index)
    _check_equal(agent, twin, "two agents made alike differ after the same transitions")
    before = _bytes(agent)
    _check_actions(agent)
    _require(_bytes(agent) == before, "act(explore=False) changed the agent")
    back = type(agent).from_record(agent.record(), device=agent.device)
    _check_equal(agent, back, "an agent loaded from its state differs")
    for index in range(steps, 2 * steps):
        _step(agent, index)
        _step(back, index)
    _check_equal(agent, back, "an agent loaded from its state went on otherwise")


def _check_actions(agent: Agent) -> None:
    for size in (agent.num_envs, 1, 3):
        actions = _play(agent, _observations(agent, 0, size))
        _require(len(actions) == size, f"act gave {len(actions)} actions for {size} observations")
        for action in actions:
            _require_legal(agent, action)
    _require_legal(agent, _play(agent, _row(_observations(agent, 0, 1))))
    first, second = (_play(agent, _observations(agent, 1, 2)) for _ in range(2))
    _require(np.array_equal(first, second), "act(explore=False) gave two actions for one observation")


def _play(agent: Agent, observation: Any) -> Any:
    """Actions without exploration at the first step of episodes."""
    act: Any = agent.act
    return act(observation, explore=False, first=True) if agent.recurrent else act(observation, explore=False)


def _step(agent: Agent, index: int) -> None:
    count = agent.num_envs
    draw = seeding.generator(0, "check_agent", index)
    if index == 0:
        agent.act(_observations(agent, -1, count))
    reward = draw.normal(size=count)
    terminated, truncated = draw.random((2, count)) < 0.1
    agent.observe(_observations(agent, index, count), reward, terminated, truncated & ~terminated)
    for action in agent.act(_observations(agent, index, count)):
        _require_legal(agent, action)


def _observations(agent: Agent, index: int, count: int) -> Any:
    space = agent.observation_space
    space.seed(index + 1)
    return _stack([space.sample() for _ in range(count)])


def _stack(samples: list[Any]) -> Any:
    if isinstance(samples[0], dict):
        return {key: _stack([sample[key] for sample in samples]) for key in samples[0]}
    return np.stack(samples)


def _row(batch: Any) -> Any:
    return {key: _row(part) for key, part in batch.items()} if isinstance(batch, dict) else batch[0]


def _require_legal(agent: Agent, action: Any) -> None:
    space = agent.action_space
    dtype = np.asarray(action).dtype
    _require(np.asarray(action).shape == space.shape, f"an action of shape {np.shape(action)} for {space}")
    kinds = "f" if isinstance(space, gym.spaces.Box) else "iu"
    _require(dtype.kind in kinds, f"an action of dtype {dtype} for {space}")
    _require(space.contains(action), f"the action {action!r} is not in {space}")


def _check_equal(one: Agent, other: Agent, message: str) -> None:
    _require(_bytes(one) == _bytes(other), message)
    _require(repr(one.statistics()) == repr(other.statistics()), f"{message}, in its statistics")


def _bytes(agent: Agent) -> bytes:
    state: State = agent.state_dict()
    return checkpoint.encode(state, kind="agent")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
