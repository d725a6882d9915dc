"""The journal and the heartbeat of a run."""

import json
import os
import threading
from pathlib import Path

import pytest

from dbrrl import Experiment
from dbrrl.errors import RunError
from dbrrl.experiment import Callback, Interrupted, heartbeat, journal
from dbrrl.experiment.callbacks import Running
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.heartbeat import Heartbeat
from dbrrl.experiment.journal import Journal
from dbrrl.reporting.display import Quiet

SHORT = {"steps": 64, "num_envs": 2, "n_steps": 16, "final_episodes": 1, "eval_episodes": 1, "curve": False}


class Doing(Callback):
    """Calls a function with the run once it has 32 steps."""

    interval = 32

    def __init__(self, function: object) -> None:
        self.function = function

    def on_interval(self, run: Running) -> None:
        self.function(run)  # type: ignore[operator]


def events(folder: Path) -> list[journal.Event]:
    return journal.read(folder / "log.jsonl")


def ends(folder: Path) -> list[tuple[str, str]]:
    known = ("start", "finished", "stopped", "failed")
    return [(event["event"], str(event.get("text", ""))) for event in events(folder) if event["event"] in known]


def test_a_run_tells_its_beginning_what_it_said_and_its_end(tmp_path: Path) -> None:
    seen = []
    look = Doing(lambda run: seen.append((run.folder / "heartbeat").is_file()))
    Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", callbacks=[look], **SHORT).run()
    found = events(tmp_path / "run")
    assert (
        found[0]["event"] == "start" and found[0]["step"] == 0 and found[0]["pid"] == os.getpid() and found[0]["host"]
    )
    assert all(event["time"] > 1.7e9 for event in found) and found[-1]["event"] == "finished"
    said = [event["text"] for event in found if event["event"] == "say"]
    assert any(text.startswith("environments: 2 of CartPole-v1") for text in said)
    assert any("64 steps" in text and "score" in text for text in said)
    assert True in seen and not (tmp_path / "run" / "heartbeat").exists()


def test_an_end_by_a_signal_or_an_error_is_told_and_a_resumed_run_begins_again(tmp_path: Path) -> None:
    def fail(run: Running) -> None:
        raise ValueError("no\nwonder")

    def interrupt(run: Running) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="wonder"):
        Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", callbacks=[Doing(fail)], **SHORT).run()
    with pytest.raises(Interrupted):
        Experiment.resume(folder, callbacks=[Doing(interrupt)]).run()
    Experiment.resume(folder).run()
    found = ends(folder)
    assert [event for event, _ in found] == ["start", "failed", "start", "stopped", "start", "finished"]
    assert found[1][1].startswith("ValueError: no wonder at ") and "saved at step 32" in found[1][1]
    assert "stopped and saved at step" in found[3][1]
    assert [event["step"] for event in events(folder) if event["event"] == "start"] == [0, 32, 32]


def test_a_line_that_a_kill_cut_off_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    one = Journal(file)
    one.append("say", text="héllo\n\u2028")
    with open(file, "ab") as stream:
        stream.write(b'{"time": 1, "event": "say", "te')
    assert [event["text"] for event in journal.read(file)] == ["héllo\n\u2028"]
    one.append("say", text="again", sync=True)
    assert [event["text"] for event in journal.read(file)] == ["héllo\n\u2028", "again"]
    assert len(file.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b'{"event": 1}', b"\xff", b"[" * 10_000, b"NaN"])
def test_what_is_no_event_is_left_out(line: bytes) -> None:
    good = json.dumps({"event": "say", "text": "x"}).encode()
    assert journal.parse(line + b"\n" + good + b"\n") == [{"event": "say", "text": "x"}]


def test_a_journal_that_is_absent_is_empty_and_one_that_is_no_file_an_error(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "absent") == []
    with pytest.raises(RunError, match="is a folder"):
        journal.read(tmp_path)
    with pytest.raises(RunError, match="cannot be written"):
        Journal(tmp_path / "absent" / "log.jsonl").append("say")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", **SHORT).run()
    target = tmp_path / "target"
    target.write_text("")
    for name in ("log.jsonl", "heartbeat"):
        file = tmp_path / "run" / name
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        with pytest.raises(RunError, match="is a link"):
            Experiment.resume(tmp_path / "run").run(steps=96)
        with Heartbeat(file):
            assert target.read_text() == ""
        file.unlink(missing_ok=True)


def test_a_full_disk_at_the_end_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end_without_room() -> None:
        with journal.kept(RunDirectory(tmp_path), 0, Quiet()) as shown:
            shown.say("x")
            monkeypatch.setattr(os, "fdopen", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
            raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        end_without_room()
    monkeypatch.undo()
    assert [event["event"] for event in events(tmp_path)] == ["start", "say"]


def test_the_heartbeat_renews_its_time_until_it_ends_and_makes_no_removed_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    renewed, file = threading.Semaphore(0), tmp_path / "heartbeat"
    renew = Heartbeat._renew
    monkeypatch.setattr(Heartbeat, "_renew", lambda self, create=0: (renew(self, create), renewed.release()))
    with Heartbeat(file):
        os.utime(file, (1, 1))
        for _ in range(3):
            assert renewed.acquire(timeout=30)
        assert file.stat().st_mtime > 1e9
        file.unlink()
        for _ in range(3):
            assert renewed.acquire(timeout=30)
        assert not file.exists()
