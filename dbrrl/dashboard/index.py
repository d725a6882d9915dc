"""All runs below a folder, found again and again; whoever asks learns only what has changed since."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import sendable
from .runs import RunFiles, Summary

DEPTH = 8  # folders below the one that is shown
MOST = 100_000  # runs


@dataclass(frozen=True)
class Changes:
    """What has changed after a version of the index.

    Attributes:
        version: the version that includes it.
        changed: summaries of runs that are new or different.
        removed: ids of runs whose folders are gone.
    """

    version: int
    changed: list[Summary]
    removed: list[str]


class Index:
    """The runs in `root` and in the folders below it; links are not followed, and hidden folders left out.

    Its methods may be called from several threads.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0
        self._runs: dict[str, RunFiles] = {}
        self._versions: dict[str, int] = {}  # of each run: the version in which it last changed
        self._removed: dict[str, int] = {}
        self._lock = threading.RLock()

    def refresh(self) -> bool:
        """Look at the folder again; return whether anything has changed."""
        with self._lock:
            found = dict(_found(self.root))
            now, later = time.time(), self.version + 1
            changed = [one for one, run in self._runs.items() if run.path not in found]
            for one in changed:
                del self._runs[one], self._versions[one]
                self._removed[one] = later
            known = {run.path for run in self._runs.values()}
            for path, folder in found.items():
                if path not in known:
                    run = RunFiles(folder, path)
                    self._runs[run.id] = run
                    self._removed.pop(run.id, None)
            for run in self._runs.values():
                if run.refresh(now) or run.id not in self._versions:
                    self._versions[run.id] = later
                    changed.append(run.id)
            self.version += bool(changed)
            return bool(changed)

    def touch(self, ids: Iterable[str]) -> None:
        """Let runs count as changed, as what people added to them has."""
        with self._lock:
            self.version += 1
            self._versions |= {one: self.version for one in ids if one in self._runs}

    def since(self, version: int) -> Changes:
        """Return what has changed after `version`; 0: everything."""
        with self._lock:
            changed = [self._runs[one].summary for one, last in self._versions.items() if last > version]
            removed = [one for one, last in self._removed.items() if last > version] if version else []
            return Changes(self.version, changed, removed)

    def run(self, one: str) -> RunFiles | None:
        """Return the files of the run with an id; None if there is none."""
        with self._lock:
            return self._runs.get(one)

    def __len__(self) -> int:
        return len(self._runs)


def _is(kind: Callable[..., bool]) -> bool:
    """Return whether an entry is of a kind, no link; not where that cannot be told."""
    try:
        return kind(follow_symlinks=False)
    except OSError:
        return False


def _found(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the relative path and the folder of each run; the root itself, if it is one, as "."."""
    waiting = [("", str(root), 0)]
    count = 0
    while waiting and count < MOST:
        name, folder, depth = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        if any(entry.name == "config.toml" and _is(entry.is_file) for entry in entries):
            count += 1
            yield sendable.path(name) or ".", Path(folder)
        elif depth < DEPTH:
            below = [entry for entry in entries if not entry.name.startswith(".")]
            waiting += [
                (f"{name}/{entry.name}" if name else entry.name, entry.path, depth + 1)
                for entry in below
                if _is(entry.is_dir)
            ]
