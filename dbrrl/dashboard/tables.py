"""Tables that grow while they are read: of a run's CSV files only what was added is read again."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_TAIL = 64  # bytes before the place reached that must still be the same
_LARGEST = 1 << 30  # bytes of a file
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """Return what changes when a file does, its number, size and time; None if it is no regular file."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def read(path: Path, start: int = 0, most: int = _LARGEST) -> bytes:
    """Return at most `most` bytes of a regular file from `start` on, through no link; OSError if it is no such file."""
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a regular file")
        file.seek(start)
        return file.read(most)


@dataclass
class Table:
    """The whole rows of a CSV file of numbers, as they were when it was last read.

    Attributes:
        columns: their names.
        damaged: lines that were left out, as they are no rows of the table.
    """

    path: Path
    columns: list[str] = field(default_factory=list)
    damaged: int = 0
    _parts: list[np.ndarray] = field(default_factory=list)  # each (rows, columns)
    _stamp: Stamp | None = None
    _reached: int = 0  # bytes of whole lines
    _tail: bytes = b""  # the last of them
    _forgotten: bool = False

    def refresh(self) -> bool:
        """Read what was added to the file, or all of it if it is another; return whether anything has changed."""
        now = stamp(self.path)
        if now == self._stamp:
            return False
        before = None if self._forgotten else self._stamp
        grown = now is not None and before is not None and now[0] == before[0] and now[1] >= self._reached
        content = self._content(self._reached - len(self._tail)) if grown else b""
        if not grown or not content.startswith(self._tail):
            self.columns, self.damaged, self._parts, self._reached, self._tail = [], 0, [], 0, b""
            content = self._content(0) if now is not None else b""
        self._stamp, self._forgotten = now, False
        self._take(content[len(self._tail) :])
        return True

    def load(self) -> None:
        """Read what was added to the file, and what was forgotten."""
        if self._forgotten:
            self._forgotten, self._stamp = False, None
        self.refresh()

    def forget(self) -> None:
        """Free the memory of its rows; the next `load` reads them again."""
        self._parts, self._reached, self._tail, self._forgotten = [], 0, b"", True

    @property
    def values(self) -> np.ndarray:
        """Return all rows, (rows, columns); NaN where one has no number."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.empty((0, len(self.columns)))]
        return self._parts[0]

    def column(self, name: str) -> np.ndarray:
        """Return the numbers of a column, (rows,); NaN where there is none."""
        values = self.values
        return values[:, self.columns.index(name)] if name in self.columns else np.full(len(values), np.nan)

    @property
    def size(self) -> int:
        """Return the bytes that its numbers take."""
        return sum(part.nbytes for part in self._parts)

    def _content(self, start: int) -> bytes:
        try:
            return read(self.path, start)
        except OSError:
            return b""

    def _take(self, added: bytes) -> None:
        """Parse the whole lines of `added`, which follows what was read before."""
        whole = added[: added.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        self._reached += len(whole)
        self._tail = (self._tail + whole)[-_TAIL:]
        if lines and not self.columns:
            self.columns = [name.decode("utf-8", "replace") for name in lines.pop(0).split(b",")]
        rows = [row for row in map(self._row, lines) if row is not None]
        self.damaged += len(lines) - len(rows)
        if rows:
            self._parts.append(np.array(rows, np.float64))

    def _row(self, line: bytes) -> list[float] | None:
        """Return the numbers of a line; None if it is no row of this table."""
        cells = line.split(b",")
        try:
            return [float(cell) if cell else np.nan for cell in cells] if len(cells) == len(self.columns) else None
        except ValueError:
            return None
