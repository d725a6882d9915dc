"""The quantile Huber loss from sorted targets: the same numbers as from all pairs."""

from typing import Any

import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl.autodiff import quantile
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.quantile import QuantileHuber, SortedQuantileHuber, below
from dbrrl.autodiff.tensor import Tensor, wrap
from dbrrl.testing import check_gradients
from tests import standin
from tests.autodiff.reference import quantile_huber

RNG = np.random.default_rng(0)
N, M = 20, 11
SHARED, OWN = RNG.uniform(0, 1, N).astype(np.float32), RNG.uniform(0, 1, (4, N)).astype(np.float32)


def by_pairs(a: Any, b: Any, tau: Any) -> tuple[Any, Any]:
    """Loss and gradient of each row, pair by pair in float64."""
    d = b[:, None, :].astype(np.float64) - a[:, :, None].astype(np.float64)
    weight = np.abs(np.broadcast_to(tau, a.shape)[..., None] - (d < 0)) / b.shape[1]
    return quantile_huber(a.astype(np.float64), b.astype(np.float64), tau), -(weight * np.clip(d, -1, 1)).sum(axis=2)


def found(kind: Any, a: Any, b: Any, tau: Any, g: Any = None) -> tuple[Any, Any]:
    prediction = Tensor(a, requires_grad=True)
    y = kind(tau)(prediction, b)
    (y * (1 if g is None else g)).sum().backward()
    return y.numpy(), prediction.grad


def draws(scale: float = 2.0, at: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    a, b = RNG.normal(at, scale, (4, N)), RNG.normal(at, scale, (4, M))
    return a.astype(np.float32), b.astype(np.float32)


CASES = {
    "alike": draws(),
    "far apart": draws(200.0),
    "close": draws(1e-3),
    "far from 0": draws(3.0, at=1e6),
    "ties": tuple(np.rint(x) for x in draws(1.5)),
    "one target many times": (draws()[0], np.full((4, M), 0.25, np.float32)),
    "all targets above": (draws()[0] - 50, draws()[1]),
    "all targets below": (draws()[0] + 50, draws()[1]),
    "equal": (np.full((4, N), 3.0, np.float32), np.full((4, M), 3.0, np.float32)),
}


@pytest.mark.parametrize("tau", [SHARED, OWN], ids=["shared", "own"])
@pytest.mark.parametrize("name", CASES)
def test_sorted_targets_give_the_numbers_of_all_pairs(name: str, tau: Any) -> None:
    a, b = CASES[name]
    g = RNG.normal(size=4).astype(np.float32)
    loss, gradient = by_pairs(a, b, tau)
    y, ga = found(SortedQuantileHuber, a, b, tau, g)
    assert y.dtype == ga.dtype == np.float32
    np.testing.assert_allclose(y, loss, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(ga, g[:, None] * gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at", [0, 1e6])
def test_they_are_no_less_exact_than_all_pairs(at: float) -> None:
    a, b = RNG.normal(at, 3, (64, 125)).astype(np.float32), RNG.normal(at, 3, (64, 115)).astype(np.float32)
    tau = ((np.arange(125) + 0.5) / 125).astype(np.float32)
    loss, gradient = by_pairs(a[:2], b[:2], tau)
    for one, other in zip(found(SortedQuantileHuber, a, b, tau), found(QuantileHuber, a, b, tau), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    y, ga = found(SortedQuantileHuber, a[:2], b[:2], tau)
    np.testing.assert_allclose(y, loss, rtol=2e-7)
    np.testing.assert_allclose(ga, gradient, atol=2e-7)


def test_many_pairs_of_float32_are_sorted_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantile, "MANY", N * M - 1)
    (a, b), used = CASES["alike"], []
    for kind in (QuantileHuber, SortedQuantileHuber):
        monkeypatch.setattr(quantile, kind.__name__, lambda tau, kind=kind: (used.append(kind), kind(tau))[1])
    F.quantile_huber_loss(a, b, SHARED)
    F.quantile_huber_loss(a, b[:, 1:], SHARED)
    F.quantile_huber_loss(a.astype(np.float64), b, SHARED)  # whose digits the sums would not keep
    assert used == [SortedQuantileHuber, QuantileHuber, QuantileHuber]


def test_a_gradient_of_the_targets_and_one_of_the_gradient_are_those_of_all_pairs() -> None:
    a, b = (x.astype(np.float64) for x in draws())
    check_gradients(lambda x, y: SortedQuantileHuber(OWN.astype(np.float64))(x, y).sum(), a, b)
    for order in (0, 1):
        ends = []
        for kind in (QuantileHuber, SortedQuantileHuber):
            x = [Tensor(part, requires_grad=True) for part in (a, b)]
            (first,) = grad((kind(OWN)(*x) ** 2).sum(), [x[order]], create_graph=True)
            ends.append(grad((first * first).sum(), x))
        for one, other in zip(*ends, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_not_lost(wrong: float) -> None:
    for at in (0, 1):
        pair = [x.copy() for x in CASES["alike"]]
        pair[at][2, 3] = wrong
        y, _ = found(SortedQuantileHuber, *pair, SHARED)
        assert not np.isfinite(y[2]) and np.isfinite(y[[0, 1, 3]]).all()


def test_below_counts_in_each_row() -> None:
    b = np.array([[1, 2, 5], [-3, 0, 0.5]], np.float32)
    limits = np.array([[6, 0, 3, 1.5], [-4, 0.25, 0.75, -1]], np.float32)
    np.testing.assert_array_equal(below(b, limits), [[3, 0, 2, 1], [0, 2, 3, 1]])
    assert below(b[:0], limits[:0]).shape == (0, 4)


def test_a_gpu_takes_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    a, b = CASES["alike"]
    here = found(SortedQuantileHuber, a, b, SHARED)
    far = standin.put((a, b, SHARED), "cuda")
    with standin.copies() as count:
        prediction = wrap(far[0]).requires_grad_()
        y = SortedQuantileHuber(far[2])(prediction, far[1])
        y.sum().backward()
    there = y.array, prediction.grad
    assert count.to_host == count.waits == 0
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(standin.host(other), one, rtol=1e-5, atol=1e-6)
