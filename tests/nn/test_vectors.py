"""Parameters and gradients as one vector, and what is built on them: products with the Hessian."""

from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn, optim
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import GraphError, ShapeError


class Quadratic(nn.Module):
    """½ xᵀ A x over two parameters, a matrix and a vector."""

    def __init__(self) -> None:
        self.a = nn.Parameter(np.arange(4.0).reshape(2, 2))
        self.b = nn.Parameter(np.array([-1.0, 2.0]))
        self.hessian = np.random.default_rng(0).normal(size=(6, 6))
        self.hessian += self.hessian.T

    def forward(self) -> Tensor:
        x = F.concatenate([self.a.reshape(4), self.b])
        return 0.5 * (x * (self.hessian @ x)).sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize("optimized", [False, True])
def test_values_go_to_a_vector_and_back(optimized: bool) -> None:
    module = Quadratic()
    optimizer = optim.SGD([module.b, module.a], 1.0) if optimized else None
    vector = nn.parameters_to_vector(module)
    np.testing.assert_array_equal(vector, [0, 1, 2, 3, -1, 2])
    loss = (module.a * module.a).sum()
    nn.vector_to_parameters(2 * vector, module)
    np.testing.assert_array_equal(module.a.array, [[0, 2], [4, 6]])
    np.testing.assert_array_equal(vector, [0, 1, 2, 3, -1, 2])  # a copy
    np.testing.assert_array_equal(nn.parameters_to_vector([module.b]), [-2, 4])
    if optimizer is not None:
        np.testing.assert_array_equal(optimizer.values, [-2, 4, 0, 2, 4, 6])
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_the_gradient_and_a_product_with_the_hessian() -> None:
    module, v = Quadratic(), np.arange(1.0, 7.0)
    x = nn.parameters_to_vector(module)
    g = nn.flat_gradient(module(), module, create_graph=True)
    np.testing.assert_allclose(g.array, module.hessian @ x)
    for scale in (1, 2):
        product = nn.flat_gradient((g * (scale * v)).sum(), module, retain_graph=True)
        np.testing.assert_allclose(product.array, scale * module.hessian @ v)
    assert module.a.grad is None and module.b.grad is None
    np.testing.assert_allclose(nn.flat_gradient(module(), [module.b]).array, (module.hessian @ x)[4:])


def test_the_gradient_of_what_is_frozen_or_unused_is_zero() -> None:
    module: Any = Quadratic()
    module.unused = nn.Parameter(np.ones(2))
    module.a.requires_grad_(False)
    g = nn.flat_gradient(module(), module).array
    assert g.shape == (8,) and not g[:4].any() and g[4:6].all() and not g[6:].any()


def test_errors() -> None:
    module = Quadratic()
    with pytest.raises(ShapeError, match=r"vector_to_parameters: expected a vector \(6,\), got \(5,\)"):
        nn.vector_to_parameters(np.ones(5), module)
    with pytest.raises(GraphError, match="expected at least one parameter, got none"):
        nn.parameters_to_vector(nn.Tanh())
