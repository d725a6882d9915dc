"""Rows of numbers in memory, or in a CSV file that grows by lines and by columns."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from dbrrl.checkpoint import State, files, untrusted
from dbrrl.errors import CheckpointError, RunError

Row = dict[str, float]

_LARGEST = 1 << 30  # bytes of a file
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Table:
    """Rows of numbers by column name, kept in the file `path` alone, or in memory if it is None.

    Columns are only ever added at the end, so that an earlier state is a cut of the file: fewer rows, columns.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        self.count = 0
        self._rows: list[Row] = []

    @property
    def rows(self) -> list[Row]:
        """All rows, from the file if there is one."""
        if self.path is None:
            return self._rows
        return read(self.path) if self.count else []

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row; RunError where the file cannot be written."""
        new = [column for column in row if column not in self.columns]
        if self.path is None:
            self._rows.append(dict(row))
        elif new:
            self._widen(self.path, new)
        self.columns += new
        self.count += 1
        if self.path is not None:
            line = ",".join(_text(row.get(column)) for column in self.columns)
            _append(self.path, line + "\n")

    def sync(self) -> None:
        """Bring all rows to the disk, so that a checkpoint may count on them."""
        if self.path is not None and self.count:
            try:
                with open(self.path, "rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(f"{self.path}: cannot be synced to the disk: {error.strerror}") from error

    def state_dict(self) -> State:
        """How many rows there are, and which columns."""
        return {"columns": list(self.columns), "count": self.count}

    def load_state_dict(self, state: State) -> None:
        """Cut the file back to the rows and columns of `state`; CheckpointError where it has fewer."""
        assert self.path is not None
        with untrusted.state_of(str(self.path)):
            untrusted.table(state, "", "columns", "count")
            columns, count = untrusted.entries(state["columns"], "columns"), untrusted.whole(state["count"], "count")
            if not all(isinstance(column, str) for column in columns):
                raise CheckpointError("columns: expected texts, got something else")
        self.columns, self.count = columns, count
        if not self.count:
            self.path.unlink(missing_ok=True)
            return
        header, lines = _lines(self.path)
        if len(lines) < self.count or header[: len(self.columns)] != self.columns:
            raise CheckpointError(f"{self.path}: has not the {self.count} rows that the checkpoint counts on")
        kept = (",".join(line.split(",")[: len(self.columns)]) for line in lines[: self.count])
        files.write(self.path, "".join(f"{line}\n" for line in (",".join(self.columns), *kept)).encode())

    def _widen(self, path: Path, new: list[str]) -> None:
        lines = _lines(path)[1] if self.count else []
        header = ",".join([*self.columns, *new])
        empty = "," * len(new)
        files.write(path, "".join(f"{line}\n" for line in (header, *(line + empty for line in lines))).encode())


def read(path: Path) -> list[Row]:
    """The whole rows of a CSV file that a Table wrote; a last line that is cut is left out.

    Raises RunError where the file is missing or holds something else.
    """
    columns, lines = _lines(path)
    try:
        cells = (zip(columns, line.split(","), strict=True) for line in lines)
        return [{column: _number(text) for column, text in row if text} for row in cells]
    except ValueError:
        raise RunError(f"{path}: expected a table of numbers with a header, got something else") from None


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """The header's columns and the whole lines under it."""
    try:
        text = files.read(path, _LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not a text file')}") from None
    whole = text[: text.rfind("\n") + 1].splitlines()
    return (whole[0].split(","), whole[1:]) if whole else ([], [])


def _append(path: Path, line: str) -> None:
    try:
        with open(os.open(path, _APPEND, 0o666), "a", encoding="utf-8", newline="") as file:
            file.write(line)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; make room, then resume") from error


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _text(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return repr(float(value))
