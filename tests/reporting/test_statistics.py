"""Statistics over seeds against numbers worked by hand and the definitions they are taken from."""

import itertools
import math

import numpy as np
import pytest

from dbrrl.errors import ConfigError
from dbrrl.reporting import statistics
from dbrrl.reporting.statistics import (
    bootstrap_interval,
    first_reaching,
    improvement_interval,
    iqm,
    iqm_intervals,
    mean_interval,
    mean_intervals,
    performance_profile,
    probability_of_improvement,
    profile_interval,
    student_quantile,
)


def test_the_interquartile_mean_by_hand() -> None:
    assert iqm(np.array([8.0, 1.0, 2.0, 100.0])) == 5.0  # of 2 and 8
    assert iqm(np.array([3.0, 1.0, 2.0, 7.0, 50.0])) == 4.0  # floor(5 / 4) = 1 off each end: 2, 3 and 7
    assert iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # nothing to cut: the mean
    assert iqm(np.arange(10.0)) == 4.5
    scores = np.array([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [90.0, -99.0]])
    assert iqm(scores, axis=0).tolist() == [1.5, 15.0] and iqm(scores, axis=1).tolist() == [5.0, 10.5, 16.0, -4.5]


@pytest.mark.parametrize("count", range(1, 13))
def test_the_interquartile_mean_is_the_trimmed_mean(count: int) -> None:
    # scipy.stats.trim_mean's definition: slice off int(proportion * n) of the sorted scores at each end.
    scores = np.random.default_rng(count).normal(size=count)
    cut = int(0.25 * count)
    assert iqm(scores) == pytest.approx(np.mean(sorted(scores)[cut : count - cut]))


@pytest.mark.parametrize("scores", [[1.0, 2.0, math.nan], []])
def test_what_is_no_number_is_refused(scores: list[float]) -> None:
    odd, good, levels = np.array(scores), np.array([1.0, 2.0]), np.array([0.5])
    calls = [
        lambda: iqm(odd),
        lambda: bootstrap_interval([good, odd]),
        lambda: mean_interval(odd),
        lambda: probability_of_improvement([good], [odd]),
        lambda: improvement_interval([odd], [good]),
        lambda: performance_profile([odd], levels),
        lambda: profile_interval([good, odd], levels),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="scores: expected numbers, got"):
            call()


def test_scipy_says_the_same() -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for count in range(1, 25):
        scores = draw.normal(size=count)
        assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25))
        for level in (0.5, 0.9, 0.95, 0.999):
            assert student_quantile(count, level) == pytest.approx(stats.t.ppf((1 + level) / 2, count), rel=1e-9)
    x, y = draw.integers(0, 5, 12).astype(float), draw.integers(0, 5, 9).astype(float)
    u, _ = stats.mannwhitneyu(x, y, alternative="greater")
    assert probability_of_improvement([x], [y]) == pytest.approx(u / (12 * 9))


# From the table of percentage points of Student's distribution in Abramowitz and Stegun 1964, 26.10, two-sided.
@pytest.mark.parametrize(
    ("freedom", "level", "expected"),
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (3, 0.95, 3.182), (4, 0.95, 2.776), (9, 0.95, 2.262), (30, 0.95, 2.042),
     (120, 0.95, 1.980), (1, 0.5, 1.0), (4, 0.99, 4.604), (9, 0.9, 1.833), (10**6, 0.95, 1.960)],
)  # fmt: skip
def test_students_quantiles_are_those_of_the_table(freedom: int, level: float, expected: float) -> None:
    assert student_quantile(freedom, level) == pytest.approx(expected, abs=6e-4)


def test_the_interval_of_a_mean_by_hand() -> None:
    low, high = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))  # mean 3, s = sqrt(14 / 3), t = 3.1824
    assert (low, high) == pytest.approx((3 - 3.1824 * math.sqrt(14 / 12), 3 + 3.1824 * math.sqrt(14 / 12)), abs=1e-3)
    assert mean_interval(np.array([3.0])) == (3.0, 3.0) and mean_interval(np.full(9, 500.1)) == (500.1, 500.1)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_interval_of_a_mean_holds_the_true_mean_as_often_as_it_says(count: int) -> None:
    samples = np.random.default_rng(count).normal(7.0, 3.0, (4000, count))
    held = np.mean([low <= 7.0 <= high for low, high in map(mean_interval, samples)])
    assert held == pytest.approx(0.95, abs=0.011)  # three standard errors of 4,000 samples


def exact_quantiles(values: list[float], level: float) -> tuple[float, float]:
    """The bounds of a distribution whose outcomes are equally likely."""
    ordered = sorted(values)
    tail = (1 - level) / 2
    return ordered[int(tail * len(ordered))], ordered[math.ceil((1 - tail) * len(ordered)) - 1]


def test_the_bootstrap_interval_is_that_of_all_resamples() -> None:
    scores = np.array([0.0, 1.0, 5.0, 20.0, 21.0])
    every = [float(np.mean(draw)) for draw in itertools.product(scores, repeat=5)]
    assert bootstrap_interval(scores) == pytest.approx(exact_quantiles(every, 0.95), abs=0.5)
    every = [float(iqm(np.array(draw))) for draw in itertools.product(scores, repeat=5)]
    assert bootstrap_interval(scores, iqm, 0.8) == pytest.approx(exact_quantiles(every, 0.8), abs=0.5)
    assert bootstrap_interval(scores) == bootstrap_interval(scores)
    assert bootstrap_interval(np.array([3.0])) == (3.0, 3.0)


def test_resampling_keeps_to_each_task() -> None:
    # Between tasks all differs, within each nothing: a stratified resample is the sample.
    strata = [np.zeros(4), np.full(4, 100.0)]
    assert bootstrap_interval(strata) == (50.0, 50.0)
    low, high = bootstrap_interval(np.concatenate(strata))
    assert low < 30 and high > 70
    # Two seeds in each of two tasks: 16 equally likely resamples.
    strata = [np.array([0.0, 1.0]), np.array([10.0, 20.0])]
    every = [(a + b + c + d) / 4 for a, b in itertools.product((0, 1), repeat=2) for c, d in [(10, 10), (10, 20)] * 2]
    assert bootstrap_interval(strata, level=0.5)[0] >= min(every) == 5.0
    assert bootstrap_interval(strata, level=0.999) == (5.0, 10.5)


def test_the_probability_of_improvement_by_hand() -> None:
    # Pairs of {3, 1} and {2, 1, 0}: 3 beats all three; 1 beats 0 and ties with 1.
    ours, theirs = [np.array([3.0, 1.0])], [np.array([2.0, 1.0, 0.0])]
    assert probability_of_improvement(ours, theirs) == pytest.approx((3 + 1 + 0.5) / 6)
    assert probability_of_improvement(theirs, ours) == pytest.approx(1 - 4.5 / 6)
    # The mean over tasks, not over pairs: 0.75 and 0.
    ours.append(np.zeros(10))
    theirs.append(np.ones(10))
    assert probability_of_improvement(ours, theirs) == pytest.approx(0.375)
    assert probability_of_improvement([np.ones(3)], [np.ones(3)]) == 0.5
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        probability_of_improvement(ours, theirs[:1])


def test_the_interval_of_an_improvement_holds_all_resamples() -> None:
    ours, theirs = [np.array([3.0, 1.0])], [np.array([2.0, 0.0])]
    pairs = itertools.product(itertools.product(ours[0], repeat=2), itertools.product(theirs[0], repeat=2))
    every = [probability_of_improvement([np.array(x)], [np.array(y)]) for x, y in pairs]
    assert improvement_interval(ours, theirs) == exact_quantiles(every, 0.95)
    assert improvement_interval([np.ones(5)], [np.zeros(5)]) == (1.0, 1.0)
    assert improvement_interval([np.ones(5)], [np.ones(3)]) == (0.5, 0.5)


def test_performance_profiles_by_hand() -> None:
    levels = np.array([-1.0, 0.0, 0.5, 1.0])
    one = [np.array([0.0, 0.5, 1.0, 1.0])]
    assert performance_profile(one, levels).tolist() == [1.0, 0.75, 0.5, 0.0]  # strictly above
    two = [*one, np.array([1.0])]  # each task weighs the same, however many seeds it has
    assert performance_profile(two, levels).tolist() == [1.0, 0.875, 0.75, 0.0]
    low, high = profile_interval(two, levels)
    assert (low <= performance_profile(two, levels)).all() and (high >= performance_profile(two, levels)).all()
    assert low[0] == high[0] == 1.0 and low[-1] == high[-1] == 0.0 and low[2] < 0.75 < high[2]
    # By all 256 resamples of the four seeds.
    drawn = np.array(list(itertools.product(one[0], repeat=4)))
    shares = sorted((drawn > 0.5).mean(axis=1))
    assert profile_interval(one, levels)[0][2] == shares[int(0.025 * 256)]


def test_where_a_threshold_is_first_reached() -> None:
    places, values = np.array([10.0, 20.0, 30.0]), np.array([1.0, 5.0, 2.0])
    assert first_reaching(places, values, 5.0) == 20.0
    assert first_reaching(places, values, 0.0) == 10.0
    assert first_reaching(places, values, 5.1) == math.inf


def test_other_resamples_give_nearly_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).normal(size=10)
    first = bootstrap_interval(scores, iqm)
    monkeypatch.setattr(statistics, "RESAMPLES", 40_000)
    assert bootstrap_interval(scores, iqm) == pytest.approx(first, abs=0.05)


def test_intervals_of_many_columns_are_those_of_each() -> None:
    scores = np.random.default_rng(3).normal(size=(6, 5))
    scores[:, 2] = 1.5  # all the same: an interval of no width
    low, high = mean_intervals(scores)
    for column in range(5):
        np.testing.assert_allclose((low[column], high[column]), mean_interval(scores[:, column]), atol=1e-15)
    one = mean_intervals(scores[:1])
    np.testing.assert_array_equal(one, (scores[0], scores[0]))
    low, high = iqm_intervals(scores, resamples=4000)
    for column in range(5):
        np.testing.assert_allclose((low[column], high[column]), bootstrap_interval(scores[:, column], iqm), atol=0.1)
