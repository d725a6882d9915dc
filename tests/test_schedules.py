"""Schedules against their closed forms, and as data."""

import json

import pytest

from dbrrl.errors import ConfigError
from dbrrl.schedules import Schedule, constant, exponential, from_dict, linear


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
        ({"name": "cosine"}, "constant, linear, exponential, got 'cosine'"),
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
