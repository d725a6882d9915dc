"""Parameters and gradients are views of one vector, however models are cut up; what is stale says so."""

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn, optim
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import DtypeError, GraphError

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        self.actor = nn.mlp((3, 4, 2), rng=0)
        self.critic = nn.mlp((3, 4, 1), rng=1)

    def loss(self) -> Tensor:
        return F.sum(self.actor(X)) + F.sum(self.critic(X) ** 2)  # type: ignore[no-any-return]


def assert_views(flat: nn.Flat) -> None:
    start = 0
    for p in flat.parameters:
        for array, vector in ((p.array, flat.values), (p.grad, flat.grads)):
            at = array.__array_interface__["data"][0] - vector.__array_interface__["data"][0]
            assert at == start * vector.itemsize and array.flags.c_contiguous
        start += p.size
    assert start == flat.values.size == flat.grads.size and flat.values.ndim == 1


def reference() -> tuple[np.ndarray, np.ndarray]:
    """Values after, and gradients of, one SGD step on a model of its own."""
    model = ActorCritic()
    gradients = grad(model.loss(), model.parameters())
    g = np.concatenate([x.array.ravel() for x in gradients])
    return np.concatenate([p.array.ravel() for p in model.parameters()]) - 0.1 * g, g


def test_values_and_gradients_are_views_of_one_vector_each() -> None:
    model = ActorCritic()
    before = np.concatenate([p.array.ravel() for p in model.parameters()])
    flat = model.flat()
    np.testing.assert_array_equal(flat.values, before)
    assert_views(flat)
    assert model.flat() is flat and optim.Adam(model).flat is flat
    model.loss().backward()
    assert_views(flat)
    np.testing.assert_allclose(flat.grads, reference()[1], rtol=1e-5)


def test_gradients_from_before_are_kept() -> None:
    model = ActorCritic()
    model.loss().backward()
    np.testing.assert_allclose(model.flat().grads, reference()[1], rtol=1e-5)


def test_gradients_set_from_outside_are_taken_in() -> None:
    model = ActorCritic()
    flat = model.flat()
    flat.grads[:] = 7
    first, second, *_ = model.parameters()
    first.grad, second.grad = None, Tensor(np.full(second.shape, 2, np.float32))
    assert flat.gather() is flat.grads
    assert np.all(flat.grads[: first.size] == 0) and np.all(flat.grads[first.size :][: second.size] == 2)
    assert np.all(flat.grads[first.size + second.size :] == 7)
    assert_views(flat)


@pytest.mark.parametrize(
    "order", ["parts", "parts then whole", "whole then parts", "layers, parts, whole", "layers, parts, whole, more"]
)
def test_optimizers_of_parts_and_the_vector_of_the_whole_work_together(order: str) -> None:
    model = ActorCritic()
    layers = [layer.flat() for layer in model.modules() if isinstance(layer, nn.Linear)] if "layers" in order else []
    if order.startswith("whole"):
        whole = model.flat()
    optimizers = [optim.SGD(part, 0.1, momentum=0.5) for part in (model.actor, model.critic)]
    if "whole" in order:
        whole = model.flat()
        assert_views(whole)
        assert all(np.shares_memory(o.flat.values, whole.values) for o in optimizers)
    if "more" in order:
        assert_views(nn.Sequential(nn.Linear(1, 1, rng=0), model, nn.Linear(1, 1, rng=0)).flat())
    for optimizer in optimizers:
        optimizer.zero_grad()
    model.loss().backward()
    for optimizer in optimizers:
        optimizer.step()
    for flat in [*layers, *(o.flat for o in optimizers)]:
        assert_views(flat)
    values, g = reference()
    np.testing.assert_allclose(np.concatenate([o.flat.values for o in optimizers]), values, rtol=1e-5, atol=1e-6)
    if "whole" in order:
        np.testing.assert_allclose(whole.values, values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(whole.grads, g, rtol=1e-5)
        assert model.flat() is whole and model.actor.flat() is optimizers[0].flat


def test_an_optimizer_whose_parameters_went_elsewhere_says_so() -> None:
    model = ActorCritic()
    first = optim.Adam(model)
    layer = model.actor[0]
    second = optim.Adam([layer.bias, model.critic[0].weight])  # type: ignore[list-item,union-attr]
    for act in (first.zero_grad, first.step, lambda: first.clip_grad_norm(1.0)):
        with pytest.raises(GraphError, match="moved to other vectors"):
            act()
    model.loss().backward()
    second.step()
    assert_views(second.flat)
    assert_views(model.flat())
    with pytest.raises(GraphError, match="make this one again"):
        second.step()
    assert_views(optim.Adam(model).flat)


def test_conversion_makes_optimizers_stale() -> None:
    model = ActorCritic()
    optimizer = optim.SGD(model.actor, 0.1)
    model.flat()
    model.astype(np.float64)
    with pytest.raises(GraphError, match="moved to other vectors"):
        optimizer.step()
    assert model.flat().values.dtype == np.float64


def test_one_parameter_given_twice_counts_once() -> None:
    model = ActorCritic()
    optimizer = optim.SGD([*model.parameters(), *model.actor.parameters()], 0.1)
    model.loss().backward()
    optimizer.step()
    assert_views(optimizer.flat)
    np.testing.assert_allclose(model.flat().values, reference()[0], rtol=1e-5, atol=1e-6)


def test_frozen_parameters_are_left_out() -> None:
    model = ActorCritic()
    for p in model.actor.parameters():
        p.requires_grad_(False)
    before = model.actor.state_dict()
    optimizer = optim.AdamW(model, 0.1, weight_decay=0.5)
    model.loss().backward()
    optimizer.step()
    assert optimizer.flat.values.size == model.critic.flat().values.size
    np.testing.assert_equal(model.actor.state_dict(), before)


def test_a_step_between_forward_and_backward_is_noticed() -> None:
    model = ActorCritic()
    optimizer = optim.SGD(model, 0.1)
    loss = model.loss()
    optimizer.step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_errors() -> None:
    with pytest.raises(GraphError, match="expected a parameter that wants gradients, got none"):
        optim.Adam(nn.Tanh())
    weight = nn.Parameter(np.ones((2, 2), np.float32))
    for wrong in ([weight, weight * 2], weight):
        with pytest.raises(GraphError, match="expected Parameters or other leaf tensors, got Tensor"):
            optim.Adam(wrong)  # type: ignore[arg-type]
    mixed = [nn.Parameter(np.ones(1, np.float32)), nn.Parameter(np.ones(1))]
    with pytest.raises(DtypeError, match=r"one dtype, got \['float32', 'float64'\]"):
        nn.flatten(mixed)
    with pytest.raises(AttributeError, match="Flat has no attribute 'value'"):
        nn.Linear(1, 1, rng=0).flat().value  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("taken", ["before", "after"])
def test_a_change_of_the_vector_that_a_graph_still_needs_is_noticed(taken: str) -> None:
    model = ActorCritic()
    flat = model.flat()
    values = flat.values if taken == "before" else None
    loss = model.loss()
    before = np.linalg.norm(flat.values)
    if values is None:
        values = flat.values
    values *= 1.5
    assert np.linalg.norm(flat.values) == pytest.approx(1.5 * before)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()
    loss = model.loss()
    float(np.linalg.norm(flat.values))  # a look at it is no change
    loss.backward()
    assert flat.grads.any()
