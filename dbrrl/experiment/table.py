"""Rows of numbers in memory and in a CSV file that grows by lines; new columns give it a new header."""

import math
from collections.abc import Mapping
from pathlib import Path

from dbrrl.checkpoint import State, write
from dbrrl.errors import RunError


class Table:
    """Rows of numbers by column name; written to `path` as they come, unless it is None."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        self.rows: list[dict[str, float]] = []

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row; RunError where the file cannot be written."""
        new = [column for column in row if column not in self.columns]
        self.columns += new
        self.rows.append(dict(row))
        if new:
            self._rewrite()
        elif self.path is not None:
            self._write_line(self._line(self.rows[-1]))

    def state_dict(self) -> State:
        """The rows and their columns."""
        return {
            "columns": list(self.columns),
            "rows": [[row.get(c) for c in self.columns] for row in self.rows],
        }

    def load_state_dict(self, state: State) -> None:
        """Go back to the rows of `state`, in the file too."""
        self.columns = list(state["columns"])
        rows = (zip(self.columns, row, strict=True) for row in state["rows"])
        self.rows = [{column: value for column, value in row if value is not None} for row in rows]
        self._rewrite()

    def _rewrite(self) -> None:
        if self.path is not None and self.columns:
            lines = [",".join(self.columns) + "\n", *map(self._line, self.rows)]
            write(self.path, "".join(lines).encode())

    def _write_line(self, line: str) -> None:
        assert self.path is not None
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(line)
        except OSError as error:
            raise RunError(
                f"{self.path}: cannot be written: {error.strerror}; make room, then resume"
            ) from error

    def _line(self, row: Mapping[str, float]) -> str:
        return ",".join(_text(row.get(column)) for column in self.columns) + "\n"


def read(path: Path) -> list[dict[str, float]]:
    """The whole rows of a CSV file that a Table wrote; a last line that is cut is left out.

    Raises RunError where the file is missing or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not a text file'}"
        ) from None
    whole = text[: text.rfind("\n") + 1].splitlines()
    columns = whole[0].split(",") if whole else []
    try:
        return [
            {c: float(v) for c, v in zip(columns, line.split(","), strict=True) if v} for line in whole[1:]
        ]
    except ValueError:
        raise RunError(f"{path}: expected a table of numbers with a header, got something else") from None


def _text(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return repr(float(value))
