"""What the files of a run say about it: its settings, scores, and whether it is going on."""

import contextlib
import errno
import hashlib
import os
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.experiment import journal
from dbrrl.experiment.directory import RunDirectory

from . import sendable
from .tables import Stamp, Table, read, stamp

STATES = ("running", "finished", "stopped", "failed", "stale", "damaged")
EVALUATION = ("mean", "median", "stdev", "min", "max", "success_rate")  # columns of scores.csv; others: progress.csv
_CONFIG = 1_000_000  # bytes of config.toml
_JOURNAL = 1_000_000  # last bytes of log.jsonl that are read for the list
_TABLES = ("config", "env_kwargs", "eval_env_kwargs", "preset", "chosen", "versions", "machine", "given")


@dataclass(frozen=True)
class Summary:
    """A row of the list of runs.

    Attributes:
        id: its name in addresses, made from its place.
        path: its place, relative to the folder that the dashboard shows.
        state: one of `STATES`; "stale": its process has ended without a word, "damaged": its settings cannot be read.
        text: why it stopped, failed, or is damaged.
        steps, total: environment steps that are done, and planned.
        score, best: mean return of the latest evaluation, and the highest of one; None before the first.
        elapsed: seconds of training.
        started: seconds since 1970 at which it began.
        problems: what is damaged of its files.
        settings: all settings, those of the agent and of the environment in one table.
    """

    id: str
    path: str
    state: str
    text: str = ""
    agent: str = ""
    env: str = ""
    seed: int | None = None
    steps: int = 0
    total: int = 0
    score: float | None = None
    best: float | None = None
    elapsed: float = 0.0
    started: float = 0.0
    commit: str = ""
    problems: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """What the list says of scores.csv: its last row, the highest mean, and how many lines are damaged."""

    steps: int = 0
    elapsed: float = 0.0
    latest: float | None = None
    best: float | None = None
    damaged: int = 0


def identity(path: str) -> str:
    """Return the name in addresses of the run at a relative path."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class RunFiles:
    """The files of one run; what has not changed is not read again."""

    def __init__(self, folder: Path, path: str) -> None:
        self.directory, self.path, self.id = RunDirectory(folder), path, identity(path)
        self.scores, self.progress = Table(self.directory.scores), Table(self.directory.progress)
        self.summary = Summary(self.id, path, "damaged", "not read yet")
        self.progress_columns: list[str] = []
        self._config: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._problem = ""
        self._stamps: dict[str, Stamp | None] = {}
        self._latest: journal.Event = {}
        self._began = 0.0
        self._commands = 0  # when a command last came or went
        self._steps = (0, 0.0)
        self._scores = Scores()
        self._lock = threading.Lock()

    def refresh(self, now: float) -> bool:
        """Look at the files again, at `now` seconds since 1970; return whether anything of them has changed."""
        with self._lock:
            try:
                return self._refreshed(now)
            except Exception as error:  # whatever files hold, and whoever owns them: they stop nothing
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                before, self.summary = self.summary, Summary(self.id, self.path, "damaged", sendable.text(reason))
                return self.summary != before

    def curve(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        """Return two columns, (n,) and (n,), of the table that has `y`, as they are at one moment."""
        with self._lock:
            self.scores.load()
            self.progress.load()
            table = self.scores if y in EVALUATION or y not in self.progress.columns else self.progress
            return table.column(x), table.column(y)

    def evaluations(self, most: int) -> tuple[list[str], int, np.ndarray]:
        """Return the columns of scores.csv, the number of the first of its last rows, and these rows."""
        with self._lock:
            self.scores.load()
            first = max(0, len(self.scores.values) - most)
            return list(self.scores.columns), first, self.scores.values[first:]

    def forget(self) -> None:
        """Free the memory of the tables."""
        with self._lock:
            self.scores.forget()
            self.progress.forget()

    @property
    def held(self) -> int:
        """The bytes of the tables in memory."""
        return self.scores.size + self.progress.size

    @property
    def title(self) -> str:
        """What was trained where: "ppo on CartPole-v1, seed 0"."""
        one = self.summary
        return f"{one.agent} on {one.env}, seed {one.seed}" if one.agent else self.path

    def _refreshed(self, now: float) -> bool:
        config, log = self._changed("config", self.directory.config), self._changed("log", self.directory.log)
        scores, progress = self.scores.refresh(), self._changed("progress", self.directory.progress)
        commands = self._commands
        if self._latest.get("event") == "start":  # only a run that goes on is given any
            with contextlib.suppress(OSError):  # there is no such folder before the first command
                self._commands = os.stat(self.directory.commands).st_mtime_ns
        if config:
            self._read_config()
        if log:
            self._read_journal()
        if progress:
            self._read_latest()
        if scores:
            self._scores = _scores(self.scores)
        known = journal.state_after(self._latest, self.directory, now)
        state, text = ("damaged", self._problem) if self._problem else known
        if not (config or log or scores or progress or commands != self._commands or self.summary.state != state):
            return False
        self.summary = self._summarized(state, text)
        if state != "running":
            self.scores.forget()  # its numbers are in the summary
        return True

    def events(self) -> list[journal.Event]:
        """Return the events of the journal, none if it cannot be read."""
        try:
            return journal.parse(read(self.directory.log))
        except OSError:
            return []

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.toml."""
        return self._config

    def _changed(self, name: str, path: Path) -> bool:
        now, known = stamp(path), self._stamps.get(name)
        self._stamps[name] = now
        return now != known or (known is None and name == "config" and not self._problem)

    def _read_config(self) -> None:
        self._config, self._settings, self._problem = {}, {}, ""
        try:
            content = read(self.directory.config, 0, _CONFIG + 1)
            if len(content) > _CONFIG:
                raise OSError(errno.EFBIG, f"it has more than {_CONFIG:,} bytes")
            self._config = tomllib.loads(content.decode())
            self._settings = sendable.data(_flat(self._config))
        except OSError as error:
            self._problem = f"config.toml cannot be read: {error.strerror or error}"
        except (ValueError, RecursionError) as error:
            self._problem = f"config.toml is damaged: {' '.join(str(error).split())[:200]}"

    def _read_journal(self) -> None:
        """Read how the latest process began or ended."""
        try:
            size = os.stat(self.directory.log).st_size
            events = journal.parse(read(self.directory.log, max(0, size - _JOURNAL)))
        except OSError:
            events = []
        ends = [event for event in events if event["event"] in ("start", *journal.ENDS)]
        self._latest = ends[-1] if ends else {}

    def _read_latest(self) -> None:
        """Read the steps and seconds of the last row of progress.csv, from the last bytes of it."""
        try:
            size = os.stat(self.directory.progress).st_size
            header = read(self.directory.progress, 0, 4096).split(b"\n", 1)[0].split(b",")
            self.progress_columns = [name.decode("utf-8", "replace") for name in header]
            lines = read(self.directory.progress, max(0, size - 4096)).split(b"\n")
            row = dict(zip(header, lines[-2].split(b","), strict=True)) if len(lines) > 2 else {}
            self._steps = int(float(row.get(b"steps", b"0"))), float(row.get(b"elapsed", b"0"))
        except (OSError, ValueError, OverflowError):
            self._steps = 0, 0.0

    def _summarized(self, state: str, text: str) -> Summary:
        c, known = self._config, self._scores
        steps, elapsed = max(self._steps, (known.steps, known.elapsed))
        damaged = [f"scores.csv: {known.damaged} damaged rows"] if known.damaged else []
        return Summary(
            id=self.id,
            path=self.path,
            state=state,
            text=sendable.text(text),
            agent=sendable.text(c.get("agent")),
            env=sendable.text(c.get("env")),
            seed=sendable.whole(c.get("seed")),
            steps=steps,
            total=sendable.whole(c.get("steps")) or 0,
            score=known.latest,
            best=known.best,
            elapsed=elapsed,
            started=self._started(),
            commit=sendable.text(_table(c, "versions").get("git_commit")),
            problems=tuple(damaged),
            settings=self._settings,
        )

    def _started(self) -> float:
        """Return the time of the journal's first event, or of config.toml where there is no journal."""
        if not self._began:
            first: list[journal.Event] = []
            with contextlib.suppress(OSError):
                first = journal.parse(read(self.directory.log, 0, 4096))
            known = self._stamps.get("config")
            told = sendable.number(first[0].get("time")) if first else None
            self._began = told or (known[2] / 1e9 if known else 0.0)
        return self._began


def _scores(table: Table) -> Scores:
    means, steps, elapsed = table.column("mean"), table.column("steps"), table.column("elapsed")
    if not len(means):
        return Scores(damaged=table.damaged)
    finite = means[np.isfinite(means)]
    return Scores(
        steps=int(sendable.number(steps[-1]) or 0),
        elapsed=sendable.number(elapsed[-1]) or 0.0,
        latest=sendable.number(means[-1]),
        best=float(finite.max()) if len(finite) else None,
        damaged=table.damaged,
    )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Return all settings in one table: those of the run, of the agent, and env_kwargs by "env_kwargs.NAME"."""
    found = {name: value for name, value in config.items() if name not in _TABLES and not isinstance(value, dict)}
    found |= _table(config, "config")
    for table in ("env_kwargs", "eval_env_kwargs"):
        found |= {f"{table}.{name}": value for name, value in _table(config, table).items()}
    return found


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}
