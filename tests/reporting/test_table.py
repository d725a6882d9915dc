"""Rows in memory and on disk: new columns, cut lines, the way back."""

import csv
import math
from pathlib import Path

import pytest

from dbrrl.errors import CheckpointError, RunError
from dbrrl.reporting.table import Table, read


def test_a_new_column_gives_a_new_header_and_old_rows_stay(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    table.append({"steps": 1, "mean": 0.1})
    table.append({"steps": 2, "mean": math.nan, "loss": 1e-30})
    table.append({"steps": 3, "loss": -math.inf})
    assert (tmp_path / "t.csv").read_text() == "steps,mean,loss\n1,0.1,\n2,nan,1e-30\n3,,-inf\n"
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["steps"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert repr(table.rows) == (
        "[{'steps': 1, 'mean': 0.1}, {'steps': 2, 'mean': nan, 'loss': 1e-30}, {'steps': 3, 'loss': -inf}]"
    )


def test_several_rows_are_added_at_once(tmp_path: Path) -> None:
    table, memory = Table(tmp_path / "t.csv"), Table()
    for one in (table, memory):
        one.extend(iter([{"steps": 1}, {"steps": 2, "success": 1}]))
        one.extend([{"steps": 3}, {"steps": 4}])
        one.extend([])
        assert one.count == 4 and one.columns == ["steps", "success"]
        assert one.rows == [{"steps": 1}, {"steps": 2, "success": 1}, {"steps": 3}, {"steps": 4}]
    assert (tmp_path / "t.csv").read_text() == "steps,success\n1,\n2,1\n3,\n4,\n"
    empty = Table(tmp_path / "none.csv")
    empty.extend([])
    assert empty.rows == [] and not (tmp_path / "none.csv").exists()


def test_going_back_rewrites_the_file(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    table.append({"steps": 1})
    table.append({"steps": 2, "loss": 0.5})
    state, before = table.state_dict(), (tmp_path / "t.csv").read_bytes()
    table.append({"steps": 3, "other": 1.0})
    with (tmp_path / "t.csv").open("a") as file:
        file.write("4,0.")
    assert (tmp_path / "t.csv").read_text().startswith("steps,loss,other\n1,,\n2,0.5,\n")
    back = Table(tmp_path / "t.csv")
    back.load_state_dict(state)
    assert (tmp_path / "t.csv").read_bytes() == before and back.rows == [
        {"steps": 1},
        {"steps": 2, "loss": 0.5},
    ]
    back.append({"steps": 3, "loss": 1.0})
    assert (tmp_path / "t.csv").read_bytes() == before + b"3,1.0\n"


def test_a_cut_last_line_is_left_out_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("steps,mean\n1,2.0\n2,3")
    assert read(path) == [{"steps": 1.0, "mean": 2.0}]
    for content in ("steps\nword\n", "steps,mean\n1\n"):
        path.write_text(content)
        with pytest.raises(RunError, match="expected a table of numbers"):
            read(path)
    with pytest.raises(RunError, match="cannot be read"):
        read(tmp_path / "none.csv")


def test_without_a_path_rows_stay_in_memory() -> None:
    table = Table()
    table.append({"steps": 1})
    assert table.rows == [{"steps": 1}]


def test_a_file_with_fewer_rows_than_the_checkpoint_counts_on_is_refused(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    for steps in range(3):
        table.append({"steps": steps})
    state = table.state_dict()
    for content in ("steps\n0\n1\n", "other\n0\n1\n2\n", ""):
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(CheckpointError, match="has not the 3 rows"):
            Table(tmp_path / "t.csv").load_state_dict(state)


def test_going_back_to_no_rows_leaves_no_file(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    state = table.state_dict()
    table.append({"steps": 1})
    table.load_state_dict(state)
    assert table.rows == [] and not (tmp_path / "t.csv").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    table = Table(Path("/dev/full"))
    table.columns = ["steps"]
    with pytest.raises(RunError, match="No space left on device"):
        table.append({"steps": 1})
