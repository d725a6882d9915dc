"""Learning curves of groups: averages, levels, and names that do not overlap."""

from pathlib import Path

import numpy as np
import pytest

from dbrrl.experiment.canvas import style, thousands
from dbrrl.experiment.curves import Group, Line, draw_groups, moving_average, spread


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
    assert spread([0.5, 0.5, 0.51], 0.1) == pytest.approx([0.5, 0.6, 0.7])
    assert spread([0.9, 0.98, 0.99], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([0.2, 0.97, 1.0], 0.05) == pytest.approx([0.2, 0.95, 1.0])
    assert spread([], 0.1) == []


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
    assert len({(look["linestyle"], look["marker"]) for look in looks[:36]}) == 36  # in print without color


def test_ticks_are_short() -> None:
    assert [thousands(value) for value in (0, 500, 1500, 2e6, 3e9)] == ["0", "500", "1.5k", "2M", "3G"]
