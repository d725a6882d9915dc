"""The arrays inside a nested observation: dicts and tuples of arrays, batched or not."""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dbrrl.errors import SpaceError

Path = tuple[str | int, ...]
INTEGERS = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def leaf_spaces(space: gym.Space[Any], path: Path = ()) -> list[tuple[Path, gym.Space[Any]]]:
    """Return the array spaces inside (nested) Dict and Tuple spaces, each with its path of keys.

    Raises SpaceError for a space whose samples are not arrays of one shape (Text, Sequence, Graph, ...).
    """
    if isinstance(space, spaces.Dict):
        return [leaf for key, sub in space.spaces.items() for leaf in leaf_spaces(sub, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for key, sub in enumerate(space.spaces) for leaf in leaf_spaces(sub, (*path, key))]
    if isinstance(space, (spaces.Box, *INTEGERS)):
        return [(path, space)]
    raise SpaceError(
        f"{field_name(path)}: expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them, "
        f"got {type(space).__name__}: encode it as one of these in a wrapper"
    )


def field_name(path: Path) -> str:
    """Return `observation`, or `observation['camera'][0]` for a leaf inside Dict and Tuple spaces."""
    return "observation" + "".join(f"[{key!r}]" for key in path)


def leaf(value: Any, path: Path) -> Any:
    """Return the part of a nested dict or tuple at `path`."""
    for key in path:
        value = value[key]
    return value


def assemble(space: gym.Space[Any], leaves: Iterator[np.ndarray]) -> Any:
    """Return dicts and tuples made from arrays in the order of `leaf_spaces`."""
    if isinstance(space, spaces.Dict):
        return {key: assemble(sub, leaves) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(assemble(sub, leaves) for sub in space.spaces)
    return next(leaves)


def copied(observation: Any) -> Any:
    """Return a copy that shares no memory."""
    return observation.copy() if type(observation) is np.ndarray else copy.deepcopy(observation)


def with_final(observation: Any, final: Any, ended: np.ndarray, paths: list[Path]) -> Any:
    """Return a copy of a batched observation with the final ones in the rows where an episode ended.

    final: as in `info["final_obs"]`, either an object array of one unbatched observation per row (Gymnasium's
    sync and async environments) or a batched observation (array programs).
    """
    result = copied(observation)
    if isinstance(final, np.ndarray) and final.dtype == object:
        for row in np.flatnonzero(ended).tolist():
            for path in paths:
                leaf(result, path)[row] = leaf(final[row], path)
    else:
        for path in paths:
            leaf(result, path)[ended] = leaf(final, path)[ended]
    return result
