"""Learning curves of groups: averages, levels, and names that do not overlap."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl.reporting import curves
from dbrrl.reporting.canvas import save, style, thousands
from dbrrl.reporting.curves import INTERVAL, RANGE, Group, Line, draw_groups, draw_run, moving_average, spread


def rows(*means: float) -> list[dict[str, float]]:
    return [{"steps": 100 * i, "elapsed": float(i), "episodes": i, "mean": mean} for i, mean in enumerate(means)]


def test_the_moving_average_is_centered_and_shorter_at_the_ends() -> None:
    values = np.array([1.0, 5.0, 3.0, 7.0, 0.0])
    assert moving_average(values, 1).tolist() == values.tolist()
    assert moving_average(values, 3).tolist() == [1.0, 3.0, 5.0, 10 / 3, 0.0]
    assert moving_average(values, 2).tolist() == [1.0, 3.0, 4.0, 5.0, 0.0]
    assert moving_average(values, 4).tolist() == [1.0, 3.0, 4.0, 10 / 3, 0.0]
    assert moving_average(values, 99).tolist() == [1.0, 3.0, 3.2, 10 / 3, 0.0]
    assert moving_average(np.full(6, 2.5), 5).tolist() == [2.5] * 6


def test_names_are_moved_apart_and_stay_inside() -> None:
    assert spread([0.1, 0.5], 0.05) == [0.1, 0.5]
    assert spread([0.4, 0.5, 0.6], 0.2) == pytest.approx([0.3, 0.5, 0.7])  # around their middle
    assert spread([0.9, 0.98, 0.99], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([0.2, 0.97, 1.0], 0.05) == pytest.approx([0.2, 0.95, 1.0])
    assert spread([0.0, 0.0, 0.01], 0.1) == pytest.approx([0.0, 0.1, 0.2])
    assert spread([0.5, 0.5, 0.5], 0.6) == pytest.approx([-0.2, 0.4, 1.0])  # they do not all fit
    assert spread([], 0.1) == []
    draw = np.random.default_rng(0)
    for _ in range(100):
        moved = np.array(spread(np.sort(draw.uniform(size=8)).tolist(), 0.08))
        assert (np.diff(moved) > 0.08 - 1e-9).all() and moved.min() >= 0 and moved.max() <= 1 + 1e-9


def test_seeds_are_counted_once_and_averaged_first() -> None:
    group = Group("one", "left", [rows(1), rows(3), rows(10)], [0, 0, 1])
    assert group.count == 2
    assert group.by_seed(np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])).tolist() == [[2.0, 3.0], [10.0, 20.0]]


def svg_of(groups: list[Group], path: Path, **options: Any) -> str:
    draw_groups(groups, path, **options)
    return path.read_text()


def test_the_legend_says_what_the_band_is_and_claims_no_interval_of_two_seeds(tmp_path: Path) -> None:
    three, two, one = ([rows(1, 2, 3), rows(2, 3, 4), rows(3, 3, 3)][:n] for n in (3, 2, 1))
    interval, between = f"<!-- {INTERVAL} -->", f"<!-- {RANGE} -->"
    drawn = svg_of([Group("a", "p", three)], tmp_path / "three.svg")
    assert interval in drawn and between not in drawn
    drawn = svg_of([Group("a", "p", two), Group("b", "p", one)], tmp_path / "two.svg", title="Mine")
    assert between in drawn and "95 %" not in drawn and "<!-- Mine -->" in drawn
    drawn = svg_of([Group("a", "p", three, [0, 1, 1])], tmp_path / "again.svg")
    assert "<!-- a (2 seeds, 3 runs) -->" in drawn and "95 %" not in drawn


def test_a_panel_shows_the_range_of_the_scores_though_the_interval_of_few_seeds_goes_beyond(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "save", lambda figure, path: seen.append(figure.axes[0].get_ylim()))
        draw_groups([Group("a", "p", [rows(0, 0), rows(0, 100), rows(0, 50)])], tmp_path / "a.svg")
    assert seen == [(-5.0, 105.0)]


def test_a_runs_curve_says_of_how_many_episodes_the_training_line_is(tmp_path: Path) -> None:
    scores = [{"steps": 10.0, "mean": 1.0, "stdev": 0.5, "min": 0.0, "max": 2.0}]
    save(draw_run(scores, [{"steps": 5.0, "mean_return": 0.3}], "title", recent=100), tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert "<!-- training: mean return of the latest 100 episodes, with exploration -->" in drawn
    assert "<!-- band: ± its standard deviation -->" in drawn


def test_a_picture_names_groups_panels_and_levels(tmp_path: Path) -> None:
    groups = [
        Group("one", "left", [rows(1, 2, 3), rows(2, 3, 4)]),
        Group("two", "left", [rows(0, 1, 2)]),
        Group("one", "right", [rows(1, 2, 3)]),
    ]
    lines = {"left": [Line(3.5, "solved", strong=True), Line(30.0, "others")]}
    draw_groups(groups, tmp_path / "a.svg", x="time", smooth=3, lines=lines, columns=1)
    svg = (tmp_path / "a.svg").read_text()
    for text in ("left", "right", "seconds", "one (1 to 2 seeds)", "two (1 seed)", "solved", "others"):
        assert f"<!-- {text} -->" in svg, text


def test_no_two_lines_look_alike() -> None:
    looks = [style(index) for index in range(63)]
    assert len({(look["color"], look["marker"]) for look in looks}) == 63
    assert len({look["color"] for look in looks[:16]}) == 16
    assert len({(look["linestyle"], look["marker"]) for look in looks[:36]}) == 36  # in print without color


def test_ticks_are_short() -> None:
    assert [thousands(value) for value in (0, 500, 1500, 2e6, 3e9)] == ["0", "500", "1.5k", "2M", "3G"]
