"""Observations as trees: one array, or a dict of arrays by name."""

from collections.abc import Callable, Sequence
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """Return the arrays of an observation: the array itself, or the values of a dict, in its order."""
    return list(tree.values()) if isinstance(tree, dict) else [tree]


def tree_of(names: Sequence[str], arrays: Sequence[Any]) -> Any:
    """Return the observation with these arrays: a dict by name; without names the one array itself."""
    return dict(zip(names, arrays, strict=True)) if names else arrays[0]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the observation whose arrays are `function` of those of `tree`."""
    if isinstance(tree, dict):
        return {name: function(array) for name, array in tree.items()}
    return function(tree)
