"""Callbacks: called when they should be, also across a resume, and able to end a run."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import Call, Callback, Checkpoint, Evaluate, Experiment, JsonLines, StopAt

from .stub import Stub

SHORT: dict[str, Any] = {
    "eval_episodes": 2, "final_episodes": 3, "eval_interval": 100, "log_interval": 200, "curve": False,
    "tensorboard": False, "num_envs": 1, "steps": 400,
}  # fmt: skip


class Diary(Callback):
    """Writes down what it was told."""

    interval = 150

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def on_start(self, run: Any) -> None:
        self.lines.append(("start", run.steps))

    def on_interval(self, run: Any) -> None:
        self.lines.append(("interval", run.steps))

    def on_log(self, run: Any, row: Any) -> None:
        self.lines.append(("log", row["steps"]))

    def on_evaluation(self, run: Any, row: Any) -> None:
        self.lines.append(("evaluation", row["steps"]))

    def on_checkpoint(self, run: Any) -> None:
        self.lines.append(("checkpoint", run.steps))

    def on_end(self, run: Any) -> None:
        self.lines.append(("end", run.steps))

    def close(self) -> None:
        self.lines.append(("close", -1))


def test_every_event_is_told_in_order(tmp_path: Path) -> None:
    diary = Diary()
    Experiment(Stub, callbacks=[diary], out=tmp_path, **SHORT).run()
    assert diary.lines == [
        ("start", 0),
        ("evaluation", 100), ("checkpoint", 100),
        ("interval", 150),
        ("log", 200), ("evaluation", 200), ("checkpoint", 200),
        ("interval", 300), ("evaluation", 300), ("checkpoint", 300),
        ("log", 400), ("evaluation", 400), ("checkpoint", 400),
        ("end", 400), ("close", -1),
    ]  # fmt: skip


def test_intervals_keep_their_places_across_a_failure_and_a_resume(tmp_path: Path) -> None:
    def fail(run: Any) -> None:
        if run.steps == 340:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Experiment(Stub, callbacks=[Call(fail, 170)], out=tmp_path, name="run", **SHORT).run()
    diary = Diary()
    Experiment.resume(tmp_path / "run", trust=True, callbacks=[diary]).run()
    assert [line for line in diary.lines if line[0] in ("start", "interval")] == [("start", 340)]
    assert diary.lines[-2:] == [("end", 400), ("close", -1)]


def test_several_environments_reach_a_multiple_together() -> None:
    seen: list[int] = []
    Experiment(Stub, callbacks=[Call(lambda run: seen.append(run.steps), 50)], **SHORT | {"num_envs": 8}).run()
    assert seen == [56, 104, 152, 200, 256, 304, 352, 400]


def test_a_callback_leaves_the_training_as_it_is() -> None:
    plain = Experiment(Stub, **SHORT).run()
    watched = Experiment(Stub, callbacks=[Evaluate(70, 2), Diary()], **SHORT).run()
    assert (plain.agent.weights == watched.agent.weights).all()  # type: ignore[attr-defined]
    assert [row["mean"] for row in plain.scores] == [row["mean"] for row in watched.scores]


@pytest.mark.parametrize("by", ["callback", "setting"])
def test_a_threshold_ends_the_run_evaluated_and_saved(by: str, tmp_path: Path) -> None:
    extra: dict[str, Any] = {"callbacks": [StopAt(1.0)]} if by == "callback" else {"stop_at": 1.0}
    run = Experiment(Stub, out=tmp_path, name="run", **SHORT, **extra).run()
    assert [(row["steps"], row["evaluation_episodes"]) for row in run.scores] == [(100, 2), (100, 3)]
    assert (tmp_path / "run" / "final" / "agent.dbrrl").exists()
    with pytest.raises(RunError, match="is finished"):
        Experiment.resume(tmp_path / "run", trust=True).run()
    more = Experiment.resume(tmp_path / "run", trust=True).run(steps=600)
    assert more.scores[-1]["steps"] == (200 if by == "setting" else 600)


def test_a_threshold_that_is_not_reached_ends_nothing() -> None:
    assert Experiment(Stub, stop_at=501.0, **SHORT).run().scores[-1]["steps"] == 400


def test_evaluations_elsewhere() -> None:
    there = Evaluate(200, episodes=3, env="dbrrl/CartPole-v1")
    Experiment(Stub, callbacks=[there], **SHORT).run()
    assert [steps for steps, _ in there.results] == [200, 400]
    assert all(len(result.returns) == 3 for _, result in there.results)


def test_agents_are_kept_along_the_way(tmp_path: Path) -> None:
    run = Experiment(Stub, callbacks=[Checkpoint(tmp_path / "kept", 200)], **SHORT).run()
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == ["agent-200.dbrrl", "agent-400.dbrrl"]
    assert (Stub.load(tmp_path / "kept" / "agent-400.dbrrl").weights == run.agent.weights).all()  # type: ignore[attr-defined]
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        Experiment(Stub, callbacks=[Checkpoint(tmp_path / "file", 200)], **SHORT).run()


def test_json_lines_say_what_the_tables_say(tmp_path: Path) -> None:
    stream = io.StringIO()
    run = Experiment(Stub, callbacks=[JsonLines(stream), JsonLines(tmp_path / "a.jsonl")], **SHORT).run()
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    filed = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows[:-1] == filed[:-1] and rows[-1].keys() == filed[-1].keys()  # each reads the clock at its end
    start = {"event": "start", "steps": 0, "agent": rows[0]["agent"], "env": "CartPole-v1", "seed": 0, "folder": None}
    assert rows[0] == start
    assert rows[-1]["event"] == "end" and rows[-1]["steps"] == 400 and rows[-1]["mean"] == run.score
    told = [row for row in rows if row["event"] == "evaluation"]
    assert [{name: row[name] for name in saved} for row, saved in zip(told, run.scores, strict=True)] == run.scores
    with pytest.raises(RunError, match="cannot be written"):
        JsonLines(tmp_path / "no" / "a.jsonl")


def test_json_has_no_nan() -> None:
    stream = io.StringIO()
    Experiment(Stub, callbacks=[JsonLines(stream)], **SHORT | {"log_interval": 1, "steps": 3}).run()
    first = next(row for line in stream.getvalue().splitlines() if (row := json.loads(line))["event"] == "progress")
    assert first["mean_return"] is None and "NaN" not in stream.getvalue()


@pytest.mark.parametrize("interval", [0, -1, 2.5, "10"])
def test_an_interval_is_a_count(interval: Any) -> None:
    with pytest.raises(ConfigError, match="interval: expected a whole number above 0"):
        Call(print, interval)
