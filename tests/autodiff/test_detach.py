"""Where a graph ends: states cut off from what made them."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import GraphError


class Pair(NamedTuple):
    h: Any
    c: Any


def test_a_whole_state_is_detached_in_its_form() -> None:
    x = Tensor(np.ones(2), requires_grad=True) * 2
    state = {"lstm": Pair(x, (x, None)), "steps": [x, 3, np.ones(1)]}
    cut = F.detach(state)
    assert type(cut["lstm"]) is Pair and cut["lstm"].c[1] is None and cut["steps"][1] == 3
    for before, after in ((x, cut["lstm"].h), (x, cut["lstm"].c[0]), (x, cut["steps"][0])):
        assert after.op is None and not after.requires_grad and after.array is before.array
    assert x.op is not None


@pytest.mark.parametrize("cut", [F.detach, lambda state: tuple(part.unchain() for part in state)])
def test_backpropagation_through_the_last_steps_alone(cut: Any) -> None:
    cell = nn.LSTMCell(3, 4, rng=0)
    x = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)

    def run(state: Any, steps: Any) -> Any:
        for row in steps:
            state = cell(row, state)
        return state

    middle = run(None, x[:3])
    run(tuple(Tensor(part.array) for part in middle), x[3:])[0].sum().backward()
    expected = [p.grad.copy() for p in cell.parameters()]
    cell.zero_grad()
    run(cut(run(None, x[:3])), x[3:])[0].sum().backward()
    for p, g in zip(cell.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad, g)


def test_unchain_stops_what_was_computed_before_and_keeps_its_values_fixed() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    h = x * 3
    y = (h * h).sum() + x.sum()
    assert h.unchain() is h and h.is_leaf and not h.requires_grad
    y.backward()
    np.testing.assert_array_equal(x.grad, [1, 1])
    with pytest.raises(GraphError, match="in-place"):
        h[0] = 1.0
    with pytest.raises(GraphError, match="expected a computed tensor"):
        x.unchain()


def test_a_list_of_tensors_is_reduced_as_what_stack_gives() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 3))
    for function in (F.mean, F.sum, F.max, F.min, F.var, F.std, F.prod, F.logsumexp):
        a, b = (Tensor(row, requires_grad=True) for row in rows)
        y = function([a, b])
        np.testing.assert_allclose(y.array, function(rows))
        y.backward()
        joined = Tensor(rows, requires_grad=True)
        function(joined).backward()
        np.testing.assert_allclose([a.grad, b.grad], joined.grad)
        np.testing.assert_allclose(function((a, rows[1]), axis=0).array, function(rows, axis=0))
    for function in (F.softmax, F.log_softmax):
        np.testing.assert_allclose(function([a, b]).array, function(rows))
    assert F.mean([[a.mean(), b.mean()], [1.0, 2.0]]).shape == () and F.mean([1.0, 3.0]) == 2


def test_other_functions_of_a_list_say_how_to_join_it() -> None:
    a = Tensor([1.0, 2.0], requires_grad=True)
    for call in (lambda: F.exp([a, a]), lambda: np.mean([a, a]), lambda: F.add(a, [a[0], a[1]])):
        with pytest.raises(TypeError, match=r"expected .*F\.stack"):
            call()
