"""The arguments of `observe`, read and checked: true next observations, rows with a transition, sound numbers."""

import inspect
import warnings
from collections.abc import Sequence
from math import isfinite
from numbers import Number
from typing import Any

import numpy as np

from dbrrl.backend import array_module
from dbrrl.errors import AnomalyError, EnvError, ShapeError, other_count
from dbrrl.learning.spaces import Observation

Info = dict[str, Any]

FEW = 16  # numbers up to which Python's own sum is quicker than NumPy's product
LARGEST = float(np.finfo(np.float32).max)


def true_next_observation(
    next_observation: Observation,
    info: Info | None,
    terminated: Any = None,
    truncated: Any = None,
    valid: Any = None,
) -> Observation:
    """`next_observation`, (num_envs, ...), with the final observation in the rows where an episode ended.

    It is in `info["final_obs"]` where Gymnasium's vector environments reset at once (autoreset SAME_STEP): an object
    array of one observation per row, "final_info" beside it, or a batch as `next_observation` is. No other row is
    changed. Not read is what one environment says of itself (`terminated` is then no array), and an object array
    without "final_info" where `valid` is given: those belong to the environment.

    Raises:
        EnvError: the entry of a row that ended is no observation, or an object array without "final_info" does not say
            whose it is.
    """
    if not info or "final_obs" not in info:
        return next_observation
    final = info["final_obs"]
    if array_module(final) is not np:
        return final  # ours on a GPU give those of all rows
    if terminated is None:
        warnings.warn(
            "true_next_observation(): pass terminated and truncated too: without them the rows are taken from info, "
            "where an environment may have the keys for something else",
            DeprecationWarning,
            stacklevel=2,
        )
        rows = np.flatnonzero(info.get("_final_obs", [entry is not None for entry in final]))
        return _with_rows(next_observation, rows, final)
    ended = np.logical_or(terminated, truncated)
    listed = isinstance(final, np.ndarray) and final.dtype == object
    formed = np.shape(final) == ended.shape if listed else isinstance(final, np.ndarray | dict)
    if not ended.any() or not ended.ndim or not formed:
        return next_observation
    if listed and "final_info" not in info:
        if valid is not None:
            return next_observation
        raise EnvError(
            "observe(): got info['final_obs'] without the 'final_info' that Gymnasium puts beside it: where it is the "
            "environment's own, leave it out of info; where it holds final observations, add 'final_info', or put "
            "them into next_observation"
        )
    rows = np.flatnonzero([e and entry is not None for e, entry in zip(ended, final, strict=True)] if listed else ended)
    return _with_rows(next_observation, rows, final)


def valid_rows(valid: Any, num_envs: int) -> np.ndarray:
    """Which rows carry a transition, bool (num_envs,), given what `observe` was: None means all."""
    if isinstance(valid, dict):
        warnings.warn(
            "valid_rows(): pass observe's argument `valid`, not info, whose keys are the environment's",
            DeprecationWarning,
            stacklevel=2,
        )
        valid = valid.get("valid")
    return np.ones(num_envs, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)


def takes_valid(agent: Any) -> bool:
    """Whether the agent's `observe` may be told by an argument `valid` which rows carry a transition."""
    parameters = inspect.signature(agent.observe).parameters.values()
    return any(p.name == "valid" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def warn_of_marker(info: Info, num_envs: int) -> None:
    """Say that `info["valid"]` marks no rows, if it looks as though it were to."""
    marker = info.get("valid")
    mask = isinstance(marker, np.ndarray) and marker.dtype == np.bool_ and marker.shape == (num_envs,)
    if mask and "_valid" not in info:  # a copy's own key has that mask beside it in a vector environment
        warnings.warn(
            "observe(): info['valid'] marks no rows, as info is the environment's: pass observe(..., valid=...) for "
            "rows that carry no transition",
            stacklevel=3,
        )


def is_on_gpu(x: Any) -> bool:
    """Return whether a part of a transition is an array on a GPU."""
    return type(x) is not np.ndarray and array_module(x) is not np


def any_set(flags: np.ndarray) -> bool:
    """Return whether any of the booleans is True; a search in bytes is fastest."""
    return 1 in flags.tobytes()


def all_finite(array: np.ndarray) -> bool:
    """Whether no number is NaN or infinite; one sum, or one dot product, decides unless it overflows."""
    quick = sum(array.ravel().tolist()) if array.size <= FEW else np.vdot(array, array)
    return isfinite(quick) or bool(np.isfinite(array).all())


def within_float32(array: np.ndarray) -> bool:
    """Whether every number is finite and float32 holds it; one sum, or one dot product, decides unless it is large."""
    quick = sum(map(abs, array.ravel().tolist())) if array.size <= FEW else np.vdot(array, array)
    return quick <= LARGEST or bool((np.abs(array) <= LARGEST).all())


def check_results(reward: Any, terminated: Any, truncated: Any, num_envs: int) -> None:
    """Check that what `observe` was given, on the host, is one number and two flags for each environment.

    Alone, an environment may give them without an axis.

    Raises:
        ShapeError: not one entry per environment.
        EnvError: something else than numbers, or a reward that is not finite or that float32 does not hold.
    """
    alone = num_envs == 1 and type(terminated) is type(truncated) is bool and isinstance(reward, float)
    if alone and abs(reward) <= LARGEST:  # the usual case of one environment
        return
    array, shape = np.ndarray, (num_envs,)
    usual = type(reward) is type(terminated) is type(truncated) is array and reward.dtype.kind == "f"
    if not usual or not reward.shape == terminated.shape == truncated.shape == shape:
        for name, given in (("reward", reward), ("terminated", terminated), ("truncated", truncated)):
            _check_form(name, np.asarray(given), shape)
        reward = np.reshape(reward, -1).astype(np.float64)
    elif terminated.dtype.kind != "b" or truncated.dtype.kind != "b":
        _check_form("terminated", terminated, shape)
        _check_form("truncated", truncated, shape)
    if not within_float32(reward):
        env = int(np.flatnonzero(~(np.abs(reward) <= LARGEST))[0])
        raise EnvError(
            f"reward: expected a finite number of at most {LARGEST:.3g} (float32), got {reward[env]} in environment "
            f"{env}: correct the environment, or scale what it gives"
        )


def _check_form(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype.kind not in "fbiu":
        got = next((repr(x) for x in array.flat if not isinstance(x, Number)), f"dtype {array.dtype}")
        raise EnvError(f"{name}: expected numbers, got {got}: convert it in the environment")
    if array.shape != shape and (shape != (1,) or array.shape):
        cure = "one entry per environment"
        if array.ndim and len(array) != shape[0]:
            cure += f": with so many, make the agent with num_envs={len(array)} and single_observation_space"
        raise ShapeError(f"observe(): expected {name} of shape {shape}, got {array.shape}: {cure}")


def check_valid(valid: Any, num_envs: int) -> None:
    """Check that `valid`, given to `observe`, is one boolean for each environment; on a GPU it stays there.

    Raises:
        ShapeError: something else, such as the indices of the rows.
    """
    given = valid if hasattr(valid, "dtype") else np.asarray(valid)
    if given.dtype.kind != "b" or (given.shape != (num_envs,) and (num_envs != 1 or given.shape)):
        raise ShapeError(
            f"observe(): expected valid as bool of shape ({num_envs},), got {given.dtype} of shape {given.shape}: give "
            "False for each environment whose row carries no transition, and True for the others"
        )


def check_rows(parts: Sequence[Any], num_envs: int) -> None:
    """ShapeError where a batch of observations, of which `parts` are, has not one row per environment."""
    if len(parts[0]) != num_envs:
        raise other_count("observe()", "observations", num_envs, len(parts[0]), len(parts[0]))


def check_finite(observation: Observation, parts: Sequence[Any]) -> None:
    """Check a batch of observations by its `parts`, what networks take of it; those on a GPU are not looked at.

    Raises:
        EnvError: an entry is not finite, or float32 does not hold it.
    """
    for part in parts:
        if type(part) is np.ndarray and part.dtype.kind == "f" and not all_finite(part):
            found = (line for name, x in fields(observation) if (line := _not_finite(name, x)))
            raise EnvError(next(found, _not_finite("observation (as float32)", part)))


def check_action(action: Any, where: str = "") -> None:
    """Check that all numbers of a batch of actions, which an agent chose, are finite.

    Args:
        action: array (num_envs, ...); others, as of a space without a shape, are not looked at.
        where: what the message says after the number of the environment.

    Raises:
        AnomalyError: one is not.
    """
    if isinstance(action, np.ndarray) and action.dtype.kind == "f" and not np.isfinite(action).all():
        row, *place = np.argwhere(~np.isfinite(action))[0].tolist()
        element = f" (element {np.ravel_multi_index(place, action.shape[1:])})" if action[row].size > 1 else ""
        raise AnomalyError(
            f"environment {row}{where}, action{element}: expected a finite number from the agent's act(), got "
            f"{action[(row, *place)]}: lower the learning rate, or find the op with dbrrl.detect_anomaly()"
        )


def fields(observation: Observation, name: str = "observation") -> list[tuple[str, np.ndarray]]:
    """The arrays inside a batch of observations, each with what messages call it."""
    if isinstance(observation, dict):
        return [field for key, inner in observation.items() for field in fields(inner, f"{name}[{key!r}]")]
    return [(name, np.asarray(observation))]


def _not_finite(name: str, array: np.ndarray) -> str:
    """Which row of `array` is not finite; "" where all are."""
    bad = np.argwhere(~np.isfinite(array))
    if not len(bad):
        return ""
    return (
        f"{name}: expected finite numbers, got {array[tuple(bad[0])]} in environment {bad[0][0]}: correct the "
        "environment, or limit what it gives"
    )


def _with_rows(observation: Observation, rows: np.ndarray, final: Any) -> Observation:
    """A copy of the batch `observation` with the entries of `final` in these rows."""
    if isinstance(observation, dict):
        return {key: _with_rows(part, rows, _part(final, key, rows)) for key, part in observation.items()}
    copy = np.array(observation)
    for row in rows.tolist():
        entry = np.asarray(final[row])
        if entry.shape != copy.shape[1:] or entry.dtype.kind not in "biuf":
            got = f"an array of shape {entry.shape}" if entry.dtype.kind in "biuf" else type(final[row]).__name__
            raise _misfit(row, f"expected an observation of shape {copy.shape[1:]}, got {got}")
        copy[row] = entry
    return copy


def _part(final: Any, key: str, rows: np.ndarray) -> Any:
    """The entries under `key` of a batched dict, or of a dict per row."""
    if isinstance(final, dict) and key in final:
        return final[key]
    for row in rows.tolist():
        entry = final if isinstance(final, dict) else final[row]
        if not isinstance(entry, dict) or key not in entry:
            raise _misfit(row, f"expected a dict with the key {key!r}, got {type(entry).__name__}")
    return {row: final[row][key] for row in rows.tolist()}


def _misfit(row: int, what: str) -> EnvError:
    return EnvError(
        f"environment {row}, info['final_obs']: {what}: Gymnasium puts the final observation there, so give the "
        "environment's own info another key"
    )
