"""Conjugate gradients against numpy.linalg.solve, and what they do with equations that they cannot solve."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dbrrl.optim.conjugate_gradient import conjugate_gradient
from tests.standin import host, put

RNG = np.random.default_rng(0)
B = RNG.normal(size=12)


def symmetric(eigenvalues: Any) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(len(eigenvalues),) * 2))
    return (rotation * np.asarray(eigenvalues, float)) @ rotation.T


class Counted:
    """Products with a matrix, and how many there were."""

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.count = matrix, 0

    def __call__(self, v: Any) -> Any:
        self.count += 1
        return self.matrix @ v


def test_twelve_iterations_solve_twelve_equations(device: str) -> None:
    a = symmetric(np.linspace(1, 3, 12))
    x = conjugate_gradient(Counted(put(a, device)), put(B, device), iterations=12, tolerance=0)
    np.testing.assert_allclose(host(x, device), np.linalg.solve(a, B), rtol=1e-8)


def test_there_are_as_many_iterations_as_different_eigenvalues() -> None:
    a = symmetric([1.0] * 5 + [4.0] * 4 + [9.0] * 3)
    product = Counted(a)
    x = conjugate_gradient(product, B, iterations=12, tolerance=1e-8)
    assert product.count == 3
    np.testing.assert_allclose(x, np.linalg.solve(a, B), rtol=1e-8)


def test_the_error_falls_with_every_iteration() -> None:
    a = symmetric(np.geomspace(0.01, 10, 12))
    right, errors = np.linalg.solve(a, B), []
    for n in range(8):
        product = Counted(a)
        error = conjugate_gradient(product, B, iterations=n, tolerance=0) - right
        errors.append(error @ a @ error)
        assert product.count == n
    assert all(later < before for before, later in pairwise(errors))


def test_it_ends_where_the_residual_is_short_enough() -> None:
    a = symmetric(np.geomspace(0.1, 10, 12))
    product = Counted(a)
    x = conjugate_gradient(product, B, iterations=100, tolerance=0.1)
    assert np.linalg.norm(B - a @ x) <= 0.1 * np.linalg.norm(B)
    before = conjugate_gradient(Counted(a), B, iterations=product.count - 1, tolerance=0)
    assert np.linalg.norm(B - a @ before) > 0.1 * np.linalg.norm(B)


def test_of_nothing_nothing_comes() -> None:
    product = Counted(np.eye(12))
    np.testing.assert_array_equal(conjugate_gradient(product, 0 * B), 0 * B)
    assert product.count == 0


@pytest.mark.parametrize("eigenvalue", [0.0, -1.0, np.nan])
def test_a_matrix_that_is_not_positive_definite_ends_it(eigenvalue: float) -> None:
    product = Counted(eigenvalue * np.eye(12))
    np.testing.assert_array_equal(conjugate_gradient(product, B), 0 * B)
    assert product.count == 1


def test_numbers_keep_their_type_and_the_right_hand_side_its_values() -> None:
    b = B.astype(np.float32)
    given = b.copy()
    assert conjugate_gradient(lambda v: 2 * v, b).dtype == np.float32
    np.testing.assert_array_equal(b, given)
