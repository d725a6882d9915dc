"""Saves and restores a vector environment: by its own state, by replayed episodes, or by its plain attributes."""

import enum
import itertools
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.lib.array_utils import byte_bounds

from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError

Vector = VectorEnv[Any, Any, Any]

PLAIN = (bool, int, float, str)
# Types that construction restores: not saved, and no reason to refuse.
CONSTANT = (gym.Space, EnvSpec, enum.Enum, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


# The keys of the state of `Environments`.
KEYS = (
    "env_id", "num_envs", "kind", "steps", "seeded", "started", "observation", "episode_return", "episode_length",
    "resetting", "environment",
)  # fmt: skip


class NotPlainError(TypeError):
    """An attribute is neither plain data nor restored by construction."""


def check_origin(state: Mapping[str, Any], env_id: str, num_envs: int, kind: str) -> None:
    """Raise CheckpointError if `state` is not one of `num_envs` copies of `env_id` that are stepped as `kind` says."""
    with untrusted.state_of("environments", "take another checkpoint"):
        untrusted.table(state, "", *KEYS)
    saved = state["kind"]
    same_kind = saved == kind or sorted([str(saved), kind]) == ["async", "sync"]
    if (state["env_id"], state["num_envs"]) != (env_id, num_envs) or not same_kind:
        raise CheckpointError(
            f"environments: expected the state of {num_envs} x {env_id} ({kind}), got "
            f"{state['num_envs']} x {state['env_id']} ({saved}): resume with the settings of the saved run"
        )


def check(state: Mapping[str, Any], num_envs: int, leaves: list[Any]) -> None:
    """Raise CheckpointError if `state` is impossible for B environments with these spaces of observations."""
    untrusted.whole(state["steps"], "steps")
    untrusted.truth(state["seeded"], "seeded")
    untrusted.table(state["environment"], "environment")
    started, batch = untrusted.truth(state["started"], "started"), (num_envs,)
    parts = untrusted.entries(state["observation"], "observation", len(leaves) if started else 0)
    for part, space in zip(parts, leaves, strict=False):
        untrusted.array(part, "observation", space.dtype, (*batch, *space.shape))
    untrusted.array(state["episode_return"], "episode_return", np.float64, batch)
    untrusted.array(state["episode_length"], "episode_length", np.int64, batch, at_least=0)
    if state["resetting"] is not None:
        untrusted.array(state["resetting"], "resetting", np.bool_, batch)
    if "episodes" in state["environment"]:
        for episode in untrusted.entries(state["environment"]["episodes"], "episodes", num_envs):
            untrusted.table(episode, "episodes", "start", "actions", "generator", "replayable")
            untrusted.table(episode["start"], "episodes: start")
            untrusted.truth(episode["replayable"], "episodes: replayable")
            if not isinstance(episode["actions"], np.ndarray):
                raise CheckpointError("episodes: actions: expected an array, got something else")
            for generator in (episode["generator"], episode["start"].get("generator", episode["generator"])):
                name = untrusted.table(generator, "episodes: generator", "bit_generator")["bit_generator"]
                untrusted.generator(generator, str(name), "episodes: generator")
            untrusted.whole(episode["start"].get("seed", 0), "episodes: start: seed", at_most=2**128)


def save(env: Vector, *, recorded: bool) -> dict[str, Any]:
    """Return the state of a vector environment as plain data.

    `recorded`: its copies are `Recorder`s in Gymnasium's sync or async vector environment. If
    it cannot be saved, the state is {"cannot": why}.
    """
    if recorded:
        return {"episodes": list(env.call("episode_state"))}  # type: ignore[attr-defined]
    base = env.unwrapped
    if hasattr(base, "state_dict"):
        return {"own": base.state_dict()}
    if _share_memory(arrays_in(vars(base))):
        return {"cannot": "two of its attributes are views of one array"}
    try:
        return {"attributes": {name: encode(value, name) for name, value in vars(base).items()}}
    except NotPlainError as error:
        return {"cannot": str(error)}


def replay_episodes(env: Vector, state: Mapping[str, Any]) -> dict[int, tuple[Any, str]]:
    """Restore recorded copies in the middle of their episodes from the adapter's state.

    Returns, for each copy that is not equal to the saved one, its new episode's observation and the reason.
    """
    returns, leaves = state["episode_return"], state["observation"]
    pending = [
        {**episode, "observation": [part[row] for part in leaves], "episode_return": returns[row]}
        for row, episode in enumerate(state["environment"]["episodes"])
    ]
    env.set_attr("pending", pending)  # type: ignore[attr-defined]
    outcomes = enumerate(env.call("replay"))  # type: ignore[attr-defined]
    return {
        row: (observation, f"after {count} replayed actions ({difference})")
        for row, (observation, count, difference) in outcomes
        if difference
    }


def restore_attributes(env: Vector, state: dict[str, Any]) -> str:
    """Restore the state of `save` in an equal vector environment without recorded copies; return "" or why not."""
    base = env.unwrapped
    if "own" in state:
        return base.load_state_dict(state["own"]) or ""  # type: ignore[attr-defined]
    if "cannot" in state:
        return str(state["cannot"])
    for name, coded in untrusted.table(state.get("attributes"), "attributes").items():
        if callable(getattr(type(base), name, None)):
            raise CheckpointError(f"attributes: expected those of {type(base).__name__}, got its method {name!r}")
        if coded["kind"] != "constant":
            setattr(base, name, decode(coded, getattr(base, name, None)))
    return ""


def arrays_in(value: Any) -> list[np.ndarray]:
    """Yield the arrays inside nested dicts, lists and tuples."""
    if isinstance(value, np.ndarray):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [array for part in inside for array in arrays_in(part)]


def _share_memory(arrays: list[np.ndarray]) -> bool:
    """Return whether any two arrays overlap; restored one by one, they would no longer share memory."""
    spans = sorted(byte_bounds(array) for array in arrays if array.size)
    return any(after[0] < before[1] for before, after in itertools.pairwise(spans))


def encode(value: Any, name: str) -> dict[str, Any]:
    """Return an attribute as plain data; raise NotPlainError with its name if it is not."""
    if value is None or (isinstance(value, PLAIN) and not isinstance(value, (np.generic, enum.Enum))):
        return {"kind": "plain", "value": value}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {"kind": kind, "value": np.array(value)}
    if isinstance(value, np.random.Generator):
        return {"kind": "generator", "value": dict(value.bit_generator.state)}
    if isinstance(value, (list, tuple)):
        return {"kind": type(value).__name__, "value": [encode(item, name) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"kind": "dict", "value": {key: encode(item, name) for key, item in value.items()}}
    if isinstance(value, CONSTANT):
        return {"kind": "constant"}
    raise NotPlainError(f"its attribute {name!r} ({type(value).__name__}) is not plain data")


def decode(coded: dict[str, Any], present: Any) -> Any:
    """Undo `encode`; constants inside a container keep the `present` container's value."""
    kind = coded["kind"]
    if kind == "constant":
        return present
    value = coded["value"]
    if kind == "array":
        return np.array(value)
    if kind == "scalar":
        return np.asarray(value)[()]
    if kind == "generator":
        known_one = isinstance(present, np.random.Generator)
        generator = present if known_one else np.random.Generator(np.random.PCG64(0))
        generator.bit_generator.state = value
        return generator
    if kind in ("list", "tuple"):
        same = isinstance(present, (list, tuple)) and len(present) == len(value)
        known = present if same else [None] * len(value)
        items = [decode(item, old) for item, old in zip(value, known, strict=True)]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        known_items = present if isinstance(present, dict) else {}
        return {key: decode(item, known_items.get(key)) for key, item in value.items()}
    return value
