"""Settings that may be schedules: what counts as one, and what it leaves without effect."""

import typing
from collections.abc import Mapping
from typing import Any

from dbrrl import schedules
from dbrrl.errors import ConfigError
from dbrrl.schedules import Schedule


def without_unused(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without the "NAME_schedule" of each setting for which `changes` has a schedule itself."""
    unused = [f"{name}_schedule" for name, value in changes.items() if is_schedule(value)]
    return {name: value for name, value in values.items() if name not in unused}


def is_schedule(value: Any) -> bool:
    """Return whether a value given for a setting is a schedule: as such, as a table or as a text."""
    named = isinstance(value, str) and value.partition(":")[0] in schedules.NAMES
    return named or isinstance(value, Schedule | Mapping)


def refuse_two_schedules(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a setting is a schedule, and its "NAME_schedule" names another one."""
    for name, value in values.items():
        other = f"{name}_schedule"
        if is_schedule(value) and values.get(other, "constant") != "constant":
            raise ConfigError(f"{other}: has no effect where {name} is a schedule, {value}: leave one of them out")


def takes_schedule(annotation: Any) -> bool:
    """Return whether a field of this type may be a schedule."""
    return Schedule in typing.get_args(annotation)
