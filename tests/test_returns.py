"""Returns and advantages against sums written out step by step, and against each other's special cases."""

from typing import Any

import numpy as np
import pytest

from dbrrl.errors import ShapeError
from dbrrl.returns import discounted, explained_variance, gae, lambda_return, n_step, vtrace

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


def ratios(seed: int) -> np.ndarray:
    """Ratios of probabilities, some far from 1."""
    return np.exp(np.random.default_rng(seed).normal(size=(12, 3)))


def test_vtrace_by_hand() -> None:
    no = np.zeros((3, 1), bool)
    reward, value, following = ([[1.0], [2.0], [4.0]], [[3.0], [2.0], [1.0]], [[2.0], [1.0], [6.0]])
    ratio = [[0.5], [2.0], [0.25]]
    given = [np.array(x) for x in (reward, value, following, ratio)]
    target, advantage = vtrace(*given, no, no, gamma=0.5)
    # δ₂ = 0.25 (4 + 3 - 1) = 1.5,   v₂ = 1 + 1.5 = 2.5;   ρ₁ = c₁ = 1: δ₁ = 2 + 0.5 - 2 = 0.5, v₁ = 2 + 0.5 + 0.5·1.5
    # = 3.25;   δ₀ = 0.5 (1 + 1 - 3) = -0.5, v₀ = 3 - 0.5 + 0.5·0.5·(3.25 - 2) = 2.8125
    np.testing.assert_allclose(target, [[2.8125], [3.25], [2.5]])
    # A₀ = 0.5 (1 + 3.25/2 - 3), A₁ = 2 + 2.5/2 - 2, A₂ = 0.25 (4 + 6/2 - 1)
    np.testing.assert_allclose(advantage, [[-0.1875], [1.25], [1.5]])
    longer, wider = vtrace(*given, no, no, gamma=0.5, rho_bar=4.0, c_bar=4.0)
    # ρ₁ = c₁ = 2: v₁ = 2 + 2·0.5 + 0.5·2·1.5 = 4.5, v₀ = 3 - 0.5 + 0.25 (4.5 - 2), A₁ = 2 (2 + 2.5/2 - 2)
    np.testing.assert_allclose(longer, [[3.125], [4.5], [2.5]])
    np.testing.assert_allclose(wider, [[0.5 * (1 + 2.25 - 3)], [2.5], [1.5]])


@pytest.mark.parametrize(("rho_bar", "c_bar", "lambda_"), [(1.0, 1.0, 1.0), (1.5, 0.7, 0.8), (np.inf, 1.0, 1.0)])
def test_vtrace_is_the_sum_of_equation_1(rho_bar: float, c_bar: float, lambda_: float) -> None:
    r, ratio = rollout(7), ratios(8)
    target, advantage = vtrace(**r, ratio=ratio, gamma=GAMMA, lambda_=lambda_, rho_bar=rho_bar, c_bar=c_bar)
    delta = r["reward"] + GAMMA * ~r["terminated"] * r["next_value"] - r["value"]
    for t, b in np.ndindex(target.shape):
        total, factor = r["value"][t, b], 1.0
        for k in range(t, len(delta)):
            total += factor * min(rho_bar, ratio[k, b]) * delta[k, b]
            factor *= GAMMA * lambda_ * min(c_bar, ratio[k, b])
            if r["boundary"][k, b]:
                break
        assert target[t, b] == pytest.approx(total)
        inside = t + 1 < len(delta) and not r["boundary"][t, b]
        after = 0.0 if r["terminated"][t, b] else target[t + 1, b] if inside else r["next_value"][t, b]
        expected = min(rho_bar, ratio[t, b]) * (r["reward"][t, b] + GAMMA * after - r["value"][t, b])
        assert advantage[t, b] == pytest.approx(expected)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 1.0])
def test_vtrace_of_the_policy_that_acted_is_the_lambda_return(lambda_: float) -> None:
    r = rollout(9)
    target, advantage = vtrace(**r, ratio=np.ones((12, 3)), gamma=GAMMA, lambda_=lambda_)
    np.testing.assert_allclose(target, lambda_return(**without_value(r), gamma=GAMMA, lambda_=lambda_))
    if lambda_ == 1:
        np.testing.assert_allclose(advantage, gae(**r, gamma=GAMMA, lambda_=1.0))


def test_vtrace_gives_the_values_of_the_policy_that_learns() -> None:
    # One state, two actions with rewards 1 and 3, over at once: μ takes the first in 3 of 4, π in 1 of 4. With a bound
    # above all ratios the mean over μ is π's value, 2.5; with ρ̄ = 1 the value stays where that of the policy
    # min(μ, π), scaled to 1, is: both actions alike, 2.
    yes = np.ones((1, 2), bool)
    reward, chance, ratio = np.array([[1.0, 3.0]]), np.array([[0.75, 0.25]]), np.array([[1 / 3, 3.0]])
    for rho_bar, expected in ((np.inf, 2.5), (1.0, 2.0)):
        value = np.full((1, 2), expected)
        target, _ = vtrace(reward, value, 0 * value, ratio, yes, yes, gamma=0.9, rho_bar=rho_bar)
        assert (chance * target).sum() == pytest.approx(expected)


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
        lambda x: vtrace(**x, ratio=ratios(4), gamma=GAMMA)[0],
        lambda x: vtrace(**x, ratio=ratios(4), gamma=GAMMA)[1],
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
        *vtrace(**r, ratio=ratios(5), gamma=gamma, lambda_=LAMBDA, rho_bar=np.float64(2)),
    ]
    assert [x.dtype for x in results] == [np.float32] * 6
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
