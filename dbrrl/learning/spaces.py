"""Gymnasium spaces as data for checkpoints, and observations of a space as batches."""

from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl.checkpoint import State
from dbrrl.errors import ShapeError, SpaceError

Observation = Any  # an array, or a dict of arrays for Dict spaces


def space_to_state(space: gym.Space[Any]) -> State:
    """A space as arrays, numbers and texts; SpaceError for a kind that no agent serves."""
    match space:
        case gym.spaces.Box():
            return {"type": "Box", "low": space.low, "high": space.high, "dtype": str(space.dtype)}
        case gym.spaces.Discrete():
            # Gymnasium 1.1 knows int64 alone, and no argument for it.
            dtype = {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start)} | dtype
        case gym.spaces.MultiDiscrete():
            entries = {"nvec": space.nvec, "start": space.start, "dtype": str(space.dtype)}
            return {"type": "MultiDiscrete"} | entries
        case gym.spaces.MultiBinary():
            return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
        case gym.spaces.Dict():
            parts = [[key, space_to_state(part)] for key, part in space.spaces.items()]
            return {"type": "Dict", "spaces": parts}
    known = ", ".join(_BUILDERS)
    raise SpaceError(f"expected one of the spaces {known}, got {space}: wrap the environment")


def space_from_state(state: State) -> gym.Space[Any]:
    """The space that `space_to_state` gave; SpaceError where `state` describes none."""
    try:
        space: gym.Space[Any] = _BUILDERS[state["type"]](state)
    except Exception as error:  # what is read may be anything
        raise SpaceError(f"not the description of a space: {type(error).__name__}: {error}") from error
    return space


def as_batch(observation: Observation, space: gym.Space[Any]) -> tuple[Observation, bool]:
    """`observation` of `space` with a leading batch axis, and whether that axis was put there.

    Raises ShapeError where it is neither one observation of the space nor a batch of them.
    """
    shape = space.shape
    if shape is None:
        return _dict_as_batch(observation, space)
    array = observation if hasattr(observation, "ndim") else np.asarray(observation)
    if array.ndim == len(shape) + 1 and array.shape[1:] == shape:
        return array, False
    if array.shape == shape:
        return array[None], True
    raise ShapeError(
        f"observation: expected the shape {shape}, or a batch of it along a leading axis, got {array.shape}"
    )


def _dict_as_batch(observation: Observation, space: Any) -> tuple[Observation, bool]:
    if not isinstance(observation, dict) or observation.keys() != space.spaces.keys():
        came = list(observation) if isinstance(observation, dict) else type(observation).__name__
        raise ShapeError(f"observation: expected a dict with the keys {list(space.spaces)}, got {came}")
    parts = {key: as_batch(observation[key], part) for key, part in space.spaces.items()}
    single = {alone for _, alone in parts.values()}
    if len(single) > 1:
        raise ShapeError("observation: some entries are batches and some are not: give all a leading axis")
    return {key: part for key, (part, _) in parts.items()}, single == {True}


def _dtype(state: State) -> np.dtype[Any]:
    """The dtype that a space's state names: of numbers, as one of texts or arrays could take any memory."""
    if state["dtype"] not in _DTYPES:
        raise SpaceError(f"expected a dtype of {', '.join(_DTYPES)}, got {state['dtype']!r}")
    return np.dtype(state["dtype"])


_DTYPES = sorted({str(np.dtype(code)) for code in f"?{np.typecodes['AllInteger']}efd"})


def _numbers(state: State, name: str) -> np.ndarray:
    """An array of a space's state, which must be of real numbers: a cast would drop what complex ones have besides."""
    array = state[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise SpaceError(f"{name}: expected an array of real numbers, got {came}")
    return array


def _box(state: State) -> gym.Space[Any]:
    dtype = _dtype(state)
    low, high = (_numbers(state, name).astype(dtype) for name in ("low", "high"))
    return gym.spaces.Box(low, high, shape=low.shape, dtype=dtype.type)


def _discrete(state: State) -> gym.Space[Any]:
    dtype: dict[str, Any] = {"dtype": _dtype(state).type} if "dtype" in state else {}
    return gym.spaces.Discrete(state["n"], start=state["start"], **dtype)


def _multi_discrete(state: State) -> gym.Space[Any]:
    nvec, start = (_numbers(state, name) for name in ("nvec", "start"))
    return gym.spaces.MultiDiscrete(nvec, dtype=_dtype(state).type, start=start)


def _dict(state: State) -> gym.Space[Any]:
    return gym.spaces.Dict([(str(key), space_from_state(part)) for key, part in state["spaces"]])


_BUILDERS: dict[str, Any] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": lambda state: gym.spaces.MultiBinary(state["n"]),
    "Dict": _dict,
}
