"""Running statistics against one pass over everything, and the normalizers against their formulas."""

from typing import Any

import numpy as np
import pytest

from dbrrl.errors import CheckpointError, ShapeError
from dbrrl.normalize import EPSILON, ObservationNormalizer, RewardNormalizer, RunningMeanStd, standardized
from tests import standin
from tests.standin import host, put


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [8, 0, 3, 64]])
def test_merging_batches_is_one_pass_over_all(shape: tuple[int, ...], sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, size=(n, *shape)).astype(np.float32) for n in sizes]
    statistics = RunningMeanStd(shape)
    for batch in batches:
        statistics.update(batch)
    everything = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.var, everything.var(0), rtol=1e-10, atol=1e-14)
    assert statistics.count == sum(sizes)


def test_a_mean_far_from_zero_does_not_eat_the_variance() -> None:
    rng = np.random.default_rng(1)
    statistics = RunningMeanStd(())
    x = 1e8 + rng.normal(size=20_000)
    for batch in x.reshape(-1, 8):
        statistics.update(batch)
    assert float(statistics.var) == pytest.approx(x.var(), rel=1e-6)


def test_before_any_data_nothing_is_changed() -> None:
    x = np.array([[0.5, -2.0]], np.float32)
    np.testing.assert_allclose(ObservationNormalizer((2,))(x), x, rtol=1e-6)
    with pytest.raises(ShapeError, match=r"expected a batch of shape \(2,\), got \(2,\)"):
        RunningMeanStd((2,)).update(np.zeros(2))


def test_observations_come_out_standardized_and_clipped() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal([5.0, -3.0], [0.1, 20.0], size=(500, 2)).astype(np.float32)
    normalizer = ObservationNormalizer((2,), clip=2.0)
    normalizer.update(x)
    before = x.copy()
    y = normalizer(x)
    wide = x.astype(np.float64)
    expected = np.clip((wide - wide.mean(0)) / np.sqrt(wide.var(0) + EPSILON), -2, 2)
    assert y.dtype == np.float32 and normalizer(wide).dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=1e-4)
    np.testing.assert_array_equal(x, before)
    assert np.abs(y).max() == 2.0


def test_observations_of_any_leading_shape_and_dtype() -> None:
    normalizer = ObservationNormalizer((2,))
    normalizer.update(np.array([[1.0, 2.0], [3.0, 6.0]]))
    x = np.arange(12).reshape(2, 3, 2)
    np.testing.assert_allclose(normalizer(x)[1, 2], normalizer(x[1, 2]))
    scalar = ObservationNormalizer(())
    scalar.update(np.array([1.0, 3.0]))
    assert scalar(np.array(4.0)) == pytest.approx(2.0)
    assert scalar(np.array(4.0)).dtype == np.float32


def test_a_float64_observation_keeps_its_small_differences() -> None:
    x = 1e6 + np.array([[0.0], [0.01]])
    normalizer = ObservationNormalizer((1,))
    normalizer.update(x)
    np.testing.assert_allclose(normalizer(x), [[-1.0], [1.0]], rtol=1e-3)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_large_entries_are_normalized_in_their_own_precision(dtype: Any, device: str) -> None:
    t = np.arange(100.0).reshape(-1, 1)
    with standin.installed():
        x, normalizer = put((1.7e9 + t).astype(dtype), device), ObservationNormalizer((1,))
        for row in range(100):
            normalizer.update(x[row : row + 1])
        y = normalizer(x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(host(y, device), (t - 49.5) / t.std(), atol=1e-5)


def test_entries_beyond_the_range_of_float32_come_out_finite() -> None:
    x = np.array([[1e60], [3e60]])
    normalizer = ObservationNormalizer((1,))
    normalizer.update(x)
    np.testing.assert_allclose(normalizer(x), [[-1], [1]])


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return() -> None:
    rng = np.random.default_rng(3)
    rewards = rng.normal(2, 5, size=(50, 3))
    ends = rng.random((50, 3)) < 0.1
    normalizer = RewardNormalizer(3, gamma=0.9, clip=1.5)
    running, seen = np.zeros(3), [np.zeros(3)]
    for reward, end in zip(rewards, ends, strict=True):
        scaled = normalizer(reward, end)
        running = 0.9 * running + reward
        seen.append(running.copy())
        running[end] = 0
        expected = np.clip(reward / np.sqrt(np.var(seen) + EPSILON), -1.5, 1.5)
        np.testing.assert_allclose(scaled, expected, rtol=1e-5)
        assert scaled.dtype == np.float32


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("num_envs", [1, 8])
@pytest.mark.parametrize("unit", [0.001, 1.0, -1000.0])
def test_the_first_of_equal_rewards_are_scaled_alike_in_every_unit(unit: float, num_envs: int, device: str) -> None:
    """Closed form: the returns 0, r, r (1 + γ), r (1 + γ + γ²) have the deviation that NumPy gives."""
    normalizer, gamma = RewardNormalizer(num_envs, 0.99), 0.99
    with standin.installed():
        ends = put(np.zeros(num_envs, bool), device)
        got = [host(normalizer(put(np.full(num_envs, unit), device), ends), device) for _ in range(3)]
    returns = unit * np.array([0, 1, 1 + gamma, 1 + gamma + gamma**2])
    expected = [unit / np.sqrt(returns[: k + 2].var() + EPSILON) for k in range(3)]
    np.testing.assert_allclose(got, np.repeat(np.reshape(expected, (3, 1)), num_envs, axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.abs(expected), [2.0, 1.231, 0.901], rtol=0.05)


def test_first_rewards_that_hardly_differ_are_not_magnified_to_the_limit() -> None:
    rewards = np.random.default_rng(0).normal(5.0, 0.1, 8)
    scaled = RewardNormalizer(8, 0.99)(rewards, np.zeros(8, bool))
    np.testing.assert_allclose(scaled, rewards / np.concatenate([np.zeros(8), rewards]).std(), rtol=1e-5)
    assert scaled.max() < 2.2


def test_a_first_step_without_any_transition_leaves_rewards_as_they_are() -> None:
    normalizer = RewardNormalizer(2, 0.99)
    nobody = np.zeros(2, bool)
    np.testing.assert_allclose(normalizer(np.array([1.0, 3.0]), nobody, nobody), [1.0, 3.0], rtol=1e-6)
    assert normalizer.statistics.count == 0
    np.testing.assert_allclose(normalizer(np.ones(2), nobody), [2.0, 2.0], rtol=1e-6)


def test_rows_without_a_transition_leave_everything_as_it_is() -> None:
    full, masked = RewardNormalizer(1, 0.9), RewardNormalizer(2, 0.9)
    valid, no_end = np.array([True, False]), np.zeros(2, bool)
    for reward in (1.0, -2.0, 3.0):
        first = full(np.array([reward]), no_end[:1])
        second = masked(np.array([reward, 100.0]), ~valid, valid)
        assert first[0] == second[0]
    assert masked.returns[1] == 0.0
    assert masked.statistics.count == 4  # three returns, and the 0 at which that environment's return starts


def test_scale_changes_nothing() -> None:
    normalizer = RewardNormalizer(2, 0.9)
    normalizer(np.array([1.0, 4.0]), np.zeros(2, bool))
    before = normalizer.state_dict()
    normalizer.scale(np.array([9.0]))
    after = normalizer.state_dict()
    assert before["statistics"]["count"] == after["statistics"]["count"]
    np.testing.assert_array_equal(before["returns"], after["returns"])


def test_state_brings_everything_back_bit_for_bit() -> None:
    rng = np.random.default_rng(4)
    first, observations = RewardNormalizer(2, 0.9), ObservationNormalizer((3,))
    for _ in range(5):
        first(rng.normal(size=2), rng.random(2) < 0.3)
        observations.update(rng.normal(size=(2, 3)))
    second, again = RewardNormalizer(2, 0.9), ObservationNormalizer((3,))
    second.load_state_dict(first.state_dict())
    again.load_state_dict(observations.state_dict())
    narrow = rng.normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_array_equal(observations(narrow), again(narrow))
    for _ in range(5):
        reward, end, x = rng.normal(size=2), rng.random(2) < 0.3, rng.normal(size=(2, 3))
        np.testing.assert_array_equal(first(reward, end), second(reward, end))
        observations.update(x)
        again.update(x)
        np.testing.assert_array_equal(observations(x), again(x))


def test_a_state_taken_earlier_does_not_follow_later_updates() -> None:
    normalizer = RewardNormalizer(1, 0.9)
    state = normalizer.state_dict()
    normalizer(np.array([3.0]), np.array([False]))
    assert state["returns"][0] == 0.0 and state["statistics"]["mean"] == 0.0


def test_a_state_of_other_shapes_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"returns: expected shape \(2,\), got \(3,\)"):
        RewardNormalizer(2, 0.9).load_state_dict(RewardNormalizer(3, 0.9).state_dict())
    with pytest.raises(CheckpointError, match=r"mean: expected shape \(2,\), got \(3,\)"):
        ObservationNormalizer((2,)).load_state_dict(ObservationNormalizer((3,)).state_dict())
    with pytest.raises(ShapeError, match="one entry per environment"):
        RewardNormalizer(2, 0.9)(np.zeros(3), np.zeros(3, bool))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [3.3, -0.1, 1e-6, 1e4 / 3, 0.0])
@pytest.mark.parametrize("n", [1, 7, 100, 70_000])
def test_equal_numbers_standardized_are_zero(dtype: type, value: float, n: int, device: str) -> None:
    y = host(standardized(put(np.full(n, value, dtype), device)), device)
    assert y.dtype == dtype and not y.any()


def test_equal_large_float64_standardized_are_zero(device: str) -> None:
    assert not host(standardized(put(np.full(1000, 1e9 / 7), device)), device).any()


def test_numbers_that_are_near_for_their_size_are_standardized_exactly() -> None:
    x = np.float32(3.3) + np.spacing(np.float32(3.3)) * np.random.default_rng(0).integers(0, 4, 100).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean()) / (wide.std() + 1e-8)
    np.testing.assert_allclose(standardized(x), expected, rtol=1e-5, atol=1e-6)


def test_standardized_keeps_the_bits_of_its_formula() -> None:
    for scale, mean in ((1.0, 0.0), (1e-3, 5.0), (100.0, -1e4)):
        x = np.random.default_rng(1).normal(mean, scale, 64).astype(np.float32)
        centered = x - np.add.reduce(x) / 64
        formula = standardized.__wrapped__  # type: ignore[attr-defined]
        np.testing.assert_array_equal(formula(x), centered / (np.sqrt(np.dot(centered, centered) / 64) + 1e-8))


def test_standardized_float16_does_not_overflow() -> None:
    x = np.random.default_rng(2).normal(100, 50, 3000).astype(np.float16)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(standardized(x), (wide - wide.mean()) / wide.std(), atol=2e-3)
