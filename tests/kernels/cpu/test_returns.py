"""Generalized advantage estimation: the bits of the formula, and the textbook's sum."""

from typing import Any

import numpy as np
import pytest

from dbrrl import returns


def episodes(steps: int, batch: int, dtype: Any) -> list[Any]:
    """Rewards, values, next values, terminations and boundaries."""
    rng = np.random.default_rng(0)
    reward, value, following = rng.normal(size=(3, steps, batch)).astype(dtype)
    terminated = rng.random((steps, batch)) < 0.1
    return [reward, value, following, terminated, terminated | (rng.random((steps, batch)) < 0.1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (128, 8), (33, 37), (300, 200)])
def test_advantages_have_the_bits_of_the_formula(c: Any, shape: tuple[int, int], dtype: Any) -> None:
    given = episodes(*shape, dtype)
    given[0][0, 0] = np.nan
    ours = c.gae(*given, 0.99, 0.95)
    right = returns.advantages.__wrapped__(*given, 0.99, 0.95)  # type: ignore[attr-defined]
    assert ours.dtype == dtype and ours.tobytes() == right.tobytes()


def test_an_advantage_is_the_discounted_sum_of_errors(c: Any) -> None:
    reward, value, following, terminated, boundary = given = episodes(30, 3, np.float64)
    error = reward + 0.9 * ~terminated * following - value
    for env in range(3):
        for t in range(30):
            total, factor = 0.0, 1.0
            for step in range(t, 30):
                total += factor * error[step, env]
                factor *= 0.9 * 0.8 * (not boundary[step, env])
            assert c.gae(*given, 0.9, 0.8)[t, env] == pytest.approx(total, rel=1e-12)


def test_other_arrays_are_left_to_numpy(c: Any) -> None:
    given = episodes(6, 4, np.float32)
    wrong = [np.zeros((6, 3), np.float32), np.zeros((6, 4), int), np.zeros((4, 6), np.float32).T, None, [[1.0]], 1.0]
    for position in range(5):
        for x in wrong:
            assert c.gae(*(x if i == position else y for i, y in enumerate(given)), 0.9, 0.8) is NotImplemented
    assert c.gae(*given, "a", 0.8) is c.gae(*given, 0.9) is NotImplemented
    assert c.gae(*episodes(0, 4, np.float32), 0.9, 0.8).shape == (0, 4)
    strided = [x[:, ::2] for x in given]
    np.testing.assert_array_equal(returns.gae(*strided, 0.9, 0.8), c.gae(*given, 0.9, 0.8)[:, ::2])
    whole = [(given[0] * 10).astype(int), *given[1:]]
    assert returns.gae(*whole, 0.9, 0.8).dtype == np.float32
