"""Checks for your own agents, environments and functions: an AssertionError says what is wrong."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import checkpoint, seeding
from dbrrl.checkpoint import State
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.distributions.masks import MASK, choices_of
from dbrrl.envs.check import check_env
from dbrrl.errors import CheckpointError
from dbrrl.learning.agent import Agent
from dbrrl.learning.saved_agent import state_of
from dbrrl.learning.transition import takes_valid

__all__ = ["check_agent", "check_env", "check_gradients"]

_STEPS = 50
_LIMIT = 5_000  # transitions per environment within which an agent must learn


def check_agent(make_agent: Callable[[], Agent], *, steps: int = _STEPS, learns: bool = True) -> None:
    """Check that an agent keeps the promises of the protocol, on random transitions of its spaces.

    `observe` takes `valid`; actions are in the action space, for its own batch, other batches and single
    observations, and acting without exploration changes nothing; two agents made alike stay alike; a state saved in
    the middle of a rollout, and through a file, gives back an agent that goes on bit for bit, actions and statistics
    included; a state that was given out does not change. It is fed until it has learned before the state is saved and
    after.

    Args:
        make_agent: makes a fresh agent, always with the same seed.
        steps: transitions to feed to each environment before the state is saved, and again after; more are fed if the
            agent has not learned by then. Settings with which it learns early make the check fast.
        learns: False for an agent that never learns, such as one that acts at random.

    Raises:
        AssertionError: a promise is not kept; where two states should be equal, with the entries that are not.
    """
    agent, twin = make_agent(), make_agent()
    _require(takes_valid(agent), "observe takes no `valid`: write observe(self, ..., info=None, *, valid=None)")
    _check_acting(agent)
    fed = _feed(agent, twin, 0, steps, learns)
    _check_equal(agent, twin, "two agents made alike differ after the same transitions")
    given = agent.state_dict()
    before = _encoded(given)
    _check_acting(agent)
    saved = checkpoint.encode(agent.record(), kind="agent")
    back = type(agent).from_record(checkpoint.decode(saved, kind="agent"), device=agent.device)
    _check_equal(agent, back, "an agent loaded from its state differs")
    alike: list[bool] = []
    _feed(agent, back, fed, steps, learns, alike)
    _check_same(before, _encoded(given), "a state went on changing after it was given out", "give copies of them")
    try:
        _check_equal(agent, back, "an agent loaded from its state went on otherwise")
        _require(all(alike), "an agent loaded from its state acted otherwise")
    except AssertionError as error:
        forgotten = ", ".join(_forgotten(agent, make_agent()))
        cure = f": what changed on the way and is not in its state: {forgotten}" if forgotten else ""
        raise AssertionError(f"{error}{cure}") from None


def _feed(agent: Agent, other: Agent, first: int, steps: int, learns: bool, alike: list[bool] | None = None) -> int:
    """Feed two agents the same transitions, number `first` and the next, until `agent` has learned; return how many.

    Args:
        steps: transitions to feed at least.
        learns: whether to go on until `agent` has learned.
        alike: takes whether the actions were the same, one boolean per step.
    """
    before, count = agent.num_updates, 0
    while count < steps or (learns and agent.num_updates == before):
        if count >= max(steps, _LIMIT) or (count >= steps and not before and agent.statistics()):
            raise AssertionError(_unlearned(agent, count))
        same = np.array_equal(_step(agent, first + count), _step(other, first + count))
        if alike is not None:
            alike.append(same)
        count += 1
    return count


def _unlearned(agent: Agent, count: int) -> str:
    if agent.statistics() and not agent.num_updates:
        return "statistics are given, but num_updates is 0: add self.num_updates += 1 to `update`"
    return (
        f"no update in {count:,} steps of {agent.num_envs} environments, so `update` was not checked: give settings "
        "with which it learns earlier, such as learning_starts=8 and batch_size=8, or n_steps=8; for an agent that "
        "never learns pass learns=False"
    )


def _check_acting(agent: Agent) -> None:
    before = _encoded(agent.state_dict())
    _check_actions(agent)
    _check_same(before, _encoded(agent.state_dict()), "act(explore=False) changed the agent")


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
    return act(observation, explore=False, episode_start=True) if agent.recurrent else act(observation, explore=False)


def _step(agent: Agent, index: int) -> Any:
    """Feed one transition; the actions that follow it."""
    count = agent.num_envs
    draw = seeding.generator(0, "check_agent", index)
    if index == 0:
        agent.act(_observations(agent, -1, count))
    reward = draw.normal(size=count)
    terminated, truncated = draw.random((2, count)) < 0.1
    rest: dict[str, Any] = {}
    if index % 5 == 4:  # some rows carry no transition
        rest["valid"] = valid = draw.random(count) < 0.5
        reward, terminated, truncated = reward * valid, terminated & valid, truncated & valid
    agent.observe(_observations(agent, index, count), reward, terminated, truncated & ~terminated, **rest)
    actions = agent.act(_observations(agent, index, count))
    for action in actions:
        _require_legal(agent, action)
    return actions


def _observations(agent: Agent, index: int, count: int) -> Any:
    space = agent.observation_space
    space.seed(index + 1)
    batch = _stack([space.sample() for _ in range(count)])
    if agent.action_masks and isinstance(batch, dict) and MASK in batch:  # the first action of each choice is allowed
        sizes = choices_of(agent.action_space)
        first = np.cumsum([0, *sizes[:-1]])
        batch[MASK].reshape(count, -1)[:, first] = 1
    return batch


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
    kinds = "f" if isinstance(space, gym.spaces.Box) and np.dtype(space.dtype).kind == "f" else "iu"
    _require(dtype.kind in kinds, f"an action of dtype {dtype} for {space}")
    seen = np.asarray(action) if isinstance(space, gym.spaces.Box) else action  # a row of numbers may be a number
    _require(space.contains(seen), f"the action {action!r} is not in {space}")


def _check_equal(one: Agent, other: Agent, message: str) -> None:
    _check_same(_encoded(one.state_dict()), _encoded(other.state_dict()), message)
    mine, its = one.statistics(), other.statistics()
    unlike = [name for name in mine | its if repr(mine.get(name)) != repr(its.get(name))]
    _require(not unlike, f"{message}, in its statistics: {', '.join(unlike)}")


def _check_same(one: bytes, other: bytes, message: str, cure: str = "") -> None:
    """Require that two encoded states are equal bit for bit, and name the entries that are not."""
    if one == other:
        return
    mine, its = (checkpoint.decode(content, kind="agent") for content in (one, other))
    found = list(_differing(mine, its, ""))
    shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    raise AssertionError(f"{message}: {shown} {'differs' if len(found) == 1 else 'differ'}{': ' * bool(cure)}{cure}")


def _differing(one: Any, other: Any, place: str) -> Iterator[str]:
    """Where two states differ, as dotted names, those of the agent's attributes first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            inner = f"{place}.{key}" if place else key
            if key not in one or key not in other:
                yield inner
            else:
                yield from _differing(one[key], other[key], inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from _differing(mine, its, f"{place}[{index}]")
    elif _encoded({"": one}) != _encoded({"": other}):
        yield place


def _forgotten(agent: Agent, fresh: Agent) -> Iterator[str]:
    """The attributes that are no part of an agent's state and are other ones than those of a fresh agent."""
    kept = agent.state_dict()
    for name, value in vars(agent).items():
        if name in kept or name.startswith("_") or name not in vars(fresh):
            continue
        with contextlib.suppress(CheckpointError):  # no state: a function, say
            if _encoded({name: state_of(value)}) != _encoded({name: state_of(vars(fresh)[name])}):
                yield name


def _encoded(state: State) -> bytes:
    return checkpoint.encode(state, kind="agent")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
