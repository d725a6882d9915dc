"""The folder of a run: what lies where, made once, never overwritten, and held by one process at a time."""

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dbrrl import checkpoint
from dbrrl.checkpoint import State, files
from dbrrl.errors import CheckpointError, RunError
from dbrrl.reporting import toml

from . import settings

PARTS = ("agent", "environments", "loop")  # of a run's exact checkpoint
_COMMANDS = 1_000_000  # bytes of command.txt that are kept when a line is added
KEPT = 2  # exact checkpoints: the newest, and one more in case the disk damages it


class RunDirectory:
    """A run's folder; make one with `create`, come back to one with `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.scores = path / "scores.csv"
        self.progress = path / "progress.csv"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best" / "agent.dbrrl"
        self.final = path / "final" / "agent.dbrrl"
        self.curve = path / "curve.png"
        self.events = path / "tensorboard"
        self._lock: int | None = None

    @classmethod
    def create(
        cls, out: Path, name: str | None, stem: str, table: dict[str, Any], files: Mapping[str, bytes] | None = None
    ) -> Self:
        """A new folder in `out`, locked, with `table` as its config.toml and `files` by name.

        It is called `name`, or else `stem` and the time, made unlike any other. It is filled under a hidden name and
        then renamed: a process that is killed leaves the whole folder, or none of that name. An empty folder is taken
        as none.

        Raises RunError where a folder `name` exists, or none can be made.
        """
        if name and (name in (".", "..") or Path(name).name != name):
            raise RunError(f"name: expected the name of one folder, got {name!r}: say where it lies with --out")
        if name and _taken(out / name):
            raise _exists(out / name)
        hidden = out / f".{name or stem}.{secrets.token_hex(8)}.tmp"
        directory = cls(hidden)
        try:
            out.mkdir(parents=True, exist_ok=True)
            hidden.mkdir()
            directory.lock()
            directory.write_config(table)
            for file, content in (files or {}).items():
                checkpoint.write(hidden / file, content)
            if name:
                return directory._moved(out / name)
            return directory._moved_to_any(out, f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}")
        except OSError as error:
            raise RunError(f"{out}: no run directory can be made: {error.strerror}") from error
        finally:
            if hidden.exists():
                directory.release()
                shutil.rmtree(hidden, ignore_errors=True)

    def _moved(self, path: Path) -> Self:
        """This folder, renamed to `path` in one step; RunError where something else has that name."""
        with contextlib.suppress(OSError):
            path.rmdir()  # an empty one
        try:
            os.rename(self.path, path)
        except OSError:
            if os.path.lexists(path):
                raise _exists(path) from None
            raise
        moved = type(self)(path)
        moved._lock, self._lock = self._lock, None
        return moved

    def _moved_to_any(self, out: Path, name: str) -> Self:
        for attempt in range(1, 1000):
            path = out / (name if attempt == 1 else f"{name}-{attempt}")
            if not os.path.lexists(path):
                with contextlib.suppress(RunError):
                    return self._moved(path)
        raise _exists(out / name)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The folder of an earlier run; RunError where `path` is not one."""
        directory = cls(path)
        if not path.is_dir():
            raise RunError(f"{path}: there is no such run directory")
        if not directory.config.exists():
            raise RunError(f"{path}: not a run directory, or one that never started: it has no config.toml")
        return directory

    def lock(self) -> None:
        """Keep other processes from writing here; the system lets go when this process ends."""
        if os.name != "posix" or self._lock is not None:
            return
        import fcntl

        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise RunError(f"{self.path}: another process is training here: wait for it or stop it") from None

    def release(self) -> None:
        """Let other processes write here again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in (self.path, *self._folders):
            files.sweep(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.best.parent, self.final.parent, self.checkpoints, self.events

    def refuse_links(self) -> None:
        """RunError where a folder or a table of the run is a link: what is written there would be written elsewhere."""
        for path in (*self._folders, self.scores, self.progress):
            if files.is_link(path):
                raise RunError(f"{path}: is a link, and a run writes nothing through one: put there what it leads to")

    def prepare(self, folder: Path) -> None:
        """Make a folder of the run, unless it is there; RunError where a link is in its place."""
        if files.is_link(folder):
            self.refuse_links()
        folder.mkdir(exist_ok=True)

    def add_start(self, files: Mapping[str, bytes]) -> None:
        """Add what `record.start` says of a process that goes on with the run: its line after those of earlier ones."""
        for name, content in files.items():
            file = self.path / name
            known = name == "command.txt" and file.is_file() and not file.is_symlink()
            checkpoint.write(file, (file.read_bytes()[-_COMMANDS:] if known else b"") + content)

    def write_config(self, table: dict[str, Any]) -> None:
        """Write config.toml."""
        checkpoint.write(self.config, toml.dumps(table).encode())

    def read_config(self) -> dict[str, Any]:
        """The content of config.toml; ConfigError where it is damaged."""
        return settings.read(self.config)

    def save_checkpoint(self, steps: int, state: State) -> Path:
        """Write the exact checkpoint at `steps` and remove all but the newest."""
        self.prepare(self.checkpoints)
        path = self.checkpoints / f"step-{steps:012d}.dbrrl"
        checkpoint.save(path, state, kind="run")
        for old in self.checkpoint_files()[KEPT:]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def checkpoint_files(self) -> list[Path]:
        """The exact checkpoints, newest first."""
        files = self.checkpoints.glob("step-*.dbrrl") if self.checkpoints.is_dir() else ()
        return sorted((file for file in files if re.fullmatch(r"step-\d{12}", file.stem)), reverse=True)

    def load_checkpoint(self) -> tuple[State | None, list[str]]:
        """The newest whole checkpoint (None where none was made), and a line for each that is damaged.

        Raises CheckpointError where all are damaged, RunError where a run that ended has none left.
        """
        problems: list[str] = []
        files = self.checkpoint_files()
        for file in files:
            try:
                return _whole(checkpoint.load(file, kind="run"), file), problems
            except CheckpointError as error:
                problems.append(str(error))
        if files:
            raise CheckpointError(problems[0])
        if self.final.exists():  # beginning anew would write over it
            raise RunError(f"{self.path}: a run that ended, and its checkpoints are gone: it cannot be gone on with")
        return None, problems


def _whole(state: State, file: Path) -> State:
    missing = [part for part in PARTS if not isinstance(state.get(part), dict)]
    if missing:
        raise CheckpointError(f"{file}: not the checkpoint of a run: it has no {', '.join(missing)}")
    return state


def _taken(path: Path) -> bool:
    """Whether there is something of this name other than an empty folder."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))


def _exists(path: Path) -> RunError:
    return RunError(f"{path}: exists already: choose another, or resume it")
