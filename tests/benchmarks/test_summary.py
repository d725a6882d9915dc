"""Summaries of runs, against numbers worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from dbrrl.benchmarks import results, summary
from dbrrl.benchmarks.summary import IQM, MEAN, Cell
from dbrrl.errors import RunError
from dbrrl.reporting.statistics import bootstrap_interval

from .runs import result

ENV = "CartPole-v1"  # solved at 475, random play 22.5


def cell(*runs: list[float]) -> Cell:
    (found,) = summary.cells([result("dqn", ENV, seed, means) for seed, means in enumerate(runs)])
    return found


def test_seeds_that_solve_by_their_final_scores() -> None:
    found = cell([480, 475], [500, 474.9], [9, 500])
    assert found.solved == 2 and found.reaches and found.scores.tolist() == [475, 474.9, 500]
    assert not cell([400, 474]).reaches
    assert summary.cells([result("dqn", "Unknown-v0", 0, [1, 2])])[0].solved is None


def test_steps_and_seconds_to_the_threshold() -> None:
    found = cell([10, 480, 470], [475, 9, 9], [1, 2, 3])
    steps, seconds = found.to_threshold("steps"), found.to_threshold("elapsed")
    assert steps is not None and seconds is not None
    assert steps.tolist() == [200, 100, math.inf] and seconds.tolist() == [1.0, 0.5, math.inf]


def test_the_score_by_a_step_is_the_last_evaluation_until_then() -> None:
    found = cell([10, 20, 40], [30, 40, 100])
    assert found.at(92) is None
    assert found.at(100) == found.at(93) == (100, 20)  # due at 93, eight environments may have been at 100 by then
    assert found.at(292) == (200, 30) and found.at(293) == (300, 70)
    assert found.at(300) == found.at(10**9) == (300, 70)


def test_estimates_over_the_seeds() -> None:
    found = cell(*([score] for score in (1, 2, 8, 100)))
    assert found.estimate(IQM).value == 5 and found.estimate(MEAN).value == 27.75
    half = 3.1824 * np.std([1, 2, 8, 100], ddof=1) / 2  # t of 3 degrees of freedom
    assert (found.estimate(MEAN).low, found.estimate(MEAN).high) == pytest.approx((27.75 - half, 27.75 + half), 1e-4)
    assert (found.estimate(IQM).low, found.estimate(IQM).high) == bootstrap_interval(found.scores, IQM)


def test_cells_gather_runs_by_seed_and_normalize() -> None:
    runs = [result("a", ENV, 1, [475]), result("b", ENV, 0, [22.5]), result("a", ENV, 0, [22.5])]
    runs += [result("a", "Acrobot-v1", 0, [-300]), result("a", "Unknown-v0", 0, [5])]
    found = summary.cells(runs)
    assert [(one.name, [run.seed for run in one.runs]) for one in found[:2]] == [
        ("a on CartPole-v1", [0, 1]),
        ("b on CartPole-v1", [0]),
    ]
    scores = summary.normalized(found)
    assert {env: values.tolist() for env, values in scores["a"].items()} == {ENV: [0, 1], "Acrobot-v1": [0.5]}
    assert summary.common_environments(scores) == [ENV]
    assert summary.common_environments({}) == []


def test_a_file_that_is_no_table_of_results_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none.csv: cannot be read: No such file"):
        results.read(tmp_path / "none.csv")
    for text in ("steps,mean\n1,2\n", ",".join(results.COLUMNS) + "\n" + ",".join("x" * 26) + "\n"):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(RunError, match=r"odd.csv: expected the table of a benchmark, got something else"):
            results.read(tmp_path / "odd.csv")
