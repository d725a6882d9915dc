"""What people add to runs: names, notes, tags, hidden runs and saved charts, in an SQLite file beside the runs."""

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import RunError

NAME = ".dbrrl-dashboard.sqlite"
_SCHEMA = """
create table if not exists runs (
    path text primary key, name text not null default '', note text not null default '',
    tags text not null default '[]', hidden integer not null default 0
);
create table if not exists charts (name text primary key, chart text not null);
"""


@dataclass(frozen=True)
class Mark:
    """What was added to one run."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    hidden: bool = False


class Marks:
    """The marks of the runs in a folder, by their relative paths; kept in memory where the file cannot be written.

    Attributes:
        problem: why they are kept in memory only; "" if they are kept in the file.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.problem = ""
        self._lock = threading.Lock()
        try:
            self._open(None if read_only and not path.exists() else path, "ro" if read_only else "rwc")
        except (sqlite3.Error, OSError) as error:
            self.problem = f"{path}: cannot be used ({error}): names, notes, tags and charts are not kept"
            self._open(None)

    def _open(self, path: Path | None, mode: str = "rwc") -> None:
        if path is not None and files.is_link(path):
            raise OSError("it is a link, and nothing is written through one")
        place = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={mode}"
        self._base = sqlite3.connect(place, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._base.executescript(_SCHEMA)

    def all(self) -> dict[str, Mark]:
        """Return the marks of all runs that have any."""
        rows = self._do("select path, name, note, tags, hidden from runs")
        return {path: Mark(name, note, _tags(tags), bool(hidden)) for path, name, note, tags, hidden in rows}

    def set(self, path: str, **values: Any) -> None:
        """Change fields of the mark of a run; RunError if the file cannot be written."""
        columns = {name: _stored(value) for name, value in values.items() if name in Mark.__dataclass_fields__}
        self._do("insert or ignore into runs (path) values (?)", path)
        for name, value in columns.items():
            self._do(f"update runs set {name} = ? where path = ?", value, path)

    def remove(self, path: str) -> None:
        """Forget the mark of a run."""
        self._do("delete from runs where path = ?", path)

    def charts(self) -> dict[str, str]:
        """Return the addresses of the saved charts by name."""
        found = {name: _address(chart) for name, chart in self._do("select name, chart from charts order by name")}
        return {name: address for name, address in found.items() if address is not None}

    def save_chart(self, name: str, address: str) -> None:
        """Save the address of a chart; one of the same name is replaced."""
        self._do("insert or replace into charts values (?, ?)", name, json.dumps(address))

    def remove_chart(self, name: str) -> None:
        """Remove a saved chart."""
        self._do("delete from charts where name = ?", name)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _do(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._base.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise RunError(f"{NAME}: {error}: see that the disk has room and nobody locks it") from error


def _stored(value: object) -> Any:
    return json.dumps(list(value)) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _address(text: str) -> str | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def _tags(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    return tuple(tag for tag in found if isinstance(tag, str)) if isinstance(found, list) else ()
