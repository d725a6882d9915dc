"""The folder of a run: its files, created once, never overwritten, and locked by one process at a time."""

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

PARTS = ("agent", "environments", "loop")  # keys of an exact checkpoint
_COMMANDS = 1_000_000  # bytes of command.txt that are kept when a line is appended
KEPT = 2  # exact checkpoints: the newest, and the one before in case the newest is damaged


class RunDirectory:
    """A run's folder; `create` makes a new one, `open` finds an existing one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.scores = path / "scores.csv"
        self.progress = path / "progress.csv"
        self.episodes = path / "evaluation_episodes.csv"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best" / "agent.dbrrl"
        self.final = path / "final" / "agent.dbrrl"
        self.curve = path / "curve.png"
        self.events = path / "tensorboard"
        self.log = path / "log.jsonl"
        self.heartbeat = path / "heartbeat"
        self.commands = path / "commands"
        self._lock: int | None = None

    @classmethod
    def create(
        cls, out: Path, name: str | None, stem: str, table: dict[str, Any], files: Mapping[str, bytes] | None = None
    ) -> Self:
        """Create a folder in `out`, locked, with `table` as its config.toml and `files` by name.

        Its name is `name`, or else `stem` and the time, with a number if needed. It is filled under a hidden name and
        then renamed, so that a killed process leaves the complete folder or none. An empty folder of the name is
        replaced.

        Raises RunError if a folder `name` exists, or none can be created.
        """
        if name and (name in (".", "..") or Path(name).name != name):
            raise RunError(f"name: expected the name of one folder, got {name!r}: use --out for its place")
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
        """Rename this folder to `path` in one step; RunError if something else has that name."""
        with contextlib.suppress(OSError):
            path.rmdir()  # succeeds only if it is empty
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
        """Return the folder of an existing run; RunError if `path` is not one."""
        directory = cls(path)
        if not path.is_dir():
            raise RunError(f"{path}: there is no such run directory")
        if not directory.config.exists():
            raise RunError(f"{path}: not a run directory, or one that never started: it has no config.toml")
        return directory

    def lock(self) -> None:
        """Lock the folder against other processes; the system unlocks it when this process ends."""
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
        """Unlock the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sweep(self) -> None:
        """Remove temporary files of killed processes."""
        for folder in (self.path, *self._folders):
            files.sweep(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.best.parent, self.final.parent, self.checkpoints, self.events, self.commands

    @property
    def tables(self) -> tuple[Path, ...]:
        """The files that grow by rows, which a checkpoint counts."""
        return self.scores, self.progress, self.episodes

    def refuse_links(self) -> None:
        """Raise RunError if a folder or a growing file of the run is a link: writing would change files elsewhere."""
        for path in (*self._folders, *self.tables, self.log, self.heartbeat):
            if files.is_link(path):
                raise RunError(f"{path}: is a link, and a run writes nothing through one: put there what it leads to")

    def prepare(self, folder: Path) -> None:
        """Make a folder of the run, unless it exists; RunError if it is a link."""
        if files.is_link(folder):
            self.refuse_links()
        folder.mkdir(exist_ok=True)

    def add_start(self, files: Mapping[str, bytes]) -> None:
        """Write the files of `record.start` for a process that resumes the run; its line is appended to command.txt."""
        for name, content in files.items():
            file = self.path / name
            known = name == "command.txt" and file.is_file() and not file.is_symlink()
            checkpoint.write(file, (file.read_bytes()[-_COMMANDS:] if known else b"") + content)

    def write_config(self, table: dict[str, Any]) -> None:
        """Write config.toml."""
        checkpoint.write(self.config, toml.dumps(table).encode())

    def read_config(self) -> dict[str, Any]:
        """Return the content of config.toml; ConfigError if it is damaged."""
        return settings.read(self.config)

    def save_checkpoint(self, steps: int, state: State) -> Path:
        """Write the exact checkpoint at `steps`, and remove all but the newest ones."""
        self.prepare(self.checkpoints)
        path = self.checkpoints / f"step-{steps:012d}.dbrrl"
        checkpoint.save(path, state, kind="run")
        for old in self.checkpoint_files()[KEPT:]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def checkpoint_files(self) -> list[Path]:
        """Return the files of the exact checkpoints, newest first."""
        files = self.checkpoints.glob("step-*.dbrrl") if self.checkpoints.is_dir() else ()
        return sorted((file for file in files if re.fullmatch(r"step-\d{12}", file.stem)), reverse=True)

    def load_checkpoint(self) -> tuple[State | None, list[str]]:
        """Return the newest intact checkpoint (None if there are none), and a line for each damaged one.

        Raises CheckpointError if all are damaged, RunError if a finished run has none left.
        """
        problems: list[str] = []
        files = self.checkpoint_files()
        for file in files:
            try:
                return _complete(checkpoint.load(file, kind="run"), file), problems
            except CheckpointError as error:
                problems.append(str(error))
        if files:
            raise CheckpointError(problems[0])
        if self.final.exists():  # starting from scratch would overwrite it
            raise RunError(f"{self.path}: a finished run without checkpoints cannot be resumed")
        return None, problems


def _complete(state: State, file: Path) -> State:
    missing = [part for part in PARTS if not isinstance(state.get(part), dict)]
    if missing:
        raise CheckpointError(f"{file}: not the checkpoint of a run: it has no {', '.join(missing)}")
    return state


def _taken(path: Path) -> bool:
    """Return whether something other than an empty folder has this name."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))


def _exists(path: Path) -> RunError:
    return RunError(f"{path}: exists already: choose another, or resume it")
