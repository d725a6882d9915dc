"""Lines of charts: numbers against other ways to compute them."""

import csv
import io
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dbrrl.dashboard import chart
from dbrrl.dashboard import messages as m
from dbrrl.dashboard.drawing import exported
from dbrrl.dashboard.runs import RunFiles
from dbrrl.reporting.statistics import iqm, mean_interval
from tests.dashboard.folders import made, table


def run(folder: Path, **options: Any) -> RunFiles:
    files = RunFiles(made(folder, **options), folder.name)
    files.refresh(0.0)
    return files


def test_a_line_has_the_rows_that_have_both_numbers(tmp_path: Path) -> None:
    one = run(tmp_path / "a", means=[1, float("nan"), 3])
    found = chart.line(one, "a", "steps", "mean", points=100)
    assert found.places.tolist() == [100, 300] and found.values.tolist() == [1, 3] and found.runs == [one.id]
    assert chart.line(one, "a", "elapsed", "entropy", points=100).places[:2].tolist() == [0.25, 0.5]
    assert chart.line(one, "a", "steps", "unknown", points=100).places.size == 0
    np.testing.assert_allclose(
        chart.line(one, "a", "episodes", "mean_return", points=9, smooth=3).values, [0, 1, 2, 3, 4, 5]
    )


def test_fewer_points_keep_the_first_the_last_and_every_extreme() -> None:
    values = np.sin(np.arange(10_000) / 300)
    values[1234], values[8765] = 50, -50
    kept = chart.thinned(values, 200)
    assert len(kept) <= 202 and kept[0] == 0 and kept[-1] == 9999 and {1234, 8765} <= set(kept)
    assert (np.diff(kept) > 0).all() and chart.thinned(values, 10_000).tolist() == list(range(10_000))


def test_a_group_is_the_mean_over_seeds_with_students_interval(tmp_path: Path) -> None:
    means = [[1.0, 2.0, 3.0], [2.0, 4.0, 9.0], [0.0, 5.0, 6.0]]
    runs = [run(tmp_path / str(seed), seed=seed, means=row) for seed, row in enumerate(means)]
    found = chart.group(runs, "g", "steps", "mean", points=100)
    np.testing.assert_allclose(found.values, np.mean(means, axis=0))
    for place in range(3):
        bounds = mean_interval(np.array(means)[:, place])
        np.testing.assert_allclose((found.low[place], found.high[place]), bounds)
    again = run(tmp_path / "again", seed=0, means=[3.0, 2.0, 1.0])  # of seed 0: averaged with the other first
    found = chart.group([*runs, again], "g", "steps", "mean", points=100)
    np.testing.assert_allclose(found.values, np.mean([[2, 2, 2], *means[1:]], axis=0))
    assert found.seeds == 3 and len(found.runs) == 4


def test_a_group_can_be_the_interquartile_mean(tmp_path: Path) -> None:
    means = np.random.default_rng(0).normal(size=(8, 4)).round(3)
    runs = [run(tmp_path / str(seed), seed=seed, means=row.tolist()) for seed, row in enumerate(means)]
    found = chart.group(runs, "g", "steps", "mean", points=100, center="iqm")
    np.testing.assert_allclose(found.values, iqm(means, axis=0))
    assert (found.low <= found.values).all() and (found.values <= found.high).all() and (found.low < found.high).all()
    assert (found.low >= means.min(axis=0)).all() and (found.high <= means.max(axis=0)).all()


def test_curves_of_other_steps_are_compared_only_where_all_have_been(tmp_path: Path) -> None:
    long, short = run(tmp_path / "l", means=[0, 1, 2, 3]), run(tmp_path / "s", seed=1, means=[4])
    (tmp_path / "s" / "scores.csv").write_text(table(("steps", "mean"), [[150, 4], [250, 6]]))
    found = chart.group([long, short], "g", "steps", "mean", points=100)
    assert found.places.tolist() == [150, 200, 250] and found.values.tolist() == [2.25, 3, 3.75]
    (tmp_path / "s" / "scores.csv").write_text(table(("steps", "mean"), [[950, 4]]))
    nothing = chart.group([long, short], "g", "steps", "mean", points=100)
    assert nothing.places.size == 0 and nothing.seeds == 0


def lines(*found: chart.Line) -> list[m.ChartLine]:
    return [
        m.ChartLine(
            one.label,
            one.y,
            one.runs,
            *(part.tolist() for part in (one.places, one.values, one.low, one.high)),
            one.seeds,
            one.total,
        )
        for one in found
    ]


def export(form: Any, *found: chart.Line, **style: Any) -> tuple[str, bytes]:
    asked = m.LinesRequest(lines=[], x="steps")
    return exported(m.Export(format=form, chart=asked, style=m.Style(**style)), lines(*found))


def test_a_table_has_every_number_exactly(tmp_path: Path) -> None:
    single = chart.line(run(tmp_path / "a", means=[1 / 3, 1e-300, 2.0]), 'a "b", c', "steps", "mean", points=9)
    kind, content = export("csv", single)
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert kind == "text/csv" and [row["line"] for row in rows] == ['a "b", c'] * 3
    assert [float(row["value"]) for row in rows] == [1 / 3, 1e-300, 2.0] and rows[0]["steps"] == "100"


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_script_draws_what_the_picture_shows(tmp_path: Path, dark: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run(tmp_path / str(seed), seed=seed, means=[1.0, 2.0 + seed, 3.0]) for seed in range(3)]
    group = chart.group(runs, "'group' {x}", "steps", "mean", points=9)
    single = chart.line(runs[0], "entropy", "steps", "entropy", points=9)
    style = {
        "title": "T",
        "right": ["entropy"],
        "right_label": "nats",
        "dark": dark,
        "x_range": (1.0, 400.0),
        "y_range": (0.0, 5.0),
        "right_range": (-1.0, 7.0),
        "log_x": True,
    }
    kind, code = export("py", group, single, **style)
    (tmp_path / "chart.py").write_bytes(code)
    monkeypatch.setattr("sys.argv", ["chart.py", str(tmp_path / "chart.png")])
    space = runpy.run_path(str(tmp_path / "chart.py"), run_name="__main__")
    assert kind == "text/x-python" and (tmp_path / "chart.png").read_bytes() == export("png", group, single, **style)[1]
    assert space["CHART"]["lines"][0]["values"] == group.values.tolist()
    axes = space["draw"](Figure, space["CHART"]).axes
    assert [one.get_ylim() for one in axes] == [(0, 5), (-1, 7)] and axes[0].get_xlim() == (1, 400)
    kind, picture = export("svg", group, single, **style)
    assert kind == "image/svg+xml" and picture.startswith(b"<?xml") and b"T" in picture


def test_what_is_looked_at_closely_has_all_its_points(tmp_path: Path) -> None:
    one = run(tmp_path / "run", means=[float(i * i % 97) for i in range(1000)])
    whole = chart.line(one, "", "steps", "mean", points=50)
    part = chart.line(one, "", "steps", "mean", points=50, within=(5_000, 7_000))
    assert len(whole.places) < 110 and part.places.tolist() == list(range(4_900, 7_101, 100))
    assert part.values.tolist() == [float(i * i % 97) for i in range(48, 71)] and part.total == 1000
    for within, first, last in (((None, 250.0), 100, 300), ((99_850.0, None), 99_800, 1e5), ((1e9, None), 1e5, 1e5)):
        found = chart.line(one, "", "steps", "mean", points=50, within=within)
        assert (found.places[0], found.places[-1]) == (first, last)
    group = chart.group([one], "", "steps", "mean", points=50, within=(5_000, 7_000))
    assert group.places.tolist() == part.places.tolist()


def test_the_legend_of_a_picture_is_not_cut_off(tmp_path: Path) -> None:
    one = run(tmp_path / "run", means=[1.0, 2.0])
    names = [f"ppo-CartPole-v1-seed{seed}-20261130-162902: mean and more" for seed in range(4)] + ["x" * 300]
    drawn = [chart.line(one, name, "steps", "mean", points=9) for name in names]
    space: dict[str, Any] = {}
    exec(export("py", *drawn)[1].decode().replace("__main__", "none"), space)
    figure = space["draw"](Figure, space["CHART"])
    figure.savefig(io.BytesIO(), format="png", dpi=120)
    (box,) = [legend.get_window_extent() for legend in figure.legends]
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_an_empty_chart_is_drawn_too() -> None:
    assert export("png")[1].startswith(b"\x89PNG")
