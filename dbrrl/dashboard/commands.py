"""The commands that a run was given, as its journal and its folder tell."""

import contextlib
from collections.abc import Sequence
from typing import Any

from dbrrl.errors import ConfigError
from dbrrl.experiment import steering
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.journal import Event
from dbrrl.experiment.steered import OF_RUN
from dbrrl.learning.changing import CHANGEABLE

from .messages import Answer, Changeable


def answers(events: Sequence[Event], directory: RunDirectory) -> list[Answer]:
    """Return the commands of a run, the latest answer to each, those without one last."""
    found = {
        str(event["id"]): _answer(event) for event in events if event["event"] in steering.ANSWERS and "id" in event
    }
    for one in steering.waiting(directory.commands):
        if one in found:
            continue
        with contextlib.suppress(ConfigError):
            command = steering.read(directory.commands, one)
            when = int(one.partition("-")[0]) / 1e9
            found[one] = Answer(one, command.name, command.values, "given", None, _at(command.at), when)
    return list(found.values())


def changeable(events: Sequence[Event], settings: dict[str, Any]) -> list[Changeable]:
    """Return the settings that may change, with the values that commands have given them."""
    values = {name: settings.get(name) for name in (*OF_RUN, *CHANGEABLE) if name in settings or name in OF_RUN}
    for event in events:
        if event["event"] == "done" and event.get("command") == "set" and isinstance(event.get("values"), dict):
            values |= {name: value for name, value in event["values"].items() if name in values}
    return [Changeable(name, value) for name, value in values.items()]


def _answer(event: Event) -> Answer:
    values, step, when = event.get("values"), event.get("step"), event.get("time")
    return Answer(
        id=str(event["id"])[:100],
        command=str(event.get("command", ""))[:100],
        values=values if isinstance(values, dict) else {},
        event=event["event"],
        step=step if isinstance(step, int) else None,
        text=str(event.get("text", ""))[:1000],
        time=float(when) if isinstance(when, int | float) else 0.0,
    )


def _at(step: int) -> str:
    return f"for step {step:,}" if step else ""
