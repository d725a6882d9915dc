"""The runs below a folder: found, summarized, and looked at again."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dbrrl.dashboard import index
from dbrrl.dashboard.index import Index
from dbrrl.dashboard.runs import RunFiles, Summary, identity
from dbrrl.experiment import journal
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.heartbeat import STALE
from tests.dashboard.folders import age, made


def states(found: Index) -> dict[str, str]:
    return {run.path: run.state for run in found.since(0).changed}


def only(found: Index) -> Summary:
    (run,) = found.since(0).changed
    return run


def test_runs_are_found_at_any_depth_but_not_through_links_or_in_hidden_folders(tmp_path: Path) -> None:
    root = tmp_path / "root"
    made(root / "a")
    made(root / "suite" / "runs" / "b")
    made(root / ".hidden" / "c")
    made(tmp_path / "outside" / "d")
    (root / "link").symlink_to(tmp_path / "outside")
    made(root / "a" / "final" / "e")  # within a run nothing is looked for
    found = Index(root)
    assert found.refresh() and not found.refresh()
    assert sorted(states(found)) == ["a", "suite/runs/b"] and len(found) == 2
    itself = Index(root / "a")
    itself.refresh()
    assert list(states(itself)) == ["."]


def test_a_summary_says_what_the_files_say(tmp_path: Path) -> None:
    made(tmp_path / "run", agent="dqn", seed=3, means=[1, 9, 4], learning_rate=0.5)
    found = Index(tmp_path)
    found.refresh()
    run = only(found)
    assert (run.agent, run.env, run.seed, run.steps, run.total) == ("dqn", "CartPole-v1", 3, 300, 300)
    assert (run.score, run.best, run.elapsed, run.started) == (4, 9, 1.5, 1_700_000_003)
    assert run.commit == "0123456789abcdef" and run.settings["learning_rate"] == 0.5 and run.state == "finished"
    assert run.id == identity("run") and found.run(run.id) is not None and found.run("0" * 16) is None


def test_states_follow_the_journal_and_the_heartbeat(tmp_path: Path) -> None:
    made(tmp_path / "going", ended=None, alive=True)
    made(tmp_path / "killed", ended=None)
    age(made(tmp_path / "silent", ended=None, alive=True) / "heartbeat", STALE + 5)
    made(tmp_path / "stopped", ended="stopped", text="stopped and saved at step 7")
    made(tmp_path / "failed", ended="failed", text="ValueError: no")
    made(tmp_path / "done", alive=True)  # its end is in the journal, the heartbeat not yet removed
    made(tmp_path / "old")
    (tmp_path / "old" / "log.jsonl").unlink()
    made(tmp_path / "old-done")
    (tmp_path / "old-done" / "log.jsonl").unlink()
    (tmp_path / "old-done" / "final").mkdir()
    (tmp_path / "old-done" / "final" / "agent.dbrrl").write_text("")
    made(tmp_path / "damaged")
    (tmp_path / "damaged" / "config.toml").write_text("agent = ")
    found = Index(tmp_path)
    found.refresh()
    assert states(found) == {
        "going": "running",
        "killed": "stale",
        "silent": "stale",
        "stopped": "stopped",
        "failed": "failed",
        "done": "finished",
        "old": "stale",
        "old-done": "finished",
        "damaged": "damaged",
    }
    texts = {run.path: run.text for run in found.since(0).changed}
    assert texts["failed"] == "ValueError: no" and "config.toml is damaged" in texts["damaged"]


def test_only_what_has_changed_is_told(tmp_path: Path) -> None:
    first, second = made(tmp_path / "first", ended=None, alive=True), made(tmp_path / "second")
    found = Index(tmp_path)
    found.refresh()
    version = found.version
    assert found.since(version).changed == [] == found.since(version).removed
    with open(first / "scores.csv", "a") as file:
        file.write("400,40,2.0,8,8,1,7,9\n")
    assert found.refresh()
    changes = found.since(version)
    assert [(run.path, run.score, run.best, run.steps) for run in changes.changed] == [("first", 8, 8, 400)]
    shutil.rmtree(second)
    made(tmp_path / "third")
    assert found.refresh()
    again = found.since(changes.version)
    assert [run.path for run in again.changed] == ["third"] and again.removed == [identity("second")]
    age(first / "heartbeat", STALE + 5)  # killed: nothing is written any more
    assert found.refresh() and [run.state for run in found.since(again.version).changed] == ["stale"]
    made(tmp_path / "second")  # a run of the same name again
    found.refresh()
    assert found.since(0).removed == [] and len(found) == 3


def test_what_people_added_counts_as_a_change(tmp_path: Path) -> None:
    made(tmp_path / "a")
    found = Index(tmp_path)
    found.refresh()
    version = found.version
    found.touch([identity("a"), "unknown"])
    assert [run.path for run in found.since(version).changed] == ["a"]


@pytest.mark.parametrize("name", ["scores.csv", "progress.csv", "log.jsonl", "config.toml"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe", b"a" * 5000, b"steps,mean\n" * 3, b"[" * 100_000, b"{}\n[1]\n"]
)
def test_no_content_of_a_file_stops_anything(tmp_path: Path, name: str, content: bytes) -> None:
    run = made(tmp_path / "odd", ended=None, alive=True)
    made(tmp_path / "good")
    (run / name).write_bytes(content)
    found = Index(tmp_path)
    found.refresh()
    assert states(found)["good"] == "finished" and len(found) == 2


def test_settings_that_are_too_large_are_not_read_in_part(tmp_path: Path) -> None:
    with open(made(tmp_path / "large") / "config.toml", "a") as file:
        file.write("# padding\n" * 200_000)
    found = Index(tmp_path)
    found.refresh()
    assert only(found).state == "damaged" and "more than 1,000,000 bytes" in only(found).text


def test_numbers_that_are_none_are_told_as_such(tmp_path: Path) -> None:
    made(tmp_path / "run", means=[float("nan"), float("inf")])
    found = Index(tmp_path)
    found.refresh()
    assert only(found).score is None and only(found).best is None


def test_a_folder_that_goes_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run")
    found = Index(tmp_path)
    found.refresh()
    listed = dict(index._found(tmp_path))
    monkeypatch.setattr(index, "_found", lambda root: listed.items())
    shutil.rmtree(run)
    found.refresh()
    assert only(found).state == "damaged"


def test_the_tables_of_finished_runs_are_not_kept(tmp_path: Path) -> None:
    files = RunFiles(made(tmp_path / "run"), "run")
    files.refresh(time.time())
    assert files.held == 0 and files.summary.best == 3
    files.curve("steps", "mean")
    assert files.held > 0 and files.scores.column("mean").tolist() == [1, 3, 2]
    assert not files.refresh(time.time())


def test_a_run_that_is_not_ours_to_look_at_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "good")
    made(tmp_path / "theirs")
    after = journal.state_after

    def refusing(latest: journal.Event, directory: RunDirectory, now: float) -> tuple[str, str]:
        if directory.path.name == "theirs":
            raise PermissionError(13, "Permission denied")
        return after(latest, directory, now)

    monkeypatch.setattr(journal, "state_after", refusing)
    found = Index(tmp_path)
    found.refresh()
    assert states(found) == {"good": "finished", "theirs": "damaged"}
    assert "Permission denied" in next(run.text for run in found.since(0).changed if run.path == "theirs")
    monkeypatch.undo()
    (tmp_path / "theirs" / "scores.csv").write_text("steps,mean\n1,2\n")
    assert found.refresh() and states(found)["theirs"] == "finished"


def test_columns_are_of_one_moment(tmp_path: Path) -> None:
    files = RunFiles(made(tmp_path / "run", ended=None, alive=True), "run")
    ended = threading.Event()

    def grow() -> None:
        for row in range(400):
            with open(tmp_path / "run" / "scores.csv", "a") as file:
                file.write(f"{400 + row},1,1,1,1,1,1,1\n" * 20)
            files.refresh(time.time())
        ended.set()

    thread = threading.Thread(target=grow)
    thread.start()
    while not ended.is_set():
        places, values = files.curve("steps", "mean")
        assert places.shape == values.shape
    thread.join()
    places, _ = files.curve("steps", "mean")
    assert len(places) == 3 + 8_000 and (places[3:].reshape(-1, 20) == np.arange(400, 800)[:, None]).all()
