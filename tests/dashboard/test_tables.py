"""Tables that grow while they are read."""

import os
from pathlib import Path

import numpy as np
import pytest

from dbrrl.dashboard import tables
from dbrrl.dashboard.tables import Table, read, stamp
from dbrrl.reporting import table as written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "scores.csv"
    file.write_text("steps,mean\n1,10.5\n2,nan\n")
    return file


def test_a_table_is_what_its_writer_reads(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    own = written.Table(file)
    for row in ({"steps": 1, "mean": 0.1}, {"steps": 2, "mean": float("inf"), "new": 1e-300}, {"steps": 3}):
        own.append(row)
    found = Table(file)
    assert found.refresh() and not found.refresh()
    right = written.read(file)
    assert found.columns == own.columns and len(found.values) == 3 and not found.damaged
    for name in own.columns:
        np.testing.assert_array_equal(found.column(name), [row.get(name, np.nan) for row in right])


def test_only_what_was_added_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("steps,mean\n" + "1,2\n" * 50)
    found = Table(path)
    found.refresh()
    starts: list[int] = []
    monkeypatch.setattr(tables, "read", lambda path, start=0: starts.append(start) or read(path, start))
    with open(path, "a") as file:
        file.write("3,4\n5,")  # the second row is half written
    assert found.refresh()
    assert starts == [211 - 64] and found.column("steps").tolist() == [1] * 50 + [3] and not found.damaged
    with open(path, "a") as file:
        file.write("6\n")
    assert found.refresh() and found.column("mean").tolist()[50:] == [4, 6]


def test_another_file_of_the_name_is_read_anew(path: Path) -> None:
    found = Table(path)
    found.refresh()
    written.files.write(path, b"steps,mean,new\n7,8,9\n")  # as a resumed run cuts it back
    assert found.refresh() and found.columns == ["steps", "mean", "new"] and found.values.tolist() == [[7, 8, 9]]
    path.write_text("steps,mean,new\n7,8,1\n1,1,1\n")  # longer, in its place, with another row before
    assert found.refresh() and found.values.tolist() == [[7, 8, 1], [1, 1, 1]]
    path.unlink()
    assert found.refresh() and not found.columns and found.column("steps").size == 0


@pytest.mark.parametrize("line", ["x,y", "1", "1,2,3", "1;2", '"a",1', "\x00,\xff"])
def test_a_damaged_line_is_left_out_and_counted(path: Path, line: str) -> None:
    with open(path, "a", encoding="latin-1") as file:
        file.write(f"{line}\n9,9\n")
    found = Table(path)
    found.refresh()
    assert found.damaged == 1 and found.column("steps").tolist() == [1, 2, 9]


def test_rows_that_were_forgotten_are_read_again_when_they_are_wanted(path: Path) -> None:
    found = Table(path)
    found.refresh()
    before = found.size
    found.forget()
    assert found.size == 0 < before and not found.refresh()
    with open(path, "a") as file:
        file.write("3,3\n")
    assert found.refresh() and found.column("steps").tolist() == [1, 2, 3] and not found.damaged
    found.forget()
    found.load()
    assert found.size == 48


def test_what_is_no_regular_file_is_not_opened(path: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe.csv"
    link.symlink_to(path)
    os.mkfifo(pipe)
    for odd in (link, pipe, tmp_path, tmp_path / "absent", tmp_path / "nul\0"):
        assert stamp(odd) is None
        found = Table(odd)
        assert not found.refresh() and not found.columns
    for odd in (link, pipe, tmp_path):
        with pytest.raises(OSError):  # noqa: PT011 (its number differs)
            read(odd)
