"""Masks of actions: an entry `action_mask` of an observation says which actions are allowed.

A mask is bool (B, n), True where an action is allowed: n entries for Discrete(n), and for MultiDiscrete one after the
other those of each choice, Σ nvec in all. `Preprocessor` takes it out of what networks read, and agents take it out of
what may be chosen: a masked action has probability 0, and its value is no target.
"""

from math import prod
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl.errors import ShapeError, SpaceError
from dbrrl.types import Observation

MASK = "action_mask"  # the key, in a Dict observation and in what an environment's info says

spaces = gym.spaces


def choices_of(actions: gym.Space[Any]) -> tuple[int, ...]:
    """Return how many actions each choice of a space has: (n,) of Discrete(n), nvec of MultiDiscrete; () of others."""
    if isinstance(actions, spaces.Discrete):
        return (int(actions.n),)
    return tuple(int(n) for n in actions.nvec.ravel()) if isinstance(actions, spaces.MultiDiscrete) else ()


def masked_choices(space: gym.Space[Any], actions: gym.Space[Any]) -> tuple[int, ...]:
    """Return `choices_of` the actions where observations of a space have a mask for them; () where they have none.

    Raises:
        SpaceError: there is an entry `action_mask` that masks no such actions.
    """
    if not isinstance(space, spaces.Dict) or MASK not in space.spaces:
        return ()
    mask, sizes = space.spaces[MASK], choices_of(actions)
    if not sizes:
        raise SpaceError(
            f"observation[{MASK!r}]: expected Discrete or MultiDiscrete actions, as only these are masked, got "
            f"{actions}: give the entry another name, or leave it out"
        )
    n = sum(sizes)
    if not _is_binary(mask) or prod(mask.shape or ()) != n:
        raise SpaceError(
            f"observation[{MASK!r}]: expected MultiBinary({n}), or a Box of 0 and 1 with {n} entries, for the actions "
            f"{actions}, got {mask}: give one entry for each action, 1 where it is allowed"
        )
    return sizes


def _is_binary(mask: gym.Space[Any]) -> bool:
    if isinstance(mask, spaces.Box):
        return bool(np.all(mask.low >= 0) and np.all(mask.high <= 1))
    if isinstance(mask, spaces.MultiDiscrete):
        return bool(np.all(mask.nvec == 2) and np.all(mask.start == 0))
    return isinstance(mask, spaces.MultiBinary)


def allowed(observation: Observation) -> Any:
    """Return the mask of a batch of preprocessed observations, bool (B, n); None where they have none."""
    return observation.get(MASK) if type(observation) is dict else None


def opened(observation: Observation) -> Observation:
    """Return observations whose mask allows every action where it allows none, as it may after a true end.

    What is computed of such a state counts 0 times, and so it must be a number.
    """
    mask = allowed(observation)
    return observation if mask is None else observation | {MASK: mask | ~mask.any(axis=1, keepdims=True)}


def masked(x: Any, observation: Observation, instead: float = -np.inf) -> Any:
    """Return logits or values (B, n) with -∞, or `instead`, for the actions that the observations do not allow.

    No gradient reaches those: it is exactly 0. Where observations have no mask it is `x` itself. Of log-probabilities
    that are multiplied by the probabilities take 0 instead: -∞ times 0 is no number, and the limit of p log p is 0.

    Raises:
        ShapeError: x is not one number for each action.
    """
    if type(observation) is not dict or MASK not in observation:
        return x
    mask = observation[MASK]
    if x.shape != mask.shape:
        raise ShapeError(
            f"{MASK}: expected outputs of the mask's shape {mask.shape}, one for each action, got {x.shape}: only such "
            "a policy can be masked"
        )
    return F.where(mask, x, instead)


def uniform(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random action for each row of a mask, bool (B, n), each allowed one alike: int64 (B,)."""
    counts = mask.cumsum(axis=1)
    place = rng.integers(counts[:, -1])  # 0 is the first that is allowed
    found: np.ndarray = (counts > place[:, None]).argmax(axis=1)
    return found
