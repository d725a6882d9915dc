"""The method of conjugate gradients: linear equations whose matrix is known by its products alone."""

from collections.abc import Callable

import numpy as np

from dbrrl.types import Array


def conjugate_gradient(
    product: Callable[[Array], Array], b: Array, iterations: int = 10, tolerance: float = 1e-5
) -> Array:
    """Return an approximate solution x of A x = b (Hestenes & Stiefel 1952; Nocedal & Wright 2006, algorithm 5.2).

    A is symmetric and positive definite, and never formed. In exact arithmetic n iterations solve n equations; far
    fewer come close where the eigenvalues of A are few or close together.

    Args:
        product: returns A v for a vector v (n,).
        b: the right-hand side (n,).
        iterations: the most products that are asked for.
        tolerance: it ends where the residual b - A x is shorter than this share of b.

    Returns:
        x (n,), of the type of b. If b is 0 it is 0. If a product shows that A is not positive definite, it is what was
        found before.
    """
    x = np.zeros_like(b)
    residual, direction = b.copy(), b
    squared = start = float(np.dot(b, b))
    for _ in range(iterations):
        if squared <= tolerance**2 * start:
            break
        image = product(direction)
        curvature = float(np.dot(direction, image))
        if not curvature > 0:
            break
        length = squared / curvature
        x += length * direction
        residual -= length * image
        before, squared = squared, float(np.dot(residual, residual))
        direction = residual + squared / before * direction
    return x
