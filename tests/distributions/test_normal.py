"""Normals, plain and squashed: closed forms, densities that integrate to one, moments, and central differences."""

import math
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import backend
from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import NoClosedForm, Normal, SquashedNormal
from dbrrl.errors import DbrrlError, ShapeError
from dbrrl.testing import check_gradients
from tests.distributions.checks import array, assert_frequencies
from tests.standin import put

MEAN = np.array([[0.5, -1.0], [2.0, 0.1], [0.0, 0.0]])
LOG_STD = np.array([-0.5, 0.3])
EACH = np.array([[-0.5, 0.3], [0.1, -1.0], [0.0, 0.5]])
X = np.array([[0.1, 0.2], [1.5, -0.9], [0.0, 0.3]])
KINDS = [Normal, SquashedNormal]
log_stds = pytest.mark.parametrize("log_std", [LOG_STD, EACH], ids=["shared", "each"])
types = pytest.mark.parametrize("dtype", ["float32", "float64"])
wraps = pytest.mark.parametrize(
    "wrap", [put, lambda x, device: Tensor(put(x, device), requires_grad=True)], ids=["array", "tensor"]
)


def log_density(x: Any, mean: Any, log_std: Any) -> Any:
    return np.sum(-0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi), -1)


@log_stds
@types
@wraps
def test_normal(log_std: Any, dtype: str, wrap: Any, device: str) -> None:
    p = Normal(wrap(MEAN.astype(dtype), device), wrap(log_std.astype(dtype), device))
    x = put(X.astype(dtype), device)
    np.testing.assert_allclose(array(p.log_prob(x)), log_density(X, MEAN, log_std), rtol=1e-5, atol=1e-5)
    entropy = np.broadcast_to(log_std + 0.5 * math.log(2 * math.pi * math.e), MEAN.shape).sum(-1)
    np.testing.assert_allclose(array(p.entropy()), entropy, rtol=1e-6)
    np.testing.assert_array_equal(array(p.mode()), MEAN.astype(dtype))
    rng = np.random.default_rng(0)
    for y in (p.log_prob(x), p.entropy(), p.sample(rng), p.rsample(rng), p.mode(), p.std):
        assert str(y.dtype) == dtype
    assert backend.device_name(p.sample(rng)).startswith(device) and p.entropy().shape == (3,)
    np.testing.assert_allclose(array(p.log_prob(np.stack([x, x])))[1], array(p.log_prob(x)), rtol=1e-6)


@log_stds
@types
@wraps
def test_squashed_normal(log_std: Any, dtype: str, wrap: Any, device: str) -> None:
    p = SquashedNormal(wrap(MEAN.astype(dtype), device), wrap(log_std.astype(dtype), device))
    y = np.tanh(X)
    expected = log_density(X, MEAN, log_std) - np.log(1 - y**2).sum(-1)
    y = put(y.astype(dtype), device)
    np.testing.assert_allclose(array(p.log_prob(y)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(p.mode()), np.tanh(MEAN), rtol=1e-6)
    sample, log_prob = p.rsample_and_log_prob(np.random.default_rng(0))
    again = p.log_prob(getattr(sample, "array", sample))
    np.testing.assert_allclose(array(log_prob), array(again), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(array(p.rsample(np.random.default_rng(0))), array(sample))
    np.testing.assert_array_equal(array(p.sample(np.random.default_rng(0))), array(sample))
    for out in (log_prob, sample, p.log_prob(y), p.mode(), p.sample(np.random.default_rng(0))):
        assert str(out.dtype) == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one(kind: Any) -> None:
    edges = np.linspace(-12, 12, 20_001) if kind is Normal else np.linspace(-1, 1, 200_001)
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    p = kind(np.full_like(middle, 0.3), np.array([-0.4]))
    assert np.exp(p.log_prob(middle)).sum() * (edges[1] - edges[0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@types
def test_samples_have_their_frequencies(kind: Any, dtype: str) -> None:
    n, mean, std = 40_000, 0.3, 0.6
    p = kind(np.full((n, 1), mean, dtype), np.full(1, math.log(std), dtype))
    erf = np.vectorize(math.erf)
    edges = mean + std * np.linspace(-2, 2, 9)
    probabilities = np.diff([0, *(0.5 * (1 + erf((edges - mean) / std / math.sqrt(2)))), 1])
    inner = np.tanh(edges) if kind is SquashedNormal else edges
    for samples in (p.sample(np.random.default_rng(2)), p.rsample(np.random.default_rng(3))):
        counts, _ = np.histogram(array(samples), [-np.inf, *inner, np.inf])
        assert_frequencies(counts, probabilities)


@log_stds
def test_gradients(log_std: Any, device: str) -> None:
    point, x = put((MEAN, log_std), device), put(X, device)
    check_gradients(lambda m, s, x: Normal(m, s).log_prob(x), *point, x, order=2)
    check_gradients(lambda m, s: Normal(m, s).entropy() + 0 * m.sum(-1), *point, order=2)
    check_gradients(lambda m, s: Normal(m, s).rsample(np.random.default_rng(0)), *point, order=2)
    check_gradients(lambda m, s: SquashedNormal(m, s).log_prob(np.tanh(x)), *point, order=2)

    def both(m: Any, s: Any) -> Any:
        sample, log_prob = SquashedNormal(m, s).rsample_and_log_prob(np.random.default_rng(0))
        return F.concatenate([sample.reshape(-1), log_prob])

    check_gradients(both, *point, order=2)


@types
def test_log_probabilities_stay_finite_where_tanh_is_one(dtype: str, device: str) -> None:
    mean = Tensor(put(np.array([[30.0], [-30.0]], dtype), device), requires_grad=True)
    p = SquashedNormal(mean, put(np.zeros(1, dtype), device))
    sample, log_prob = p.rsample_and_log_prob(np.random.default_rng(0))
    np.testing.assert_array_equal(np.abs(array(sample)), 1)
    u = array(p.base.rsample(np.random.default_rng(0))).astype(float)
    slope = 2 * (math.log(2) - np.abs(u)) - 2 * np.log1p(np.exp(-2 * np.abs(u)))  # log(1 - tanh²)
    known = log_density(u, array(mean), np.zeros(1)) - slope.sum(-1)
    np.testing.assert_allclose(array(log_prob), known, rtol=1e-5)
    (log_prob.sum() + p.log_prob(sample.array).sum()).backward()
    assert np.isfinite(array(log_prob)).all() and np.isfinite(array(mean.grad)).all()
    assert np.isfinite(array(p.log_prob(put(np.array([[1.0], [-1.0]], dtype), device)))).all()


def test_a_plain_log_std_does_not_widen_the_policy() -> None:
    p = Normal(Tensor(MEAN.astype(np.float32)), LOG_STD)
    assert p.sample(np.random.default_rng(0)).dtype == np.float32
    assert p.log_prob(X).dtype == np.float32


def test_errors() -> None:
    for mean, log_std in ((MEAN[0], LOG_STD), (MEAN, LOG_STD[:1]), (MEAN, np.zeros(()))):
        with pytest.raises(ShapeError, match=r"Normal: expected mean \(B, n\) and log_std"):
            Normal(mean, log_std)
    for x in (X[0], X[:1], X[:, :1]):
        with pytest.raises(ShapeError, match=r"Normal.log_prob: expected x \(3, 2\)"):
            Normal(MEAN, LOG_STD).log_prob(x)
    with pytest.raises(NoClosedForm, match="use the mean of"):
        SquashedNormal(MEAN, LOG_STD).entropy()
    assert issubclass(NoClosedForm, DbrrlError)


@log_stds
def test_a_sample_of_given_noise_has_its_density(log_std: Any, device: str) -> None:
    p = SquashedNormal(put(MEAN, device), put(log_std, device))
    sample, log_prob = p.of_noise(put(X, device))
    u = MEAN + np.exp(log_std) * X
    np.testing.assert_allclose(array(sample), np.tanh(u), rtol=1e-12)
    known = log_density(u, MEAN, log_std) - np.log(1 - np.tanh(u) ** 2).sum(-1)
    np.testing.assert_allclose(array(log_prob), known, rtol=1e-9)


def test_the_density_of_samples_integrates_to_one_over_noise() -> None:
    """∫ e^(log π(a(ε))) |da/dε| dε = 1, where a(ε) = tanh(mean + std ε): also of a density that piles up at ±1."""
    edges = np.linspace(-9, 9, 60_001)
    noise = (edges[1:] + edges[:-1])[:, None] / 2
    for mean, log_std in ((0.3, -0.4), (-2.0, 1.0), (5.0, 0.5)):
        p = SquashedNormal(np.full_like(noise, mean), np.array([log_std]))
        _, log_prob = p.of_noise(noise)
        slope = math.exp(log_std) / np.cosh(mean + math.exp(log_std) * noise[:, 0]) ** 2
        assert (np.exp(log_prob) * slope).sum() * (edges[1] - edges[0]) == pytest.approx(1, abs=1e-6)
