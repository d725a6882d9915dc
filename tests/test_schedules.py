"""Schedules against their closed forms, and as data."""

import json
import math

import numpy as np
import pytest

from dbrrl.errors import ConfigError
from dbrrl.schedules import Schedule, constant, cosine, exponential, from_dict, linear, of, piecewise


def test_values_by_closed_form() -> None:
    assert [constant(3.0)(p) for p in (0.0, 0.5, 1.0)] == [3.0] * 3
    assert [linear(1.0, 0.0)(p) for p in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    assert [linear(1.0, 0.1, fraction=0.5)(p) for p in (0.0, 0.25, 0.5, 0.9)] == [1.0, 0.55, 0.1, 0.1]
    assert [exponential(1.0, 0.01)(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.1, 0.01])
    assert exponential(-8.0, -2.0)(0.5) == pytest.approx(-4.0)


@pytest.mark.parametrize("schedule", [constant(2.0), linear(2.0, 1.0), exponential(2.0, 1.0)])
def test_progress_outside_the_run_stays_at_the_nearer_end(schedule: Schedule) -> None:
    assert schedule(-1.0) == schedule(0.0)
    assert schedule(7.0) == schedule(1.0)


@pytest.mark.parametrize("schedule", [constant(2.0), linear(2.0, 1.0, 0.5), exponential(2.0, 1.0)])
def test_data_and_back(schedule: Schedule) -> None:
    assert from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "sine"}, "constant, linear, exponential, cosine, piecewise, got 'sine'"),
        ({"name": "linear"}, "expected its own numbers"),
        ({"name": "constant", "start": 1.0}, "expected its own numbers"),
        ({"name": "linear", "start": float("nan")}, "start: expected a finite number, got nan"),
        ({"name": "linear", "start": "1"}, "start: expected a finite number, got '1'"),
        ({"name": "linear", "start": 1.0, "fraction": 0.0}, "fraction: expected a number above 0"),
        ({"name": "exponential", "start": 1.0, "end": 0.0}, "two numbers of one sign"),
    ],
)
def test_what_is_out_of_range_is_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(data)


def test_a_cosine_is_flat_at_both_ends_and_half_way_in_the_middle() -> None:
    schedule = cosine(3.0, 1.0)
    assert [schedule(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([3.0, 2.0, 1.0])
    assert schedule(0.25) == pytest.approx(1 + (1 + math.sqrt(0.5)))
    slopes = [(schedule(p + 1e-6) - schedule(p)) / 1e-6 for p in (0.0, 0.5, 1 - 1e-6)]
    assert slopes == pytest.approx([0.0, -math.pi, 0.0], abs=1e-4)
    assert cosine(1.0, 0.0, 0.5)(0.5) == 0.0 == cosine(1.0)(2.0)


def test_points_are_joined_by_straight_lines() -> None:
    schedule = piecewise([(0.2, 1.0), (0.4, 3.0), (0.4, 10.0), (0.8, 0.0)])
    shown = [schedule(p) for p in (-1.0, 0.0, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 2.0)]
    assert shown == pytest.approx([1.0, 1.0, 1.0, 2.0, 10.0, 5.0, 0.0, 0.0, 0.0])
    assert np.interp(0.7, [0.2, 0.4, 0.8], [1, 10, 0]) == pytest.approx(schedule(0.7))
    assert schedule.values == (1.0, 3.0, 10.0, 0.0) and piecewise([(0, 2)])(0.3) == 2.0


ALL = [
    constant(2.0),
    linear(2.0, 1.0),
    linear(3e-4, 0.0, 0.5),
    exponential(2.0, 1e-7),
    cosine(2.0, 0.1, 0.3),
    piecewise([(0, 1e-3), (0.5, 0.1), (1, 0)]),
]


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_its_text_and_its_table_mean_the_same_schedule(schedule: Schedule) -> None:
    assert of(str(schedule)) == of(json.loads(json.dumps(schedule.to_dict()))) == of(schedule) == schedule


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_a_scaled_schedule_has_as_many_times_the_values(schedule: Schedule) -> None:
    assert [schedule.scaled(3)(p / 10) for p in range(11)] == pytest.approx([3 * schedule(p / 10) for p in range(11)])


def test_texts_as_they_are_written() -> None:
    assert of("linear:3e-4") == linear(3e-4) and of("cosine:1:0.1:0.5") == cosine(1.0, 0.1, 0.5)
    assert of("piecewise:0=1,0.5=0.1") == piecewise([(0, 1), (0.5, 0.1)])


@pytest.mark.parametrize(
    "wrong",
    ["linear", "linear:", "linear:a", "linear:1:2:3:4", "line:1:0", "piecewise:1", "piecewise:0=a", "", 3, None, [1.0]],
)
def test_what_is_no_schedule_is_answered_with_the_forms(wrong: object) -> None:
    with pytest.raises(ConfigError, match="expected linear:START:END, cosine:START:END, exponential:START:END or pie"):
        of(wrong)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "expected at least one point"),
        ([(0, 1), (0.5, float("nan"))], "value: expected a finite number, got nan"),
        ([(0.5, 1), (0.2, 1)], r"expected parts of the run from 0 to 1 in order, got \[0.5, 0.2\]"),
        ([(0, 1), (1.5, 1)], "expected parts of the run from 0 to 1 in order"),
        ([1, 2], "expected pairs"),
    ],
)
def test_points_out_of_order_are_refused(points: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        piecewise(points)
