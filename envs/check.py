"""Checks the rules of Gymnasium's API that agents and exact resume rely on."""

import copy
from math import isfinite
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np

from dbrrl.errors import EnvError

from .leaves import leaf, leaf_spaces
from .recorder import flag_fault, info_fault, reward_fault
from .validation import observation_fault


def check_env(env: gym.Env[Any, Any], steps: int = 200, seed: int = 0) -> None:
    """Take random actions in an unbatched environment; raise EnvError, one line, at the first broken rule.

    The rules: a step before the first reset is an error; observations have the dtype and shape of their
    space, are finite and inside it, the final ones too, and do not change once returned; the reward is one
    finite number; terminated and truncated are bools; the same seed and actions give the same episodes.
    `steps` actions are taken, twice.

    Pass a new environment: after a reset the first rule cannot be checked.
    """
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    _check_order(env, name)
    first, second = _rollout(env, steps, seed, name), _rollout(env, steps, seed, name)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one != other:
            _refuse(
                name,
                f"step {number}: the same seed and actions gave something else the second time: "
                "draw only from self.np_random, and keep nothing across reset(seed=...)",
            )


def _check_order(env: gym.Env[Any, Any], name: str) -> None:
    try:
        env.step(_sampler(env, 0).sample())
    except Exception:  # any error is accepted
        return
    _refuse(name, "step() before the first reset() was accepted: raise an error, or wrap it in OrderEnforcing")


def _sampler(env: gym.Env[Any, Any], seed: int) -> gym.Space[Any]:
    space = copy.deepcopy(env.action_space)  # the generator of the environment's own space must not change
    space.seed(seed)
    return space


def _rollout(env: gym.Env[Any, Any], steps: int, seed: int, name: str) -> list[tuple[Any, ...]]:
    """Take `steps` steps over as many episodes as needed; return the results as comparable bytes."""
    actions = _sampler(env, seed)
    observation, _ = _reset(env, name, seed)
    trace: list[tuple[Any, ...]] = [_bytes(env, observation)]
    for number in range(1, steps + 1):
        result = env.step(actions.sample())
        if not isinstance(result, tuple) or len(result) != 5:
            _refuse(
                name,
                f"step {number}: expected observation, reward, terminated, truncated and info from step()",
            )
        previous, kept = observation, trace[-1][: len(_bytes(env, observation))]
        observation, reward, terminated, truncated, info = result
        if _bytes(env, previous) != kept:
            _refuse(name, f"step {number}: the observation returned before was changed: return a new array")
        _check_observation(env, observation, f"{name}: step {number}")
        fault = reward_fault(reward) or flag_fault(terminated, truncated)
        if fault is None and not isfinite(float(reward)):
            fault = f"reward: expected a finite number, got {reward}: bound it"
        fault = fault or info_fault(info)
        if fault is not None:
            _refuse(name, f"step {number}, {fault}")
        trace.append((*_bytes(env, observation), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            observation, _ = _reset(env, name, None)
            trace.append(_bytes(env, observation))
    return trace


def _reset(env: gym.Env[Any, Any], name: str, seed: int | None) -> tuple[Any, dict[str, Any]]:
    result = env.reset(seed=seed)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        _refuse(name, "reset: expected an observation and an info dict from reset()")
    _check_observation(env, result[0], f"{name}: reset")
    return result


def _check_observation(env: gym.Env[Any, Any], observation: Any, where: str) -> None:
    fault = observation_fault(env.observation_space, observation)
    if fault is not None:
        raise EnvError(f"{where}, {fault}")
    for path, space in leaf_spaces(env.observation_space):
        array = np.asarray(leaf(observation, path))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise EnvError(f"{where}, observation: expected finite numbers, got {array}: correct the dynamics")
        if not space.contains(leaf(observation, path)):
            raise EnvError(f"{where}, observation: {array} is outside {space}: widen the space, or clip")


def _bytes(env: gym.Env[Any, Any], observation: Any) -> tuple[bytes, ...]:
    return tuple(np.asarray(leaf(observation, path)).tobytes() for path, _ in leaf_spaces(env.observation_space))


def _refuse(name: str, line: str) -> NoReturn:
    raise EnvError(f"{name}: {line}")
