"""The commands that a run was given, as its journal and its folder tell."""

import contextlib
from collections.abc import Sequence
from typing import Any

from dbrrl.errors import ConfigError
from dbrrl.experiment import registry, steering
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.journal import Event
from dbrrl.experiment.steered import OF_RUN
from dbrrl.learning.changing import CHANGEABLE

from . import sendable
from .messages import Answer, Changeable


def answers(events: Sequence[Event], directory: RunDirectory) -> list[Answer]:
    """Return the commands of a run, the latest answer to each, those without one last."""
    found = {one: _answer(event) for one, event in steering.answers(events).items()}
    for one in steering.waiting(directory.commands):
        if one in found:
            continue
        with contextlib.suppress(ConfigError):
            command = steering.read(directory.commands, one)
            when = int(one.partition("-")[0]) / 1e9
            found[one] = Answer(one, command.name, command.values, "given", None, _at(command.at), when)
    return list(found.values())


def changeable(events: Sequence[Event], agent: str, settings: dict[str, Any]) -> list[Changeable]:
    """Return the settings that may change, with the values that commands have given them."""
    alone = agent in registry.agent_names() and registry.agent_class(agent).asynchronous
    names = OF_RUN if alone else (*OF_RUN, *CHANGEABLE)
    values = {name: settings.get(name) for name in names if name in settings or name in OF_RUN}
    for event in events:
        if event["event"] == "done" and event.get("command") == "set" and isinstance(event.get("values"), dict):
            values |= {name: value for name, value in event["values"].items() if name in values}
    return [Changeable(name, value) for name, value in values.items()]


def _answer(event: Event) -> Answer:
    given = event.get("values")
    return Answer(
        id=sendable.text(event["id"], 100),
        command=sendable.text(event.get("command"), 100),
        values=sendable.data(given) if isinstance(given, dict) else {},
        event=event["event"],
        step=sendable.whole(event.get("step")),
        text=sendable.text(event.get("text"), 1_000),
        time=sendable.number(event.get("time")) or 0.0,
    )


def _at(step: int) -> str:
    return f"for step {step:,}" if step else ""
