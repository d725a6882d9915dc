"""The journal of a run, log.jsonl: what was said, and how each process that trained it began and ended."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import RunError
from dbrrl.reporting.display import Quiet

from .command import one_line
from .directory import RunDirectory
from .heartbeat import Heartbeat, beats

_LARGEST = 1 << 28  # bytes of a file that is read
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)

ENDS = ("finished", "stopped", "failed")

Event = dict[str, Any]


class Journal:
    """Appends events to a file, each a line of JSON with the seconds since 1970 as "time" and a word as "event".

    Events: "start" (with "step", "pid", "host"), "say" and "warning" (with "text"), and at the end of a process
    "finished", "stopped" or "failed" (with "text"). A process that was killed leaves a "start" without an end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, *, sync: bool = False, **fields: Any) -> None:
        """Add an event; `sync`: it is on the disk when this returns. RunError if it cannot be written."""
        line = json.dumps({"time": round(time.time(), 3), "event": event} | fields, default=str) + "\n"
        try:
            with os.fdopen(os.open(self.path, _FLAGS, 0o666), "r+b", buffering=0) as file:
                file.write((b"" if _ends_a_line(file) else b"\n") + line.encode())
                if sync:
                    os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}; make room, then resume") from error


@contextlib.contextmanager
def kept(directory: RunDirectory, step: int, shown: Quiet) -> Iterator[Quiet]:
    """Record that this process trains a run from `step` on, renew its heartbeat, and at last record how it ended.

    Yields a display that shows what `shown` does, and records it.
    """
    journal = Journal(directory.log)
    journal.append("start", step=step, pid=os.getpid(), host=platform.node())
    ended, text = "finished", ""
    with Heartbeat(directory.heartbeat):  # to the end, so that nobody takes a run that ends for a dead one
        try:
            yield Recorded(shown, journal)
        except KeyboardInterrupt as stop:
            ended, text = "stopped", str(stop)
            raise
        except BaseException as error:
            ended, text = "failed", one_line(error)
            raise
        finally:
            with contextlib.suppress(RunError):  # a disk without room is no second error
                journal.append(ended, text=text)


def state(directory: RunDirectory) -> tuple[str, str]:
    """Return how a run is: "running", "finished", "stopped", "failed" or "stale", and in words why.

    "stale": the process that trained it ended without a word, or it is of a version that kept no journal.
    """
    ends = [event for event in read(directory.log) if event["event"] in ("start", *ENDS)]
    return state_after(ends[-1] if ends else {}, directory, time.time())


def state_after(latest: Event, directory: RunDirectory, now: float) -> tuple[str, str]:
    """Return the state of a run whose latest beginning or end is `latest`, at `now` seconds since 1970."""
    event = latest.get("event")
    if event == "start":
        return ("running", "") if beats(directory.heartbeat, now) else ("stale", "its process ended without a word")
    if event in ENDS:
        return event, str(latest.get("text", ""))[:2000]
    if os.path.isfile(directory.final):  # of a version that kept no journal
        return "finished", ""
    return "stale", "it has no journal, and no final agent"


class Recorded(Quiet):
    """Shows what another display shows, and adds to a journal what it says."""

    def __init__(self, shown: Quiet, journal: Journal) -> None:
        self._shown, self._journal = shown, journal
        self.refresh_every = shown.refresh_every

    def start(self, total: int, done: int) -> None:
        """Show the start."""
        self._shown.start(total, done)

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Show the progress."""
        self._shown.update(steps, steps_per_second, mean_return)

    def say(self, line: str) -> None:
        """Show and record an event."""
        self._journal.append("say", text=line.strip())
        self._shown.say(line)

    def warn(self, line: str) -> None:
        """Show and record a problem."""
        self._journal.append("warning", text=line)
        self._shown.warn(line)

    def close(self) -> None:
        """Close the other display."""
        self._shown.close()


def read(path: Path) -> list[Event]:
    """Return the events of a journal, none if there is no file; lines that are not whole are left out.

    Raises RunError if it is not a readable file.
    """
    try:
        content = files.read(path, _LARGEST)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(content)


def parse(content: bytes) -> list[Event]:
    """Return the events in whole lines of a journal; what is no event is left out."""
    found = []
    for line in content.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("event"), str):
                found.append(entry)
    return found


def _ends_a_line(file: Any) -> bool:
    """Return whether the file is empty or ends with a whole line; a process may have been killed within one."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
