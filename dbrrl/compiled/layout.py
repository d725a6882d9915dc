"""What a recorded step depends on beside numbers: the columns of a batch, and the parameters that an agent has."""

from collections.abc import Iterable, Mapping
from typing import Any

from dbrrl.autodiff.tensor import Tensor
from dbrrl.buffers.batch import Batch
from dbrrl.compiled.programs import NotRecorded
from dbrrl.nn.module import Module


def parameters_of(agent: object) -> list[Tensor]:
    """Return the parameters of the modules among an agent's attributes, and those that are attributes themselves.

    Raises:
        NotRecorded: the agent, or one of the modules, is of a class that is not the library's, and does not say
            `recordable = True`: its code may read numbers that change from call to call, which a program would not see.
    """
    check_class(agent)
    found: list[Tensor] = []
    for value in vars(agent).values():
        if isinstance(value, Module):
            for module in value.modules():
                check_class(module)
            found += value.parameters()
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def not_recorded(agent: object) -> str:
    """Return why no gradient step of an agent is recorded, whatever its loss is; "" if one may be."""
    try:
        parameters_of(agent)
    except NotRecorded as error:
        return str(error)
    return ""


def sizes_of(agent: Any) -> set[int]:
    """Return the numbers of transitions that the batches of an agent's gradient steps usually have.

    Steps on others, such as rollouts with rows that are no transition, run op by op: each would need a program of its
    own, and which ones are recorded must not depend on what came before, or a resumed run would not be the run.
    """
    rollout = getattr(agent, "n_steps", 0) * agent.num_envs
    size: int = getattr(agent.config, "batch_size", None) or rollout
    return {size, rollout, rollout % size if size else 0} - {0}


def check_class(x: object) -> None:
    """Raise NotRecorded for an object of a class that is neither the library's nor says `recordable = True`."""
    kind = type(x)
    if not kind.__module__.startswith("dbrrl.") and not vars(kind).get("recordable", False):
        raise NotRecorded(
            f"{kind.__qualname__} is a class of one's own: say `recordable = True` in it if its code reads no numbers "
            "that change from call to call but its arguments"
        )


def structure_of(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the names of a batch's columns and of the arrays in each: None for one array, () for a column of None."""
    return tuple(
        (name, () if column is None else tuple(column) if isinstance(column, dict) else None)
        for name, column in columns.items()
    )


def arrays_of(columns: Mapping[str, Any]) -> list[Any]:
    """Return the arrays of all columns."""
    arrays: list[Any] = []
    for column in columns.values():
        if column is not None:
            arrays += column.values() if isinstance(column, dict) else [column]
    return arrays


def batch_of(structure: tuple[Any, ...], arrays: Iterable[Any], rows: Any = None) -> Batch:
    """Return the batch of `arrays` as `structure_of` describes them; of some rows of it, unless `rows` is None."""
    left, columns = iter(arrays), {}
    for name, keys in structure:
        if keys is None:
            columns[name] = next(left)
        else:
            columns[name] = {key: next(left) for key in keys} if keys else None
    return Batch.of_columns(columns) if rows is None else Batch.of_rows(columns, rows)
