"""What people add to runs, in SQLite."""

import sqlite3
from pathlib import Path

import pytest

from dbrrl.dashboard.marks import Mark, Marks
from dbrrl.errors import RunError


def test_marks_are_kept_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "marks.sqlite"
    marks = Marks(file)
    marks.set("a/b", name="best", note="héllo\n'; drop table runs; --", tags=["x", "y"], hidden=True)
    marks.set("a/b", note="other")
    marks.set("c", hidden=False)
    marks.save_chart("one", "y=mean")
    marks.save_chart("two", "x")
    marks.save_chart("two", "y")
    marks.remove_chart("one")
    marks.close()
    again = Marks(file)
    assert again.all() == {"a/b": Mark("best", "other", ("x", "y"), True), "c": Mark()}
    assert again.charts() == {"two": "y"} and not again.problem
    again.remove("a/b")
    assert list(again.all()) == ["c"]
    again.close()


def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "marks.sqlite"
    file.write_bytes(b"not a database at all" * 100)
    marks = Marks(file)
    marks.set("a", name="b")
    assert "cannot be used" in marks.problem and marks.all() == {"a": Mark("b")}
    assert file.read_bytes().startswith(b"not a database")
    marks.close()


def test_nothing_is_written_where_nothing_may_change(tmp_path: Path) -> None:
    file = tmp_path / "marks.sqlite"
    Marks(file, read_only=True).close()
    assert not file.exists()
    writing = Marks(file)
    writing.set("a", name="b")
    reading = Marks(file, read_only=True)
    assert reading.all() == {"a": Mark("b")}
    with pytest.raises(RunError, match="readonly"):
        reading.set("a", name="c")
    writing.close()
    reading.close()


def test_tags_that_are_none_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "marks.sqlite"
    marks = Marks(file)
    base = sqlite3.connect(file)
    base.execute("insert into runs (path, tags) values ('a', 'x'), ('b', '{}'), ('c', '[1, \"t\"]')")
    base.commit()
    base.close()
    assert {path: mark.tags for path, mark in marks.all().items()} == {"a": (), "b": (), "c": ("t",)}
    marks.close()
