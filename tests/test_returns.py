"""Returns and advantages against sums written out step by step, and against each other's special cases."""

from typing import Any

import numpy as np
import pytest

from dbrrl.errors import ShapeError
from dbrrl.returns import discounted, explained_variance, gae, lambda_return, n_step

GAMMA, LAMBDA = 0.9, 0.8


def rollout(seed: int, steps: int = 12, batch: int = 3) -> dict[str, Any]:
    """A random rollout in float64 with true ends and time limits; values continue inside an episode."""
    rng = np.random.default_rng(seed)
    shape = (steps, batch)
    terminated = rng.random(shape) < 0.2
    truncated = ~terminated & (rng.random(shape) < 0.2)
    value = rng.normal(size=shape)
    next_value = np.concatenate([value[1:], rng.normal(size=(1, batch))])
    next_value = np.where(truncated, rng.normal(size=shape), next_value)
    return {
        "reward": rng.normal(size=shape),
        "value": value,
        "next_value": next_value,
        "terminated": terminated,
        "boundary": terminated | truncated,
    }


def without_value(r: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in r.items() if name != "value"}


def by_definition(r: dict[str, Any], t: int, b: int, n: int) -> float:
    """The n-step return of one entry, as the book writes it: rewards up to n, then the value."""
    total, factor = 0.0, 1.0
    for k in range(t, min(t + n, len(r["reward"]))):
        total += factor * r["reward"][k, b]
        factor *= GAMMA
        if r["boundary"][k, b]:
            break
    return total + (0.0 if r["terminated"][k, b] else factor * r["next_value"][k, b])


@pytest.mark.parametrize("n", [1, 2, 5, 12, 100])
def test_n_step_is_the_sum_of_the_definition(n: int) -> None:
    r = rollout(n)
    result = n_step(**without_value(r), gamma=GAMMA, n=n)
    for t, b in np.ndindex(result.shape):
        assert result[t, b] == pytest.approx(by_definition(r, t, b, n))


def test_discounted_runs_to_the_end_of_each_episode() -> None:
    r = rollout(0)
    result = discounted(**without_value(r), gamma=GAMMA)
    for t, b in np.ndindex(result.shape):
        assert result[t, b] == pytest.approx(by_definition(r, t, b, 1000))


def test_lambda_return_is_the_geometric_mixture_of_n_step_returns() -> None:
    r = rollout(1)
    steps = len(r["reward"])
    # Sutton & Barto eq. 12.3: (1 - λ) Σ λ^{n-1} G^{(n)} and the rest of the weight on the longest one.
    longest = n_step(**without_value(r), gamma=GAMMA, n=steps)
    mixture = sum(
        (1 - LAMBDA) * LAMBDA ** (n - 1) * n_step(**without_value(r), gamma=GAMMA, n=n) for n in range(1, steps)
    )
    mixture = mixture + LAMBDA ** (steps - 1) * longest
    np.testing.assert_allclose(lambda_return(**without_value(r), gamma=GAMMA, lambda_=LAMBDA), mixture)


def test_gae_is_the_sum_of_discounted_errors() -> None:
    r = rollout(2)
    delta = r["reward"] + GAMMA * ~r["terminated"] * r["next_value"] - r["value"]
    result = gae(**r, gamma=GAMMA, lambda_=LAMBDA)
    for t, b in np.ndindex(delta.shape):
        total, factor = 0.0, 1.0
        for k in range(t, len(delta)):
            total += factor * delta[k, b]
            factor *= GAMMA * LAMBDA
            if r["boundary"][k, b]:
                break
        assert result[t, b] == pytest.approx(total)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 1.0])
def test_gae_is_the_lambda_return_minus_the_value(lambda_: float) -> None:
    r = rollout(3)
    expected = lambda_return(**without_value(r), gamma=GAMMA, lambda_=lambda_) - r["value"]
    np.testing.assert_allclose(gae(**r, gamma=GAMMA, lambda_=lambda_), expected)


def test_a_truncation_bootstraps_and_a_true_end_does_not() -> None:
    one = np.ones((1, 1))
    yes, no = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    assert discounted(one, 5 * one, terminated=no, boundary=yes, gamma=0.5)[0, 0] == 3.5
    assert discounted(one, 5 * one, terminated=yes, boundary=yes, gamma=0.5)[0, 0] == 1.0


def test_nothing_crosses_a_boundary() -> None:
    r = rollout(4)
    r["boundary"][5] = True
    changed = {name: x.copy() for name, x in r.items()}
    changed["reward"][6:] += 100
    for function in (
        lambda x: gae(**x, gamma=GAMMA, lambda_=LAMBDA),
        lambda x: lambda_return(**without_value(x), gamma=GAMMA, lambda_=LAMBDA),
        lambda x: n_step(**without_value(x), gamma=GAMMA, n=4),
    ):
        np.testing.assert_array_equal(function(r)[:6], function(changed)[:6])
        assert (function(r)[6] != function(changed)[6]).all()


def test_inputs_are_left_alone_and_float32_stays() -> None:
    r = {name: x if x.dtype == bool else x.astype(np.float32) for name, x in rollout(5).items()}
    before = {name: x.copy() for name, x in r.items()}
    gamma = np.float64(GAMMA)  # a NumPy number must not widen the result
    results = [
        gae(**r, gamma=gamma, lambda_=LAMBDA),
        lambda_return(**without_value(r), gamma=gamma, lambda_=LAMBDA),
        discounted(**without_value(r), gamma=gamma),
        n_step(**without_value(r), gamma=gamma, n=3),
    ]
    assert [x.dtype for x in results] == [np.float32] * 4
    for name, x in r.items():
        np.testing.assert_array_equal(x, before[name])


def test_integer_rewards_and_empty_rollouts_are_served() -> None:
    no = np.zeros((2, 1), bool)
    values = np.zeros((2, 1), np.float32)
    assert discounted(np.array([[1], [2]]), values, no, no, 0.5).tolist() == [[2.0], [2.0]]
    empty, flags = np.zeros((0, 3), np.float32), np.zeros((0, 3), bool)
    assert gae(empty, empty, empty, flags, flags, 0.9, 0.9).shape == (0, 3)
    assert n_step(empty, empty, flags, flags, 0.9, 3).shape == (0, 3)


def test_shapes_are_checked_by_name() -> None:
    r = rollout(6)
    with pytest.raises(ShapeError, match=r"value: expected the shape of reward, \(12, 3\), got \(11, 3\)"):
        gae(**{**r, "value": r["value"][1:]}, gamma=GAMMA, lambda_=LAMBDA)
    with pytest.raises(ShapeError, match=r"expected shape \(T, B\), got \(12,\)"):
        gae(**{name: x[:, 0] for name, x in r.items()}, gamma=GAMMA, lambda_=LAMBDA)


def test_explained_variance() -> None:
    target = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert explained_variance(target, target) == 1.0
    assert explained_variance(target + 7, target) == 1.0
    assert explained_variance(np.zeros_like(target), target) == 0.0
    assert explained_variance(-target, target) == pytest.approx(-3.0)
    assert np.isnan(explained_variance(target, np.ones_like(target)))
