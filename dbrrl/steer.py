"""`python -m dbrrl.steer RUN stop` gives a command to a run that is going on."""

import argparse
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import command, journal, steering
from dbrrl.experiment.directory import RunDirectory

_DESCRIPTION = """Give a command to a run that is going on, and wait for its answer.

  stop                  save an exact checkpoint and end; --resume goes on with the run
  checkpoint            save an exact checkpoint
  evaluate              evaluate, and add a row to scores.csv
  set NAME=VALUE ...    go on with other settings, such as learning_rate=1e-4 or eval_interval=5000
  history               print the commands that the run was given, and its answers

Another word is a command of the run's own callbacks. The run may be on another machine that shares the disk."""


def main(arguments: Sequence[str]) -> None:
    """Give the command of the command line."""
    given = _parse(arguments)
    path, name = Path(given["run"]), given["command"]
    if name == "history":
        _history(path)
        return
    one = steering.request(path, name, _values(given["values"]), given["at"])
    if given["wait"] > 0:
        _await(RunDirectory.open(path), one, given["wait"])
    else:
        print(f"given: {one}")


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.steer", description=_DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("run", metavar="RUN", help="the run's folder")
    add("command", metavar="COMMAND", help="stop, checkpoint, evaluate, set, history, or one of the run's own")
    add("values", metavar="NAME=VALUE", nargs="*", help="settings, or arguments of the command")
    add("--at", type=_whole, default=0, metavar="STEP", help="the first step at which to do it [default: now]")
    add("--wait", type=_whole, default=60, metavar="SECONDS", help="how long to wait for the answer [default 60]")
    add("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    return parser.parse_all(arguments)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _values(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE; a value is JSON, or else a text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"{word!r}: expected NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _await(directory: RunDirectory, one: str, seconds: float) -> None:
    """Print the answer once it is there; RunError if the run refuses, or gives none."""
    until, found = time.monotonic() + seconds, None
    while time.monotonic() < until:
        found = steering.answers(journal.read(directory.log)).get(one)
        if found is not None and found["event"] != "accepted":
            if found["event"] == "refused":
                raise RunError(f"refused: {found.get('text', '')}")
            print(_told(found))
            return
        time.sleep(0.1)
    if found is not None:
        raise RunError(f"{_told(found)}, and not done in {seconds:.0f} s: `history` tells when it is")
    raise RunError(f"no answer in {seconds:.0f} s: a step or an evaluation takes long, or the process has ended")


def _history(path: Path) -> None:
    directory = RunDirectory.open(path)
    found = steering.answers(journal.read(directory.log))
    for event in found.values():
        print(_told(event))
    waiting = [one for one in steering.waiting(directory.commands) if one not in found]
    for one in waiting:
        with contextlib.suppress(ConfigError):
            command = steering.read(directory.commands, one)
            print(f"{_about(command.name, command.values)}: given, not yet answered")
    if not found and not waiting:
        print("no command was given")


def _about(name: str, values: Mapping[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in values.items())])


def _told(event: journal.Event) -> str:
    about = _about(str(event.get("command", "")), event.get("values") or {})
    text = f": {event['text']}" if event.get("text") else ""
    return f"{about}: {event['event']} at step {event.get('step', 0):,}{text}"


if __name__ == "__main__":
    command.run_process(main)
