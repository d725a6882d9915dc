"""Rows of numbers in memory, or in a CSV file that grows by lines and by columns."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dbrrl.checkpoint import State, files, untrusted
from dbrrl.errors import CheckpointError, RunError

Row = dict[str, float]

_LARGEST = 1 << 30  # bytes of a file
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Table:
    """Rows of numbers by column name, kept in the file `path` alone, or in memory if it is None.

    Columns are added at the end only, so that an earlier state is a part of the file: fewer rows, fewer columns.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        self.count = 0
        self._rows: list[Row] = []

    @property
    def rows(self) -> list[Row]:
        """All rows, from the file if there is one."""
        return self._rows if self.path is None else read(self.path) if self.count else []

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row; RunError if the file cannot be written."""
        self.extend([row])

    def extend(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Add rows, at once; RunError if the file cannot be written."""
        added = [dict(row) for row in rows]
        if not added:
            return
        columns = list(dict.fromkeys([*self.columns, *(name for row in added for name in row)]))
        if self.path is None:
            self._rows += added
        elif columns == self.columns:
            _append(self.path, "".join(_line(_text(row.get(column)) for column in columns) for row in added))
        else:
            _write(self.path, columns, [*self.rows, *added])
        self.columns, self.count = columns, self.count + len(added)

    def sync(self) -> None:
        """Write all rows from the system's cache to the disk, so that a checkpoint can rely on them."""
        if self.path is not None and self.count:
            try:
                with open(self.path, "rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(f"{self.path}: cannot be synced to the disk: {error.strerror}") from error

    def state_dict(self) -> State:
        """Return how many rows there are, and the names of the columns."""
        return {"columns": list(self.columns), "count": self.count}

    def load_state_dict(self, state: State) -> None:
        """Cut the file back to the rows and columns of `state`; CheckpointError if it has fewer."""
        assert self.path is not None
        with untrusted.state_of(str(self.path)):
            untrusted.table(state, "", "columns", "count")
            columns, count = untrusted.entries(state["columns"], "columns"), untrusted.whole(state["count"], "count")
            if not all(isinstance(column, str) for column in columns):
                raise CheckpointError("columns: expected texts, got something else")
        self.columns, self.count = columns, count
        if not count:
            self.path.unlink(missing_ok=True)
            return
        header, lines = _lines(self.path)
        if len(lines) < count or header[: len(columns)] != columns:
            raise CheckpointError(f"{self.path}: has not the {count} rows that the checkpoint counts on")
        _write(self.path, columns, _parsed(self.path, header, lines[:count]))


def read(path: Path) -> list[Row]:
    """Return the complete rows of a CSV file that a Table wrote; a last line without its end is left out.

    Raises RunError if the file is missing or holds something else.
    """
    return _parsed(path, *_lines(path))


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and the complete lines below them."""
    try:
        text = files.read(path, _LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not a text file')}") from None
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    return header.split(","), lines


def _parsed(path: Path, columns: list[str], lines: list[str]) -> list[Row]:
    try:
        cells = (zip(columns, line.split(","), strict=True) for line in lines)
        return [{column: number(text) for column, text in row if text} for row in cells]
    except ValueError:
        raise RunError(f"{path}: expected a table of numbers with a header, got something else") from None


def dumps(columns: Sequence[str], rows: Iterable[Mapping[str, float]]) -> bytes:
    """Return rows as the CSV file of a Table."""
    body = (_line(_text(row.get(column)) for column in columns) for row in rows)
    return "".join([_line(columns), *body]).encode()


def number(text: str) -> float:
    """Return a number as a Table writes it: an int or a float; ValueError if it is none."""
    return int(text) if text.isdecimal() else float(text)


def _write(path: Path, columns: list[str], rows: Iterable[Mapping[str, float]]) -> None:
    """Replace the file in one step."""
    files.write(path, dumps(columns, rows))


def _append(path: Path, lines: str) -> None:
    try:
        with open(os.open(path, _APPEND, 0o666), "a", encoding="utf-8", newline="") as file:
            file.write(lines)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; make room, then resume") from error


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) or not math.isfinite(value) else repr(float(value))
