"""The page that a benchmark writes: it says what falls short, what is missing, and replaces nothing of a user's."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from dbrrl.benchmarks import figures, report, results, suite, summary, tables
from dbrrl.benchmarks.results import Result
from dbrrl.benchmarks.suite import Suite
from dbrrl.errors import RunError

from .runs import result

SUITE = """
title = "Two by two"
[[cells]]
agents = ["dqn", "ppo"]
envs = ["CartPole-v1", "Acrobot-v1"]
"""
RUNS = [
    *(result("dqn", "CartPole-v1", seed, [100, 500, 500], every=50_000) for seed in range(3)),
    *(result("ppo", "CartPole-v1", seed, [100, 300, 470 + 10 * seed]) for seed in range(3)),
    *(result("dqn", "Acrobot-v1", seed, [-500, -300, -105 - seed], preset=False) for seed in range(2)),
]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Suite, Path]:
    """A suite, and the table of `RUNS`."""
    (tmp_path / "pair.toml").write_text(SUITE)
    (tmp_path / "results.csv").write_text("steps\n")
    monkeypatch.setattr(results, "read", lambda path: RUNS)
    return suite.load(str(tmp_path / "pair.toml")), tmp_path / "results.csv"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, which take their time."""
    monkeypatch.setattr(figures, "draw", lambda found, stem: {})


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.usefixtures("undrawn")
def test_the_first_table_says_what_falls_short_and_what_is_missing(tmp_path: Path, made: tuple[Suite, Path]) -> None:
    state = report.Status("python -m dbrrl.benchmark pair --seeds 3", 3, ["ppo on Acrobot-v1, seed 0"], ["dqn on X"])
    page = report.write(tmp_path / "out", *made, state)
    text = section(page.read_text().replace("\u00a0", " "), "Solved, and what is not")
    for line in (
        "- Run: 3 of 4 cells.",
        "- Below the threshold on some seed: ppo on CartPole-v1 (1 of 3), dqn on Acrobot-v1 (2 of 2).",
        "- Solved elsewhere (published mean at the threshold or above) and not here: dqn on Acrobot-v1.",
        "- Not run yet: ppo on Acrobot-v1.",
        "- Not on all seeds yet: dqn on Acrobot-v1 (2 of 3 seeds).",
        "- Failed: ppo on Acrobot-v1, seed 0.",
        "- Made with other settings than the suite has now: dqn on X.",
    ):
        assert line in text.splitlines(), line
    rows = [line for line in text.splitlines() if line[:3] not in ("| a", "| -") and line[:1] in ("|", "*")]
    assert rows == [
        "**CartPole-v1** (475)",
        "| dqn | 3/3 | 150k | 500.0 [500.0, 500.0] | 500.0 | SB3 500.0 at 50k | 100.0 at 50k |",
        "|  |  |  |  |  | CleanRL 488.7 at 500k | 500.0 at 150k |",
        "|  |  |  |  |  | CleanRL JAX 498.4 at 500k | 500.0 at 150k |",
        "| ppo | **2/3** | 300 | 480.0 [455.2, 504.8] | **470.0** | SB3 500.0 at 100k | 480.0 at 300 |",
        "|  |  |  |  |  | CleanRL 490.0 at 500k | 480.0 at 300 |",
        "|  |  |  |  |  | Baselines 497.5 at 500k | 480.0 at 300 |",
        "**Acrobot-v1** (-100)",
        "| dqn, no preset | **0/2** | 300 | -105.5 | **-106.0** | SB3 -76.6 at 100k | -105.5 at 300 |",
        "|  |  |  |  |  | CleanRL -91.5 at 500k | -105.5 at 300 |",
        "|  |  |  |  |  | CleanRL JAX -88.9 at 500k | -105.5 at 300 |",
        "| ppo | **not run yet** |  |  |  |  |  |",
    ]


@pytest.mark.slow
def test_the_other_sections_and_their_files(tmp_path: Path, made: tuple[Suite, Path]) -> None:
    page = report.write(tmp_path / "out", *made, report.Status("x", 3))
    text = page.read_text().replace("\u00a0", " ")
    assert "| ppo | 3 | 480.0 [470.0, 490.0] | 480.0 [455.2, 504.8] |" in section(text, "Statistics over the seeds")
    assert "| 300 | 1.5 |" in section(text, "Statistics over the seeds") and "| never | never |" in text
    # All three runs of DQN end above all of PPO in CartPole-v1, the one environment of both.
    assert "| **dqn** |  | 100 [100, 100] |" in section(text, "Between agents")
    assert "averaged over CartPole-v1, " in section(text, "Between agents")
    sources = section(text, "Where the figures come from")
    assert "Stable-Baselines3 (SB3): [" in sources and "one run per cell" in sources and "OpenAI Baselines" in sources
    names = {path.name for path in page.parent.iterdir()}
    pictures = {f"pair-{name}.{kind}" for name in ("curves", "scores", "times", "profiles") for kind in ("png", "svg")}
    assert names == {"pair.md", "pair.csv"} | pictures
    assert all(f"({name})" in text for name in names - {"pair.md"})


@pytest.mark.parametrize(
    ("agent", "ours", "behind"),
    [("dqn", -150, True), ("dqn", -110, False), ("ppo", -150, False), ("rainbow", -150, False)],
)
def test_behind_is_who_others_solve_and_we_do_not(agent: str, ours: float, behind: bool) -> None:
    # MountainCar-v0 is solved at -110; Stable-Baselines3's DQN has -100.8, its PPO -110.4.
    (cell,) = summary.cells([result(agent, "MountainCar-v0", 0, [ours])])
    assert tables.behind(cell) is behind


def test_what_few_seeds_say() -> None:
    runs = [result("dqn", "CartPole-v1", seed, [100, 500 - 100 * seed]) for seed in range(3)]
    text = "".join(tables.statistics(summary.cells(runs)))
    assert "| 1 of 3 reach it | 1 of 3 reach it |" in text and "| never" not in text
    text = "".join(tables.statistics(summary.cells(runs[1:2])))
    assert "| dqn | 1 | 400.0 | 400.0 | 400.0 | never | never |" in text


def test_the_chances_of_two_agents_add_up() -> None:
    draw = np.random.default_rng(0)
    names = ("a2c", "dqn", "ppo")
    runs = [result(agent, "CartPole-v1", seed, [draw.integers(400, 500)]) for agent in names for seed in range(5)]
    table = tables.comparison(summary.cells(runs))[-1].replace("\u00a0", " ").splitlines()[2:]
    found = [[re.findall(r"\d+", field) for field in line.split("|")[2:-1]] for line in table]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    for i, j in pairs:
        (p, low, high), (q, lower, higher) = map(int, found[i][j]), map(int, found[j][i])
        assert p + q == low + higher == high + lower == 100
    assert {len(field) for line in found for field in line} == {0, 3}


@pytest.mark.usefixtures("undrawn")
def test_runs_by_unlike_code_are_named(
    tmp_path: Path, made: tuple[Suite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "more than one version" not in report.write(tmp_path / "out", *made, report.Status("x", 3)).read_text()
    other = dataclasses.replace(RUNS[-1], about=RUNS[-1].about | {"source": "y"})
    monkeypatch.setattr(results, "read", lambda path: [*RUNS[:-1], other])
    text = report.write(tmp_path / "out", *made, report.Status("x", 3)).read_text()
    assert "- Runs by more than one version of the code (last table): dqn on Acrobot-v1." in text


def test_a_report_of_nothing_says_so(tmp_path: Path, made: tuple[Suite, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: list[Result] = []
    monkeypatch.setattr(results, "read", lambda path: nothing)
    text = report.write(tmp_path / "out", *made, report.Status("x", 3)).read_text()
    assert "- Run: 0 of 4 cells." in text and "No run has ended yet." in text and text.count("**not run yet**") == 4


@pytest.mark.usefixtures("undrawn")
def test_only_pages_of_ours_are_replaced(tmp_path: Path, made: tuple[Suite, Path]) -> None:
    page = report.write(tmp_path / "out", *made, report.Status("x", 3))
    assert report.write(tmp_path / "out", *made, report.Status("x", 3)) == page
    report.prepare(tmp_path / "copy", "pair", tmp_path / "out")
    copied = report.copy(page, tmp_path / "copy", "pair")
    assert copied.read_text() == page.read_text() and len(list(copied.parent.iterdir())) == 2
    assert report.copy(page, tmp_path / "copy", "pair") == copied
    copied.write_text("my own page")
    with pytest.raises(RunError, match=r"pair.md: exists and is no report of this command"):
        report.copy(page, tmp_path / "copy", "pair")
    copied.unlink()
    with pytest.raises(RunError, match=r"copy: holds files named pair.csv or pair-\*, and no report"):
        report.copy(page, tmp_path / "copy", "pair")
    with pytest.raises(RunError, match=r"expected a folder for the report, got a file"):
        report.check(made[1], "pair")


def test_the_same_results_give_the_same_figures_byte_for_byte(tmp_path: Path) -> None:
    found = summary.cells(RUNS[:3])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        figures.draw(found, tmp_path / name / "x")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files and all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    svg = (tmp_path / "a" / "x-curves.svg").read_text()
    for text in ("dqn, CartPole-v1", "dqn (3 seeds)", "threshold", "SB3", "CleanRL", "environment steps"):
        assert f"<!-- {text} -->" in svg, text
    assert "ppo" not in svg  # of others, what is beside the agents drawn
