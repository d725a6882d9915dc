"""The table of a benchmark, of runs that were made."""

import csv
from pathlib import Path

import pytest

from dbrrl.benchmarks import results
from dbrrl.experiment import Experiment
from dbrrl.experiment.directory import RunDirectory

SHORT = {"steps": 64, "final_episodes": 2, "eval_episodes": 1, "curve": False, "tensorboard": False, "progress": False}


@pytest.mark.parametrize("preset", [True, False])
def test_a_row_says_whether_the_preset_was_used(preset: bool, tmp_path: Path) -> None:
    run = Experiment("ppo", "CartPole-v1", seed=3, preset=preset, out=tmp_path, name="run", **SHORT).run()  # type: ignore[arg-type]
    results.write(tmp_path / "results.csv", "mine", [RunDirectory(tmp_path / "run")])
    (found,) = results.read(tmp_path / "results.csv")
    assert (found.agent, found.env, found.seed, found.score) == ("ppo", "CartPole-v1", 3, run.score)
    assert found.about["preset"] == str(preset) and found.about["suite"] == "mine"


def test_the_last_evaluation_is_final_also_where_the_run_ended_early(tmp_path: Path) -> None:
    options = SHORT | {"steps": 640, "eval_interval": 64, "stop_at": 1.0}
    run = Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", **options).run()  # type: ignore[arg-type]
    results.write(tmp_path / "results.csv", "mine", [RunDirectory(tmp_path / "run")])
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(run.scores) == len(rows) == 2 and float(rows[-1]["steps"]) < 640
    assert [row["final"] for row in rows] == ["False", "True"]
