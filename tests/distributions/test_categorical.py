"""Discrete distributions against sums over all outcomes, frequencies of samples, and central differences."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import Bernoulli, Categorical, MultiCategorical
from dbrrl.errors import AnomalyError, ShapeError
from dbrrl.testing import check_gradients
from tests.distributions.checks import array, assert_frequencies
from tests.standin import put

INF = math.inf
LOGITS = np.array([[0.5, -1.0, 2.0, 0.0], [3.0, 3.0, -2.0, 1.0]])
MASKED = np.array([[0.5, -INF, 2.0, 0.0], [-INF, -INF, -2.0, -INF]])
EXTREME = np.array([[1000.0, 0.0, -1000.0, 999.0], [-1e30, 1e30, 0.0, 3.0]])
SIZES = (2, 3)
given = pytest.mark.parametrize("logits", [LOGITS, MASKED, EXTREME], ids=["plain", "masked", "extreme"])
forms = pytest.mark.parametrize("form", [np.float32, np.float64, "tensor32", "tensor64"])


def formed(logits: Any, form: Any, device: str = "cpu") -> Any:
    """Logits as a plain array, or as a tensor that wants gradients."""
    if isinstance(form, str):
        return Tensor(put(logits.astype(form.replace("tensor", "float")), device), requires_grad=True)
    return put(logits.astype(form), device)


def softmax(logits: Any) -> Any:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p: Any) -> Any:
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), -1)


def sizes(form: Any) -> str:
    return str(form).replace("tensor", "float") if isinstance(form, str) else str(np.dtype(form))


@given
@forms
def test_categorical(logits: Any, form: Any, device: str) -> None:
    p = Categorical(formed(logits, form, device))
    expected = softmax(logits)
    np.testing.assert_allclose(array(p.probs), expected, rtol=1e-5)
    np.testing.assert_array_equal(array(p.mode()), expected.argmax(-1))
    np.testing.assert_allclose(array(p.entropy()), entropy(expected), rtol=1e-4, atol=1e-6)
    for a in range(4):
        got = array(p.log_prob(put(np.full(2, a), device)))
        with np.errstate(divide="ignore"):
            known = logits[:, a] - logits.max(-1) - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))
        np.testing.assert_allclose(got, known, rtol=1e-5, atol=1e-6)
    for y in (p.log_prob(p.mode()), p.entropy(), p.probs, p.log_probs):
        assert str(y.dtype) == sizes(form)
    assert p.sample(np.random.default_rng(0)).dtype == np.int64


@given
@forms
def test_categorical_samples_have_their_frequencies(logits: Any, form: Any, device: str) -> None:
    n, rng = 20_000, np.random.default_rng(1)
    p = Categorical(formed(np.repeat(logits, n, axis=0), form, device))
    samples = array(p.sample(rng)).reshape(2, n)
    for row, probabilities in zip(samples, softmax(logits), strict=True):
        assert_frequencies(np.bincount(row, minlength=4), probabilities)


class Noise:
    """A generator whose exponential numbers are the same for each row."""

    def __init__(self, *row: float) -> None:
        self.row = row

    def standard_exponential(self, shape: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.array(self.row, dtype), shape).copy()


LARGEST = 24.4  # exponential number in float32: 7.7 - log(2^-24)


@pytest.mark.parametrize("form", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("logits", [[0.0, -40.0], [0.0, -20.0], [60.0, 20.0], [-500.0, -INF], [0.0, -1000.0]])
def test_a_choice_of_negligible_probability_is_never_drawn(logits: list[float], form: Any, device: str) -> None:
    p = Categorical(put(np.array([logits], form), device))
    assert array(p.sample(Noise(LARGEST, 0.0))).tolist() == [0]  # type: ignore[arg-type]
    assert array(Categorical(put(np.array([logits[::-1]], form), device)).sample(Noise(0.0, LARGEST))).tolist() == [1]  # type: ignore[arg-type]


def test_a_choice_as_probable_as_the_smallest_noise_is_drawn() -> None:
    p = Categorical(np.array([[0.0, -16.0]], np.float32))  # of probability 1.1e-7, as a draw of 0
    assert p.sample(Noise(1.0, 0.0)).tolist() == [1]  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("act", [lambda p: p.sample(np.random.default_rng(0)), Categorical.mode])
def test_a_row_without_a_choice_is_named(act: Any, form: Any) -> None:
    logits = np.zeros((3, 2), form)
    logits[1], logits[2, 0] = -INF, -INF
    with pytest.raises(AnomalyError, match=r"above -inf in every row of logits \(3, 2\), got none in row 1: leave"):
        act(Categorical(Tensor(logits)))
    with pytest.raises(AnomalyError, match="got none in row 0, 1:"):
        act(Categorical(logits[None]))
    assert act(Categorical(np.array([[-INF, 3e38], [1e30, -INF]], np.float32))).tolist() == [1, 0]


def test_ordinary_logits_give_the_draws_of_the_formula() -> None:
    logits = np.random.default_rng(3).normal(0, 3, size=(5_000, 6)).astype(np.float32)
    noise = np.random.default_rng(4).standard_exponential(logits.shape, np.float32)
    expected = (logits - np.log(noise)).argmax(-1)
    np.testing.assert_array_equal(Categorical(logits).sample(np.random.default_rng(4)), expected)


@given
def test_categorical_gradients_are_finite_and_known(logits: Any, device: str) -> None:
    x = Tensor(put(logits, device), requires_grad=True)
    p = Categorical(x)
    action = p.mode()
    (p.log_prob(action).sum() + p.entropy().sum()).backward()
    q = softmax(logits)
    log_q = np.log(np.where(q > 0, q, 1))
    expected = np.eye(4)[array(action)] - q - q * (log_q + entropy(q)[:, None])
    np.testing.assert_allclose(array(x.grad), expected, atol=1e-9)


def test_gradients_against_differences(device: str) -> None:
    a, logits = put(np.array([2, 0]), device), put(LOGITS, device)
    check_gradients(lambda x: Categorical(x).log_prob(a), logits, order=2)
    check_gradients(lambda x: Categorical(x).entropy(), logits, order=2)
    check_gradients(lambda x: Categorical(x[None]).log_prob(a[None]), logits, order=2)
    check_gradients(lambda x: Bernoulli(x).log_prob(logits > 0), logits, order=2)
    check_gradients(lambda x: Bernoulli(x).entropy(), logits, order=2)
    b = put(np.array([[1, 2], [0, 1]]), device)
    check_gradients(lambda x: MultiCategorical(x, SIZES).log_prob(b), put(np.ones((2, 5)) * 0.3, device), order=2)
    logits = put(np.arange(10.0).reshape(2, 5) / 7, device)
    check_gradients(lambda x: MultiCategorical(x, SIZES).entropy(), logits, order=2)


def test_categorical_over_time_and_batch(device: str) -> None:
    logits = put(np.random.default_rng(0).normal(size=(3, 2, 4)), device)
    p = Categorical(logits)
    a = p.sample(np.random.default_rng(0))
    assert a.shape == (3, 2) and p.mode().shape == (3, 2)
    flat = Categorical(logits.reshape(6, 4))
    np.testing.assert_allclose(array(p.log_prob(a)).ravel(), array(flat.log_prob(a.ravel())), rtol=1e-12)
    np.testing.assert_allclose(array(p.entropy()).ravel(), array(flat.entropy()), rtol=1e-12)


@forms
def test_multi_categorical_is_a_product(form: Any, device: str) -> None:
    logits = np.random.default_rng(2).normal(size=(3, 5))
    p = MultiCategorical(formed(logits, form, device), SIZES)
    left, right = softmax(logits[:, :2]), softmax(logits[:, 2:])
    total = np.zeros(3)
    for i, j in itertools.product(range(2), range(3)):
        log_prob = p.log_prob(put(np.tile([i, j], (3, 1)), device))
        np.testing.assert_allclose(array(log_prob), np.log(left[:, i] * right[:, j]), rtol=1e-4)
        assert str(log_prob.dtype) == sizes(form)
        total += np.exp(array(log_prob))
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    np.testing.assert_allclose(array(p.entropy()), entropy(left) + entropy(right), rtol=1e-5)
    np.testing.assert_array_equal(array(p.mode()), np.stack([left.argmax(1), right.argmax(1)], 1))
    assert str(p.entropy().dtype) == sizes(form)
    many = MultiCategorical(formed(np.tile(logits[:1], (20_000, 1)), form, device), SIZES)
    many = array(many.sample(np.random.default_rng(3)))
    assert many.shape == (20_000, 2) and many.dtype == np.int64
    assert_frequencies(np.bincount(many[:, 0] * 3 + many[:, 1], minlength=6), np.outer(left[0], right[0]).ravel())


@forms
@pytest.mark.parametrize("logits", [LOGITS, np.array([[-INF, INF, 0.0, 2.0], [-500.0, 500.0, -90.0, -0.0]])])
def test_bernoulli(logits: Any, form: Any, device: str) -> None:
    p = Bernoulli(formed(logits, form, device))
    with np.errstate(over="ignore"):
        yes = 1 / (1 + np.exp(-logits))
        no = 1 / (1 + np.exp(logits))
    np.testing.assert_allclose(array(p.entropy()), entropy(np.stack([yes, no], -1)).sum(-1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(array(p.mode()), yes > 0.5)
    for bits in itertools.product((0, 1), repeat=4):
        x = np.tile(np.array(bits, np.int8), (2, 1))
        with np.errstate(divide="ignore"):
            known = -np.logaddexp(0, np.where(x, -logits, logits)).sum(-1)
        log_prob = p.log_prob(put(x, device))
        np.testing.assert_allclose(array(log_prob), known, rtol=1e-4, atol=1e-5)
        assert str(log_prob.dtype) == sizes(form)
    many = array(Bernoulli(formed(np.tile(logits[:1], (20_000, 1)), form, device)).sample(np.random.default_rng(5)))
    assert many.dtype == np.int8
    for column, probability in zip(many.T, yes[0], strict=True):
        assert_frequencies(np.bincount(column, minlength=2), [1 - probability, probability])


def test_bernoulli_gradients_are_finite_at_the_ends(device: str) -> None:
    x = Tensor(put(np.array([[-INF, INF, -500.0, 500.0]]), device), requires_grad=True)
    p = Bernoulli(x)
    (p.log_prob(p.mode()).sum() + p.entropy().sum()).backward()
    np.testing.assert_allclose(array(x.grad), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Categorical(np.ones(3)), r"Categorical: expected logits \(B, k\), got \(3,\)"),
        (lambda: Categorical(np.ones((3, 0))), r"got \(3, 0\)"),
        (lambda: Categorical(np.ones((3, 2))).log_prob(np.zeros((3, 1), int)), r"expected .*int64 \(3, 1\)"),
        (lambda: Categorical(np.ones((3, 2))).log_prob(np.zeros(3)), r"expected .*float64 \(3,\)"),
        (lambda: Categorical(np.ones((2, 3))).log_prob(np.array([2, -1])), r"from 0 to 2, got -1 in row 1"),
        (lambda: Categorical(np.ones((2, 3))).log_prob([3, 0]), r"expected integers from 0 to 2, got 3 in row 0"),
        (lambda: Categorical(np.ones((1, 2, 3))).log_prob(np.array([[0, -3]])), r"from 0 to 2, got -3"),
        (lambda: MultiCategorical(np.ones((3, 4)), (2, 3)), r"expected logits \(B, 5\) for sizes \(2, 3\)"),
        (lambda: MultiCategorical(np.ones(5), (2, 3)), r"got \(5,\)"),
        (lambda: MultiCategorical(np.ones((1, 5)), (2, 3)).log_prob(np.zeros(2, int)), r"expected x \(B, 2\)"),
        (lambda: Bernoulli(np.ones(3)), r"Bernoulli: expected logits \(B, n\), got \(3,\)"),
        (lambda: Bernoulli(np.ones((2, 3))).log_prob(np.zeros(3)), r"expected x \(2, 3\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_what_is_excluded_is_not_drawn_by_the_smallest_number_a_generator_gives() -> None:
    class Zero:
        def standard_exponential(self, shape: Any, dtype: Any) -> np.ndarray:
            return np.zeros(shape, dtype)

    logits = np.array([[-np.inf, 0.0, -np.inf]], np.float32)
    assert Categorical(logits).sample(Zero()).tolist() == [1]  # type: ignore[arg-type]
