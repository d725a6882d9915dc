"""Observations as trees: one array, or a dict of arrays by name."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dbrrl.backend.arrays import to_device


def leaves(tree: Any) -> list[Any]:
    """Return the arrays of an observation: the array itself, or the values of a dict, in its order; a list as it is."""
    if type(tree) is np.ndarray:
        return [tree]  # the usual case
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, (list, tuple)) else [tree]


def count(tree: Any) -> int:
    """Return the number of rows of a batch of observations."""
    return len(tree) if type(tree) is not dict else len(next(iter(tree.values())))


def tree_of(names: Sequence[str], arrays: Sequence[Any]) -> Any:
    """Return the observation with these arrays: a dict by name; of one array without a name that array itself.

    Several arrays without names are called "0", "1", and so on.
    """
    if not names and len(arrays) == 1:
        return arrays[0]
    return dict(zip(names or map(str, range(len(arrays))), arrays, strict=True))


def tree_maker(names: Sequence[str], arrays: int) -> Callable[[Sequence[Any]], Any]:
    """Return `tree_of` these names, for as many arrays: where it has nothing to do but pick, in a third of the time."""
    return operator.itemgetter(0) if not names and arrays == 1 else functools.partial(tree_of, names)


def to_device_tree(tree: Any, device: str) -> Any:
    """Return the observation with all arrays on `device`, a name such as "cuda"; on the "cpu" they are already."""
    return tree if device == "cpu" else mapped(lambda array: to_device(array, device), tree)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the observation whose arrays are `function` of those of `tree`."""
    if isinstance(tree, dict):
        return {name: function(array) for name, array in tree.items()}
    return function(tree)
