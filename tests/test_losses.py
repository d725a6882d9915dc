"""The losses of the agents against their formulas, written out again one transition at a time."""

import math
from typing import Any

import numpy as np
import pytest

from dbrrl import Tensor, losses, testing

RNG = np.random.default_rng(0)
N = 7


def tensor(x: Any) -> Tensor:
    return Tensor(x, requires_grad=True)


def huber(error: float) -> float:
    """Huber's function with the limit 1."""
    return error * error / 2 if abs(error) <= 1 else abs(error) - 0.5


def test_clipped_surrogate_is_equation_7_of_ppo() -> None:
    log_prob, old, advantage = RNG.normal(size=(3, 40)) * [[0.4], [0.4], [1.0]]
    total = 0.0
    for new, before, a in zip(log_prob, old, advantage, strict=True):
        ratio = math.exp(new - before)
        total += min(ratio * a, min(max(ratio, 0.8), 1.2) * a)
    found = losses.clipped_surrogate(tensor(log_prob), old, advantage, 0.2)
    assert found.item() == pytest.approx(total / 40, rel=1e-12)


def test_policy_gradient_is_the_mean_of_log_probability_times_advantage() -> None:
    log_prob, advantage = tensor(RNG.normal(size=N)), RNG.normal(size=N)
    found = losses.policy_gradient(log_prob, advantage)
    assert found.item() == pytest.approx(sum(log_prob.numpy() * advantage) / N, rel=1e-12)
    found.backward()
    np.testing.assert_allclose(log_prob.grad, advantage / N)  # type: ignore[arg-type]


def test_surrogate_is_the_mean_of_ratio_times_advantage() -> None:
    log_prob, old, advantage = RNG.normal(size=(3, N))
    x = tensor(log_prob)
    found = losses.surrogate(x, old, advantage)
    ratio = [math.exp(new - before) for new, before in zip(log_prob, old, strict=True)]
    assert found.item() == pytest.approx(sum(r * a for r, a in zip(ratio, advantage, strict=True)) / N, rel=1e-12)
    found.backward()
    np.testing.assert_allclose(x.grad, np.array(ratio) * advantage / N)  # type: ignore[arg-type]


def test_value_loss_is_the_mean_squared_error() -> None:
    value, target, old = RNG.normal(size=(3, N))
    found = losses.clipped_value_loss(tensor(value), target, old)
    assert found.item() == pytest.approx(sum((v - g) ** 2 for v, g in zip(value, target, strict=True)) / N, rel=1e-12)


@pytest.mark.parametrize("limit", [0.1, 0.5])
def test_a_clipped_value_loss_takes_the_larger_of_two_errors(limit: float) -> None:
    value, target, old = RNG.normal(size=(3, N))
    total = 0.0
    for v, g, before in zip(value, target, old, strict=True):
        moved = before + min(max(v - before, -limit), limit)
        total += max((v - g) ** 2, (moved - g) ** 2)
    found = losses.clipped_value_loss(tensor(value), target, old, limit)
    assert found.item() == pytest.approx(total / N, rel=1e-12)


def test_a_value_that_moved_too_far_has_no_gradient() -> None:
    """V = 3 moved from 0, where 0.2 are allowed; G = 9 is beyond, so that the limited value has the larger error."""
    value = tensor(np.array([3.0, 0.1]))
    losses.clipped_value_loss(value, np.array([9.0, 9.0]), np.zeros(2), 0.2).backward()
    np.testing.assert_allclose(value.grad, [0.0, 2 * (0.1 - 9) / 2])  # type: ignore[arg-type]


def test_td_huber_is_quadratic_up_to_an_error_of_1_and_linear_beyond() -> None:
    values, action = RNG.normal(size=(N, 3)) * 2, RNG.integers(0, 3, N)
    target = RNG.normal(size=N) * 2
    loss, error = losses.td_huber(tensor(values), action, target)
    chosen = [values[i, a] for i, a in enumerate(action)]
    np.testing.assert_allclose(error, [abs(q - y) for q, y in zip(chosen, target, strict=True)])
    np.testing.assert_allclose(loss.numpy(), [huber(q - y) for q, y in zip(chosen, target, strict=True)])
    assert error.max() > 1 > error.min()


def test_the_gradient_of_td_huber_is_the_error_within_1() -> None:
    """Q = 0.5, 3 and -3 of action 1 against y = 0: the gradients are 0.5, 1 and -1, and 0 for the other action."""
    values = tensor(np.array([[9.0, 0.5], [9.0, 3.0], [9.0, -3.0]]))
    losses.td_huber(values, np.ones(3, np.int64), np.zeros(3))[0].sum().backward()
    np.testing.assert_array_equal(values.grad, [[0, 0.5], [0, 1], [0, -1]])  # type: ignore[arg-type]


def test_quantile_huber_is_equation_10_of_qr_dqn() -> None:
    theta, target, tau = RNG.normal(size=(N, 4)) * 2, RNG.normal(size=(N, 5)) * 2, RNG.random((N, 4))
    expected = np.zeros(N)
    for row in range(N):
        for i in range(4):
            for j in range(5):
                u = target[row, j] - theta[row, i]
                expected[row] += abs(tau[row, i] - (u < 0)) * huber(u) / 5
    np.testing.assert_allclose(losses.quantile_huber(tensor(theta), target, tau).numpy(), expected)
    shared = losses.quantile_huber(tensor(theta), target, tau[0]).numpy()
    np.testing.assert_allclose(shared[0], expected[0])


def test_categorical_cross_entropy_of_each_row() -> None:
    logits, target = RNG.normal(size=(N, 4)), RNG.dirichlet(np.ones(4), N)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = losses.categorical_cross_entropy(tensor(logits), target)
    np.testing.assert_allclose(found.numpy(), -(target * np.log(p)).sum(1))
    own = losses.categorical_cross_entropy(tensor(np.log(target)), target)
    np.testing.assert_allclose(own.numpy(), -(target * np.log(target)).sum(1))  # the entropy: nothing is smaller
    assert np.all(losses.categorical_cross_entropy(tensor(np.log(target) + logits), target).numpy() > own.numpy())


def test_gradients_match_central_differences() -> None:
    x, y, rows = RNG.normal(size=(2, N)), RNG.normal(size=N), RNG.normal(size=(N, 3))
    m = RNG.dirichlet(np.ones(3), N)
    for loss, at in (
        (lambda v: losses.policy_gradient(v, y), x[0]),
        (lambda v: losses.clipped_value_loss(v, y, x[1], 0.3), x[0]),
        (lambda v: losses.td_huber(v, np.arange(N) % 3, y)[0].sum(), rows),
        (lambda v: losses.quantile_huber(v, rows, np.array([0.2, 0.5, 0.8])).sum(), rows + 0.3),
        (lambda v: losses.categorical_cross_entropy(v, m).sum(), rows),
        (lambda v: losses.clipped_surrogate(v, x[1], y, 0.2), x[1] + 0.05),
    ):
        testing.check_gradients(loss, at)


def test_the_squared_td_error_is_the_sum_over_critics_for_each_transition() -> None:
    values, target = RNG.normal(size=(3, N)), RNG.normal(size=N)
    loss, error = losses.td_squared(tensor(values), target)
    for i in range(N):
        errors = [values[k, i] - target[i] for k in range(3)]
        assert loss.numpy()[i] == pytest.approx(sum(e * e for e in errors), rel=1e-12)
        assert error[i] == pytest.approx(sum(map(abs, errors)) / 3, rel=1e-12)
    testing.check_gradients(lambda v: losses.td_squared(v, target)[0], values, order=2)


def test_the_soft_policy_loss_is_least_at_the_softmax_of_the_values() -> None:
    """E[α log π - Q] over three actions is least, -α log Σ e^(Q/α), where π is proportional to e^(Q/α)."""
    q, alpha = np.array([1.0, 0.2, -0.7]), 0.3
    best = np.exp(q / alpha) / np.exp(q / alpha).sum()

    def expected(p: np.ndarray) -> float:
        rows = np.repeat(np.arange(3), np.round(p * 1_000_000).astype(int))
        return float(losses.soft_policy(np.log(p)[rows], q[rows], alpha))

    assert expected(best) == pytest.approx(-alpha * math.log(np.exp(q / alpha).sum()), abs=1e-5)
    for other in ([0.9, 0.05, 0.05], [1 / 3] * 3):
        assert expected(np.array(other)) > expected(best) + 0.01


def test_the_temperature_grows_where_the_entropy_is_below_its_target() -> None:
    for log_prob, sign in ((2.0, -1), (-3.0, 1)):  # entropy -2 or 3, target 0.5
        log_alpha = tensor(np.array([0.4]))
        loss = losses.temperature(log_alpha, np.full(N, log_prob), 0.5)
        assert loss.item() == pytest.approx(-math.exp(0.4) * (log_prob + 0.5), rel=1e-12)
        loss.backward()
        assert np.sign(log_alpha.grad) == sign  # type: ignore[arg-type]
        assert log_alpha.grad[0] == pytest.approx(-math.exp(0.4) * (log_prob + 0.5))  # type: ignore[index]
