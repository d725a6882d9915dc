"""Divergences against sums over all outcomes, averages over samples, and central differences."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import Bernoulli, Categorical, MultiCategorical, Normal, SquashedNormal, kl_divergence
from dbrrl.errors import DbrrlError, ShapeError
from dbrrl.testing import check_gradients
from tests.distributions.checks import array
from tests.standin import put

INF = math.inf
RNG = np.random.default_rng(0)
P, Q = RNG.normal(size=(2, 3, 5))
MAKES: list[Any] = [
    Categorical,
    Bernoulli,
    lambda x: MultiCategorical(x, (2, 3)),
    lambda x: Normal(x[:, :2], x[:, 2:4]),
    lambda x: SquashedNormal(x[:, :2], x[:, 2:4] * 0.3),
]
makes = pytest.mark.parametrize("make", MAKES, ids=["categorical", "bernoulli", "multi", "normal", "squashed"])


def outcomes(make: Any) -> list[Any]:
    """All samples of a row."""
    if make is Categorical:
        return list(range(5))
    return list(itertools.product((0, 1), repeat=5) if make is Bernoulli else itertools.product(range(2), range(3)))


@pytest.mark.parametrize("make", MAKES[:3], ids=["categorical", "bernoulli", "multi"])
def test_discrete_divergences_are_sums_over_all_outcomes(make: Any, device: str) -> None:
    p, q = make(put(P, device)), make(put(Q, device))
    expected = np.zeros(3)
    for outcome in outcomes(make):
        x = put(np.array([outcome] * 3), device)
        expected += array(np.exp(p.log_prob(x)) * (p.log_prob(x) - q.log_prob(x)))
    np.testing.assert_allclose(array(kl_divergence(p, q)), expected, rtol=1e-10)


@makes
def test_divergences_are_averages_over_samples(make: Any) -> None:
    n = 100_000
    p, q = make(np.repeat(P[:1], n, 0)), make(np.repeat(Q[:1], n, 0))
    x = p.sample(np.random.default_rng(1))
    ratios = array(p.log_prob(x)) - array(q.log_prob(x))
    assert kl_divergence(p, q)[0] == pytest.approx(ratios.mean(), abs=5 * ratios.std() / math.sqrt(n))


def test_divergences_of_normals_are_integrals() -> None:
    """Of each coordinate, by the trapezoidal rule, with the densities written out again."""
    x = np.linspace(-40, 40, 100_001)[:, None, None]
    (p_mean, p_log_std), (q_mean, q_log_std) = ((v[:, :2], v[:, 2:4]) for v in (P, Q))

    def log_density(mean: Any, log_std: Any) -> Any:
        return -(((x - mean) / np.exp(log_std)) ** 2) / 2 - log_std - math.log(2 * math.pi) / 2

    log_p, log_q = log_density(p_mean, p_log_std), log_density(q_mean, q_log_std)
    expected = np.trapezoid(np.exp(log_p) * (log_p - log_q), x, axis=0).sum(-1)
    found = kl_divergence(Normal(p_mean, p_log_std), Normal(q_mean, q_log_std))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@makes
def test_a_detached_distribution_is_a_constant_copy(make: Any, device: str) -> None:
    parameters = put(P.copy(), device)
    live = make(Tensor(parameters, requires_grad=True))
    kept = live.detached()
    x = make(put(P, device)).mode()
    before = array(kept.log_prob(x)).copy()
    np.testing.assert_array_equal(before, array(live.log_prob(x)))
    assert not getattr(kept.log_prob(x), "requires_grad", False)
    parameters += 1
    np.testing.assert_array_equal(array(kept.log_prob(x)), before)
    assert type(kept) is type(live)


def test_the_curvature_of_a_divergence_from_a_detached_distribution_is_fishers_information() -> None:
    """Of a normal: 1 / σ² by the mean, 2 by log σ; from one that shares its log σ the second would be 0."""
    mean, log_std = Tensor(np.array([[0.5]]), requires_grad=True), Tensor(np.array([0.7]), requires_grad=True)
    policy = Normal(mean, log_std)
    divergence = kl_divergence(policy.detached(), policy).sum()
    slopes = grad(divergence, [mean, log_std], create_graph=True)
    curvature = [grad(slope.sum(), at, retain_graph=True) for slope, at in zip(slopes, (mean, log_std), strict=True)]
    np.testing.assert_allclose([float(c.array.sum()) for c in curvature], [math.exp(-1.4), 2.0])


@makes
def test_to_itself_it_is_zero_and_else_positive(make: Any, device: str) -> None:
    p, q = put((P, Q), device)
    np.testing.assert_allclose(array(kl_divergence(make(p), make(p))), 0, atol=1e-12)
    assert np.all(kl_divergence(make(p), make(q)) > 0)


@makes
def test_gradients(make: Any, device: str) -> None:
    check_gradients(lambda a, b: kl_divergence(make(a), make(b)), *put((P, Q), device), order=2)


@makes
def test_float32_stays_float32(make: Any) -> None:
    narrow = make(Tensor(P.astype(np.float32), requires_grad=True))
    for other in (make(Q.astype(np.float32)), make(Tensor(Q.astype(np.float32)))):
        assert kl_divergence(narrow, other).dtype == np.float32
        assert kl_divergence(other, narrow).dtype == np.float32
    assert kl_divergence(make(P.astype(np.float32)), make(Q.astype(np.float32))).dtype == np.float32


def test_excluded_choices() -> None:
    masked, other = np.array([[0.0, 1.0, -INF]]), np.array([[2.0, 1.0, -INF]])
    expected = kl_divergence(Categorical(masked[:, :2]), Categorical(other[:, :2]))
    x = Tensor(masked, requires_grad=True)
    divergence = kl_divergence(Categorical(x), Categorical(other))
    np.testing.assert_allclose(divergence.array, expected)
    divergence.sum().backward()
    assert np.isfinite(x.grad).all() and x.grad[0, 2] == 0
    assert np.isfinite(kl_divergence(Categorical(masked), Categorical(np.ones((1, 3))))).all()
    assert kl_divergence(Categorical(np.ones((1, 3))), Categorical(masked)) == INF
    sure = np.array([[-INF, INF]])
    np.testing.assert_allclose(kl_divergence(Bernoulli(sure), Bernoulli(sure)), 0)
    np.testing.assert_allclose(kl_divergence(Bernoulli(sure), Bernoulli(np.zeros((1, 2)))), 2 * math.log(2))


def test_errors() -> None:
    with pytest.raises(DbrrlError, match=r"expected two of one kind among Categorical.*got Categorical and Bernoulli"):
        kl_divergence(Categorical(P), Bernoulli(P))
    with pytest.raises(NotImplementedError):
        kl_divergence(Normal(P, P), SquashedNormal(P, P))
    with pytest.raises(ShapeError, match=r"equal sizes, got \(2, 3\) and \(3, 2\)"):
        kl_divergence(MultiCategorical(P, (2, 3)), MultiCategorical(P, (3, 2)))
    with pytest.raises(ShapeError, match="equal choices"):
        kl_divergence(Categorical(P), Categorical(P[:, :1]))
    with pytest.raises(ShapeError, match="equal sizes"):
        kl_divergence(Normal(P, P), Normal(P[:, :2], P[:, :2]))
    with pytest.raises(ShapeError, match="equal sizes"):
        kl_divergence(Bernoulli(P), Bernoulli(P[:, :2]))
