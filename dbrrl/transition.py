"""What `observe` is told, read: the true next observations, and which rows carry a transition."""

import warnings
from typing import Any

import numpy as np

from dbrrl.backend import array_module
from dbrrl.errors import EnvError
from dbrrl.spaces import Observation

Info = dict[str, Any]


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
