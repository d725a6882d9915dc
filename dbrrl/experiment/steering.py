"""Commands to a run that is going on: files in its folder, which it answers in its journal."""

import contextlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import CheckpointError, ConfigError, RunError

from . import journal
from .directory import RunDirectory
from .journal import Event, Journal

COMMANDS = ("stop", "checkpoint", "evaluate", "set")
ANSWERS = ("scheduled", "accepted", "done", "refused")
_LARGEST = 100_000  # bytes of a request
_MOST = 1_000  # requests that wait
_NAME = re.compile(r"\d{1,24}-[0-9a-f]{16}\.json")
_NOT_REPEATED = "stop", "checkpoint"  # commands without an effect on numbers, which a resumed run does not repeat


@dataclass(frozen=True, order=True)
class Command:
    """A command to a run.

    Attributes:
        at: the first step at which it may be carried out; 0: now.
        id: its name, which tells when it was given.
        name: one of `COMMANDS`, or one that a callback carries out.
        values: its arguments; of "set" the settings.
    """

    at: int
    id: str
    name: str = field(compare=False)
    values: dict[str, Any] = field(compare=False, default_factory=dict)


def request(path: Path, name: str, values: Mapping[str, Any] | None = None, at: int = 0) -> str:
    """Give a command to the run in the folder `path`; return its id, under which the journal has the answer.

    Raises:
        RunError: there is no such run, it is not going on, or the file cannot be written.
        ConfigError: the command has not the right form.
    """
    directory = RunDirectory.open(path)
    state, text = journal.state(directory)
    if state != "running":
        cure = "resume it first" if state in ("stopped", "failed", "stale") else "it takes no more commands"
        raise RunError(f"{path}: the run is not going on, it is {state}{f' ({text})' if text else ''}: {cure}")
    command = checked({"command": name, "values": dict(values or {}), "at": at}, _new_id())
    content = {"command": command.name, "values": command.values, "at": command.at}
    if files.is_link(directory.commands):
        raise RunError(f"{directory.commands}: is a link, and nothing is written through one")
    try:
        directory.commands.mkdir(exist_ok=True)
        files.write(directory.commands / f"{command.id}.json", json.dumps(content).encode())
    except (OSError, CheckpointError) as error:
        raise RunError(f"{directory.commands}: no command can be given: {error}") from error
    return command.id


def answers(events: Iterable[Event]) -> dict[str, Event]:
    """Return the latest answer to each command in a journal, by the command's id, the earliest command first."""
    return {str(event["id"]): event for event in events if event["event"] in ANSWERS and "id" in event}


def waiting(folder: Path) -> list[str]:
    """Return the ids of the commands that lie in a folder, the earliest first; nothing is read through a link."""
    if files.is_link(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if _NAME.fullmatch(one.name) and one.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return [name.removesuffix(".json") for name in sorted(names)[:_MOST]]


def read(folder: Path, one: str) -> Command:
    """Return the command `one` that lies in a folder; ConfigError if its file is none, or cannot be read."""
    try:
        return checked(json.loads(files.read(folder / f"{one}.json", _LARGEST)), one)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(error)) from error


def checked(content: Any, one: str) -> Command:
    """Return a command from the content of its file; ConfigError if it has not the right form."""
    if not isinstance(content, dict) or not isinstance(content.get("command"), str):
        raise ConfigError('a command: expected {"command": NAME, "values": {...}, "at": STEP}')
    name, values, at = content["command"], content.get("values", {}), content.get("at", 0)
    if not isinstance(values, dict) or not all(_plain(value) for value in values.values()):
        raise ConfigError(f"{name}: values: expected a table of numbers, texts and booleans")
    if type(at) is not int or not 0 <= at < 2**53:
        raise ConfigError(f"{name}: at: expected a step, a whole number of at least 0, got {at!r:.40}")
    if len(name) > 100 or not name.isprintable():
        raise ConfigError("a command: expected a short name")
    if name in COMMANDS and name != "set" and values:
        raise ConfigError(f"{name}: expected no arguments, got {', '.join(values)}")
    if name == "set" and not values:
        raise ConfigError("set: expected settings and their values, got none: name=value")
    return Command(at, one, name, values)


class Inbox:
    """The commands that a run was given and has not carried out.

    Attributes:
        done: ids of those that the state of the run includes, in the order in which they were carried out.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory, self.journal = directory, Journal(directory.log)
        self.done: list[str] = []
        self._waiting: dict[str, Command] = {}
        self._earlier: set[str] = set()  # ids of commands that lay in the folder when this process began
        self._refused: set[str] = set()  # ids, in case their files cannot be removed
        self._again: set[str] = set()  # ids of commands that an earlier process carried out after the checkpoint

    def resume(self, done: list[str]) -> None:
        """Go on from a state that includes the commands `done`: later ones are carried out at their steps again."""
        self.done, self._earlier = list(done), set(waiting(self.directory.commands))
        for event in journal.read(self.directory.log):
            if event["event"] not in ("accepted", "done") or event.get("id") in self.done:
                continue
            with contextlib.suppress(ConfigError):
                content = {"command": event.get("command"), "values": event.get("values", {}), "at": event.get("step")}
                command = checked(content, str(event.get("id")))
                if command.name not in _NOT_REPEATED:
                    self._waiting[command.id] = command
                    self._again.add(command.id)

    def look(self, step: int, last: int) -> None:
        """Read the commands that came; refuse what is none, and answer those that wait for a later step.

        `last`: the last step of the run. What was to stop an earlier process does not stop this one.
        """
        for one in waiting(self.directory.commands):
            if one in self.done or one in self._refused or one in self._again:
                self._remove(one)
                continue
            if one in self._waiting:
                continue
            try:
                command = read(self.directory.commands, one)
            except ConfigError as error:
                self.answer(Command(0, one, "unknown"), "refused", step, str(error)[:500])
                continue
            if command.at > last:
                self.answer(command, "refused", step, f"step {command.at:,} is after the end of the run, {last:,}")
                continue
            if command.name == "stop" and not command.at and one in self._earlier:
                self.answer(command, "refused", step, "it was given to a process that ended before: give it again")
                continue
            self._waiting[one] = command
            if command.at > step:
                self.answer(command, "scheduled", step, f"for step {command.at:,}")

    def next_step(self) -> float:
        """Return the step of the next command that waits; infinity if there is none."""
        return min((command.at for command in self._waiting.values()), default=math.inf)

    def due(self, step: int) -> list[Command]:
        """Return the commands to carry out now, in the order of their steps and times."""
        return sorted(command for command in self._waiting.values() if command.at <= step)

    def answer(self, command: Command, event: str, step: int, text: str = "") -> None:
        """Write an answer, one of `ANSWERS`; a command that is accepted or refused waits no longer.

        That it is accepted is on the disk before it is carried out, so that a run which is killed then does it again.
        """
        about = {"id": command.id, "command": command.name, "values": command.values, "step": step, "text": text}
        self.journal.append(event, sync=True, **about)
        if event in ("accepted", "refused"):
            self._waiting.pop(command.id, None)
            self._again.discard(command.id)
            self._remove(command.id)
        if event == "accepted":
            self.done.append(command.id)
        if event == "refused":
            self._refused.add(command.id)

    def _remove(self, one: str) -> None:
        with contextlib.suppress(OSError):
            (self.directory.commands / f"{one}.json").unlink(missing_ok=True)


def _plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _new_id() -> str:
    return f"{time.time_ns()}-{secrets.token_hex(8)}"
