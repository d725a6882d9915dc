"""What a recorded step depends on beside numbers: the columns of a batch, and the parameters that an agent has."""

from collections.abc import Iterable, Mapping
from typing import Any

from dbrrl.autodiff.tensor import Tensor
from dbrrl.nn.module import Module


def parameters_of(agent: object) -> list[Tensor]:
    """Return the parameters of the modules among an agent's attributes, and those that are attributes themselves."""
    found: list[Tensor] = []
    for value in vars(agent).values():
        found += value.parameters() if isinstance(value, Module) else [value] if isinstance(value, Tensor) else []
    return found


def structure_of(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """The names of a batch's columns and of the arrays in each: None for one array, () for a column that is None."""
    return tuple(
        (name, () if column is None else tuple(column) if isinstance(column, dict) else None)
        for name, column in columns.items()
    )


def arrays_of(columns: Mapping[str, Any]) -> list[Any]:
    """The arrays of all columns."""
    arrays: list[Any] = []
    for column in columns.values():
        if column is not None:
            arrays += column.values() if isinstance(column, dict) else [column]
    return arrays


def columns_of(structure: tuple[Any, ...], arrays: Iterable[Any]) -> dict[str, Any]:
    """The columns that `_structure` and `_arrays` describe."""
    left, columns = iter(arrays), {}
    for name, keys in structure:
        if keys is None:
            columns[name] = next(left)
        else:
            columns[name] = {key: next(left) for key in keys} if keys else None
    return columns
