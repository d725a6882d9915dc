"""Logs in Weights & Biases and in MLflow, with their own packages, offline."""

import importlib.util
import json
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment
from dbrrl.errors import ConfigError
from dbrrl.experiment import Interrupted, trackers
from dbrrl.experiment.callbacks import Call
from dbrrl.reporting.table import read

SHORT: dict[str, Any] = {
    "steps": 64,
    "num_envs": 2,
    "n_steps": 16,
    "final_episodes": 1,
    "eval_episodes": 1,
    "eval_interval": 32,
    "log_interval": 32,
    "curve": False,
    "preset": False,
    "learning_rate": 0.125,
}


def interrupted(out: Path, **settings: Any) -> Path:
    """A run that Ctrl-C ended at step 32, and that was resumed to its end."""

    def stop(run: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Experiment("ppo", "CartPole-v1", out=out, name="run", callbacks=[Call(stop, 32)], **SHORT, **settings).run()
    Experiment.resume(out / "run").run()
    return out / "run"


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_package_that_is_missing_is_named_before_anything_is_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == kind else found(name, *rest))
    with pytest.raises(ConfigError, match=rf'{kind}: it is not installed: pip install "dbrrl\[{kind}\]"'):
        Experiment("ppo", "CartPole-v1", out=tmp_path, **SHORT, **{kind: "x"}).run()
    assert list(tmp_path.iterdir()) == []


class Broken(trackers.Tracker):
    kind = "broken"

    def begin(self, known: str | None) -> None:
        self.keep_id("a1")
        assert self._known_id() == "a1"

    def send(self, steps: int, values: Any) -> None:
        raise OSError("no network")


def test_what_cannot_be_sent_is_a_warning_and_no_number_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "make", lambda plan, folder: [Broken(plan, folder)])
    with pytest.warns(UserWarning, match="broken: nothing more may be logged there: OSError: no network") as warned:
        run = Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", **SHORT).run()
    assert len(warned) == 1 and len(run.scores) == 2 and len(run.progress) == 2
    assert json.loads((tmp_path / "run" / "trackers.json").read_text()) == {"broken": "a1"}


@pytest.mark.parametrize("content", ["", "[]", '{"broken": 1}', '{"broken": "../x"}', "{", '{"other": "a"}'])
def test_a_damaged_file_of_ids_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "trackers.json").write_text(content)
    plan = Experiment("ppo", "CartPole-v1").plan
    assert Broken(plan, tmp_path)._known_id() is None


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_settings_and_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow: Any = pytest.importorskip("mlflow")
    uri = (tmp_path / "store").as_uri()
    folder = interrupted(tmp_path, mlflow=uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("CartPole-v1")
    (run,) = client.search_runs([experiment.experiment_id])  # the resumed run goes on with the same one
    assert run.info.status == "FINISHED" and run.info.run_name == "run" and run.data.tags["agent"] == "ppo"
    assert run.data.params["learning_rate"] == "0.125" and run.data.params["num_envs"] == "2"
    rows = read(folder / "scores.csv")
    history = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "eval/mean")}
    assert history == {int(row["steps"]): row["mean"] for row in rows}
    assert {metric.step for metric in client.get_metric_history(run.info.run_id, "train/entropy")} == {32, 64}


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of W&B's file: 7 bytes, then blocks of 32 KB of pieces, each with a checksum, its length and kind."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if at % 32768 > 32768 - 7:  # the rest of a block is too short for a piece
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last piece
            yield parts
            parts = b""
        elif kind == 0:
            return


@pytest.mark.filterwarnings("ignore")
def test_wandb_has_the_settings_and_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", **SHORT, wandb="my-project").run()
    assert [str(one.message) for one in warned if "may be logged" in str(one.message)] == []
    folder = tmp_path / "run"
    records = logged_in(folder, wandb_internal_pb2.Record)
    begun = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.project for run in begun} == {"my-project"} and len({run.run_id for run in begun}) == 1
    config = {item.key: item.value_json for item in begun[0].config.update}
    assert json.loads(config["config"])["learning_rate"] == 0.125
    logged: dict[int, dict[str, float]] = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {
                (item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item
            }
            logged.setdefault(int(items["steps"]), {}).update(items)
    for row in read(folder / "scores.csv"):
        assert logged[int(row["steps"])]["eval/mean"] == pytest.approx(row["mean"])
    assert "train/entropy" in logged[64]
    Experiment.resume(folder).run(steps=96)
    again = [record.run for record in logged_in(folder, wandb_internal_pb2.Record) if record.HasField("run")]
    assert {run.run_id for run in again} == {begun[0].run_id}  # the resumed run goes on with the same one


def logged_in(folder: Path, kind: Any) -> list[Any]:
    """The records in W&B's files of a run, once its service has written all that it has."""
    import wandb

    wandb.teardown()
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for data in records_of(file.read_bytes()):
            found.append(kind())
            found[-1].ParseFromString(data)
    return found
