"""Running statistics and normalization against one pass over all data in float64."""

from typing import Any

import numpy as np
import pytest

from dbrrl import normalize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (17,), (3, 5), (0,)])
def test_merged_statistics_are_those_of_all_rows(c: Any, shape: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).normal(5, 3, (40, *shape)).astype(dtype)
    statistics = normalize.RunningMeanStd(shape)
    mean: Any = statistics.mean
    var: Any = statistics.var
    for part, count in ((x[:1], 0), (x[1:9], 1), (x[9:], 9)):
        right = normalize.merged.__wrapped__(part, mean, var, count)  # type: ignore[attr-defined]
        mean, var = c.merged(part, mean, var, count)
        assert type(mean) is type(right[0]) and mean.shape == shape and mean.dtype == np.float64
        np.testing.assert_allclose(mean, right[0], rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(var, right[1], rtol=1e-12, atol=1e-15)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-13)
    np.testing.assert_allclose(var, wide.var(0), rtol=1e-12)


def test_statistics_of_what_is_not_finite_are_not(c: Any) -> None:
    x = np.array([[1, np.nan, np.inf], [2, 3, 4]], np.float32)
    mean, var = c.merged(x, np.zeros(3), np.ones(3), 4)
    assert np.isfinite(mean).tolist() == [True, False, False] and np.isnan(var).tolist() == [False, True, True]


def test_observations_are_normalized_and_clipped(c: Any) -> None:
    rng = np.random.default_rng(1)
    x, mean, scale = (rng.normal(size=s).astype(np.float32) for s in ((6, 4, 17), 17, 17))
    x[0, 0, :3] = np.nan, np.inf, -np.inf
    bounds = np.float32(-1), np.float32(1)
    right = np.clip((x - mean) * scale, -1, 1)
    np.testing.assert_array_equal(c.normalized(x, mean, scale, *bounds), right)
    assert c.normalized(np.zeros((0, 17), np.float32), mean, scale, *bounds).shape == (0, 17)
    for wrong in (x[..., ::-1], x[..., :5], x.astype(np.float64), x[0, 0, 0], None):
        assert c.normalized(wrong, mean, scale, *bounds) is NotImplemented
    assert c.normalized(x, mean[:5], scale, *bounds) is c.normalized(x, mean, scale, None, 1.0) is NotImplemented


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 16, 64, 1000, 70_001])
def test_standardized_numbers_are_those_of_float64(c: Any, n: int, dtype: Any) -> None:
    x = np.random.default_rng(2).normal(3, 2, n).astype(dtype)
    wide = x.astype(np.float64)
    y = c.standardized(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, (wide - wide.mean()) / (wide.std() + 1e-8), rtol=1e-5, atol=1e-6)
    if n > 1:
        x[n // 2] = np.nan
        assert np.isnan(c.standardized(x)).all()


def test_other_arrays_are_left_to_numpy(c: Any) -> None:
    for wrong in (np.zeros(0), np.zeros((2, 2)), np.zeros(4)[::2], np.zeros(4, int), np.zeros(4, "f2"), 1.0, None):
        assert c.standardized(wrong) is NotImplemented
        assert c.merged(wrong, np.zeros(3), np.ones(3), 0) is NotImplemented
    x = np.zeros((4, 3))
    for mean, var, count in ((np.zeros(2), np.ones(3), 1), (np.zeros(3), 1.0, 1), (np.zeros(3), np.ones(3), -1)):
        assert c.merged(x, mean, var, count) is NotImplemented
    assert c.merged(x, np.zeros(3, "f4"), np.ones(3), 1) is c.merged(x, np.zeros(3), np.ones(3), 1.5) is NotImplemented


def test_normalizers_give_the_same_at_every_level(c: Any) -> None:
    observations, rewards = normalize.ObservationNormalizer((3,)), normalize.RewardNormalizer(4, 0.9)
    rng = np.random.default_rng(3)
    seen = []
    for _ in range(5):
        x = rng.normal(size=(4, 3)).astype(np.float32)
        observations.update(x)
        seen += [observations(x), rewards(rng.normal(size=4).astype(np.float32), np.array([0, 1, 0, 0], bool))]
    c.use_level("numpy")
    again, other = normalize.ObservationNormalizer((3,)), normalize.RewardNormalizer(4, 0.9)
    rng = np.random.default_rng(3)
    for i in range(5):
        x = rng.normal(size=(4, 3)).astype(np.float32)
        again.update(x)
        np.testing.assert_allclose(seen[2 * i], again(x), rtol=1e-6, atol=1e-7)
        y = other(rng.normal(size=4).astype(np.float32), np.array([0, 1, 0, 0], bool))
        np.testing.assert_allclose(seen[2 * i + 1], y, rtol=1e-6)
