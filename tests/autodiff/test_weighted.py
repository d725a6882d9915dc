"""Weighted sums and means: what is refused; values and gradients are in the table of all ops."""

import numpy as np
import pytest

from dbrrl import Tensor
from dbrrl import functional as F
from dbrrl.errors import GraphError, ShapeError


def test_only_scalars_are_summed() -> None:
    with pytest.raises(ShapeError, match=r"weighted_sum: expected scalars, got shape \(3,\): reduce it first"):
        F.weighted_sum((1.0, Tensor(np.ones(3), requires_grad=True)))
    with pytest.raises(ShapeError, match="weighted_sum: expected at least one pair"):
        F.weighted_sum()


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_the_mean_is_of_a_vector(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"weighted_mean: expected one number per row, \(n,\), got"):
        F.weighted_mean(Tensor(np.ones(shape), requires_grad=True))


def test_a_weight_belongs_to_each_row() -> None:
    with pytest.raises(ShapeError, match=r"got \(3,\) and weights \(2,\)"):
        F.weighted_mean(Tensor(np.ones(3), requires_grad=True), np.ones(2))


def test_a_weight_that_requires_gradients_is_refused() -> None:
    weight = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(GraphError, match="weighted_mean: weight: expected a constant"):
        F.weighted_mean(Tensor(np.ones(3), requires_grad=True), weight)
    assert F.weighted_mean(Tensor(np.arange(3.0), requires_grad=True), weight.detach()).item() == 1.0


def test_a_result_has_the_precision_of_the_terms_and_weights_may_change_later() -> None:
    x, weight = Tensor(np.ones(4, np.float32), requires_grad=True), np.full(4, 2.0)
    y = F.weighted_mean(x, weight)
    weight[:] = 9.0
    y.backward()
    assert y.dtype == np.float32 and y.item() == 2.0
    np.testing.assert_array_equal(x.grad, np.full(4, 0.5, np.float32))
    a, b = (Tensor(np.float32(v), requires_grad=True) for v in (2.0, 3.0))
    total = F.weighted_sum((0.5, a), (2.0, b))
    assert total.dtype == np.float32 and total.item() == 7.0
