"""Checks that an environment's results match its spaces; only an explanation is slow."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from dbrrl.errors import EnvError
from dbrrl.learning.transition import LARGEST, all_finite, within_float32

from .leaves import INTEGERS, Path, assemble, field_name, leaf, leaf_spaces


class Fault(NamedTuple):
    """An error in one field: its row (environment) and a line that describes it."""

    row: int
    line: str


def leaf_fault(space: gym.Space[Any], value: Any, lead: tuple[int, ...], field: str) -> str | None:
    """Return what is wrong with dtype or shape of one leaf (`lead`: batch axes before the space's), or None."""
    try:
        array = np.asarray(value)
    except ValueError:
        return f"{field}: expected one array, got rows of different lengths: pad them to the space's shape"
    expected, shape = np.dtype(space.dtype), lead + (space.shape or ())
    integers = isinstance(space, INTEGERS)
    if array.dtype.kind not in "biu" if integers else array.dtype != expected:
        wanted = "integers" if integers else str(expected)
        return (
            f"{field}: expected dtype {wanted}, got {array.dtype}: convert it in the environment, "
            f"or declare {array.dtype} in its observation_space"
        )
    if array.shape != shape:
        return (
            f"{field}: expected shape {shape}, got {array.shape}: return what observation_space declares, "
            "or declare what is returned"
        )
    return None


def observation_fault(space: gym.Space[Any], value: Any) -> str | None:
    """Return what is wrong with the dtypes or shapes of one unbatched observation, or None."""
    for path, sub in leaf_spaces(space):
        try:
            part = leaf(value, path)
        except (KeyError, IndexError, TypeError):
            return f"{field_name(path)}: expected a value of {sub}, got none: return every part of the space"
        line = leaf_fault(sub, part, (), field_name(path))
        if line is not None:
            return line
    return None


def final_fault(space: gym.Space[Any], final: Any, ended: np.ndarray) -> Fault | None:
    """Return what is wrong with a vector environment's `info["final_obs"]`, rows or a batch, in rows that `ended`."""
    listed = isinstance(final, np.ndarray) and final.dtype == object and final.shape == ended.shape
    for row in np.flatnonzero(ended).tolist():
        try:
            parts = iter([leaf(final, path)[row] for path, _ in ([] if listed else leaf_spaces(space))])
            line = observation_fault(space, final[row] if listed else assemble(space, parts))
        except (KeyError, IndexError, TypeError):
            line = f"expected a value of {space} in each row that ended, got none"
        if line is not None:
            return Fault(row, f"info['final_obs']: {line}")
    return None


def results_fault(reward: Any, terminated: Any, truncated: Any, num_envs: int) -> Fault | None:
    """Return what is wrong with the rewards and flags of one step, or None."""
    for field, given in (("reward", reward), ("terminated", terminated), ("truncated", truncated)):
        kinds = "fiu" if field == "reward" else "b"
        array = given if type(given) is np.ndarray else np.asarray(given)
        if array.dtype.kind not in kinds:
            wanted = "bools" if kinds == "b" else "numbers"
            got = repr(array.flat[0]) if array.size else f"an array of dtype {array.dtype}"
            return Fault(0, f"{field}: expected {wanted}, got {got}: convert it in the environment")
        if array.shape != (num_envs,):
            return Fault(0, f"{field}: expected shape {(num_envs,)}, got {array.shape}: return one per environment")
    reward = np.asarray(reward)
    if within_float32(reward):
        return None
    row = int(np.flatnonzero(~(np.abs(reward) <= LARGEST))[0])
    if np.isfinite(reward[row]):
        return Fault(row, f"reward: expected at most {LARGEST:.3g} (float32), got {reward[row]}: scale it")
    return not_finite("reward", reward, row)


def autoreset_mode(vector_env: VectorEnv[Any, Any, Any], env_id: str) -> AutoresetMode:
    """Return the autoreset mode in the environment's metadata; EnvError if it is missing."""
    mode = vector_env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise EnvError(
            f"{env_id}: expected metadata['autoreset_mode'] to be a gymnasium.vector.AutoresetMode, "
            f"got {mode!r}: state the mode in the vector environment's metadata"
        )
    return mode


class BatchCheck:
    """Checks batched observations of shape (num_envs, ...) against the single environment's space."""

    def __init__(self, space: gym.Space[Any], num_envs: int) -> None:
        self._num_envs = num_envs
        self._leaves = leaf_spaces(space)
        self.usual: list[tuple[Path, tuple[int, ...], np.dtype[Any] | None, bool]] = []
        for path, sub in self._leaves:
            dtype = None if isinstance(sub, INTEGERS) else np.dtype(sub.dtype)
            floating = dtype is not None and dtype.kind == "f"
            self.usual.append((path, (num_envs, *(sub.shape or ())), dtype, floating))

    def sound(self, observation: Any) -> bool:
        """Return whether every leaf is an array of the right shape and dtype without NaN or infinity."""
        try:
            for path, shape, dtype, floating in self.usual:
                array = observation
                for key in path:
                    array = array[key]
                if array.shape != shape:
                    return False
                if array.dtype != dtype if dtype is not None else array.dtype.kind not in "biu":
                    return False
                if floating and not all_finite(array):
                    return False
        except (AttributeError, KeyError, IndexError, TypeError):
            return False
        return True

    def fault(self, observation: Any) -> Fault:
        """Return what is wrong with an observation that is not sound."""
        for path, sub in self._leaves:
            field = field_name(path)
            try:
                array = leaf(observation, path)
            except (KeyError, IndexError, TypeError):
                return Fault(0, f"{field}: expected a value of {sub}, got none: return every part")
            line = leaf_fault(sub, array, (self._num_envs,), field)
            if line is not None:
                return Fault(0, line)
            if np.dtype(sub.dtype).kind == "f":
                rows = np.flatnonzero(~np.isfinite(array).reshape(self._num_envs, -1).all(axis=1))
                if rows.size:
                    return not_finite(field, np.asarray(array), int(rows[0]))
        got = type(observation).__name__
        return Fault(0, f"observation: expected arrays, got {got}: batch it as Gymnasium does")


def not_finite(field: str, array: np.ndarray, row: int) -> Fault:
    """Return the fault for a NaN or infinity in `array[row]`."""
    values = array[row].ravel()
    where = int(np.flatnonzero(~np.isfinite(values))[0])
    place = f"{field} (element {where})" if values.size > 1 else field
    return Fault(
        row,
        f"{place}: expected a finite number, got {values[where]}: correct the environment's dynamics, "
        "or bound what it returns",
    )
