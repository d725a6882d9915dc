"""Parameters and gradients of an optimizer are views of one vector each, however a model is cut up."""

import copy
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn, optim
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import DeviceError, DtypeError, GraphError
from tests import standin

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
RATE = 0.1


class ActorCritic(nn.Module):
    """The parameters of the actor are apart: `log_std` comes after those of the critic."""

    def __init__(self) -> None:
        self.actor = nn.mlp((3, 4, 2), rng=0)
        self.critic = nn.mlp((3, 4, 1), rng=1)
        self.log_std = nn.Parameter(np.full(2, 0.5, np.float32))

    def loss(self) -> Tensor:
        return F.sum(self.actor(X) * self.log_std) + F.sum(self.critic(X) ** 2)  # type: ignore[no-any-return]


def assert_views(flat: nn.Flat) -> None:
    start = 0
    for p in flat.parameters:
        for array, vector in ((p.array, flat.values), (p.grad, flat.grads)):
            at = array.__array_interface__["data"][0] - vector.__array_interface__["data"][0]
            assert at == start * vector.itemsize and array.flags.c_contiguous
        start += p.size
    assert start == flat.values.size == flat.grads.size and flat.values.ndim == 1


def of(model: nn.Module) -> np.ndarray:
    return nn.parameters_to_vector(model)


def descended(model: ActorCritic, steps: int, share: dict[int, float] | None = None) -> np.ndarray:
    """Values after plain gradient descent by `steps`, computed without an optimizer; `share` of the rate by place."""
    own = copy.deepcopy(model)
    for _ in range(steps):
        for i, (p, g) in enumerate(zip(own.parameters(), grad(own.loss(), own.parameters()), strict=True)):
            p.data = p.array - np.float32(RATE) * g.array * (1 if share is None else share.get(i, 1))
    return of(own)


def test_values_and_gradients_are_views_of_one_vector_each() -> None:
    model = ActorCritic()
    before, g = of(model), nn.flat_gradient(model.loss(), model)
    optimizer = optim.SGD(model, RATE)
    np.testing.assert_array_equal(optimizer.values, before)
    assert_views(optimizer.flat)
    model.loss().backward()
    assert_views(optimizer.flat)
    np.testing.assert_allclose(optimizer.gradient, g.array, rtol=1e-5)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.values[:] = 0


def test_gradients_from_before_are_kept() -> None:
    model = ActorCritic()
    g = nn.flat_gradient(model.loss(), model)
    model.loss().backward()
    np.testing.assert_allclose(optim.Adam(model).gradient, g.array, rtol=1e-5)


def test_gradients_set_from_outside_are_taken_in() -> None:
    model = ActorCritic()
    flat = optim.Adam(model).flat
    flat.grads[:] = 7
    first, second, *_ = model.parameters()
    first.grad, second.grad = None, Tensor(np.full(second.shape, 2, np.float32))
    assert flat.gather() is flat.grads
    assert np.all(flat.grads[: first.size] == 0) and np.all(flat.grads[first.size :][: second.size] == 2)
    assert np.all(flat.grads[first.size + second.size :] == 7)
    assert_views(flat)


def groups(model: ActorCritic, kind: str) -> list[list[nn.Parameter]]:
    """The model's parameters, each in one group."""
    actor, critic = model.actor.parameters(), model.critic.parameters()
    if kind == "actor with its deviation":
        return [[*actor, model.log_std], critic]
    if kind == "critic first":
        return [critic, [model.log_std, *actor]]
    if kind == "any order":
        return [[critic[1], actor[0], model.log_std], [actor[3], critic[0], actor[1]], [*critic[2:], actor[2]]]
    return [[p] for p in model.parameters()]


@pytest.mark.parametrize("kind", ["actor with its deviation", "critic first", "any order", "each"])
@pytest.mark.parametrize("before", ["nothing", "an optimizer of all", "a target network"])
def test_optimizers_of_disjoint_parameters_work_in_any_order(kind: str, before: str) -> None:
    model = ActorCritic()
    expected = descended(model, 3)
    if before == "an optimizer of all":
        optim.Adam(model).zero_grad()
    if before == "a target network":
        nn.polyak(model, copy.deepcopy(model))
    optimizers = [optim.SGD(group, RATE) for group in groups(model, kind)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        model.loss().backward()
        for optimizer in optimizers:
            optimizer.step()
            assert_views(optimizer.flat)
    np.testing.assert_allclose(of(model), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["all, then a part", "a part, then all"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_parameter_in_two_optimizers_is_changed_by_both(order: str, device: str) -> None:
    model = ActorCritic()
    expected = descended(model, 3, dict.fromkeys((0, 1, 2, 3, 8), 2.0))  # the rate of the actor's parameters is double
    with standin.installed():
        model.to(device)
        made = {}
        for name in order.split(", then "):
            part = model if name == "all" else [model.log_std, *model.actor.parameters()]
            made[name] = optim.SGD(part, RATE, momentum=0.0)
        for step in range(3):
            for name in order.split(", then ") if step else reversed(order.split(", then ")):
                made[name].zero_grad()
            model.loss().backward()
            for optimizer in made.values():
                optimizer.clip_grad_norm(1e9)
                optimizer.step()
        values = model.to("cpu")
    np.testing.assert_allclose(of(values), expected, rtol=1e-5, atol=1e-6)


def test_a_new_optimizer_of_a_network_leaves_its_parameters_where_they_are() -> None:
    model = ActorCritic()
    first = optim.Adam(model)
    arrays = [p.array for p in model.parameters()]
    second, part = optim.Adam(model), optim.Adam(model.critic)
    assert all(p.array is array for p, array in zip(model.parameters(), arrays, strict=True))
    assert second.flat.values.base is first.flat.values and np.shares_memory(part.values, first.values)
    for optimizer in (part, first, second):
        before = of(model)
        optimizer.zero_grad()
        model.loss().backward()
        optimizer.step()
        assert_views(optimizer.flat)
        assert np.any(of(model) != before)


def test_values_are_copied_in_and_read_whichever_optimizer_holds_them() -> None:
    model = ActorCritic()
    older = optim.Adam(model)
    newer = optim.Adam([model.log_std, model.actor[0].weight])  # type: ignore[list-item]
    values = np.arange(older.values.size, dtype=np.float32)
    older.set_values(values)
    np.testing.assert_array_equal(of(model), values)
    np.testing.assert_array_equal(older.values, values)
    newer.set_values(-newer.values)
    assert older.values[0] == 0 and older.values[1] == -1 and older.values[-1] == -values[-1]


def test_conversion_makes_an_optimizer_stale() -> None:
    model = ActorCritic()
    optimizer = optim.SGD(model.actor, RATE)
    model.astype(np.float64)
    for act in (optimizer.zero_grad, optimizer.step, lambda: optimizer.clip_grad_norm(1.0), lambda: optimizer.values):
        with pytest.raises(GraphError, match=r"got float64 on 'cpu'.*make the optimizer again"):
            act()
    assert optim.SGD(model.actor, RATE).values.dtype == np.float64


def test_one_parameter_given_twice_counts_once() -> None:
    model = ActorCritic()
    expected = descended(model, 1)
    optimizer = optim.SGD([*model.parameters(), *model.actor.parameters()], RATE)
    model.loss().backward()
    optimizer.step()
    assert_views(optimizer.flat)
    np.testing.assert_allclose(of(model), expected, rtol=1e-5, atol=1e-6)


def test_frozen_parameters_are_left_out() -> None:
    model = ActorCritic()
    for p in model.actor.parameters()[1:3]:
        p.requires_grad_(False)
    before = model.actor.state_dict()
    optimizer = optim.AdamW(model, RATE, weight_decay=0.5)
    model.loss().backward()
    optimizer.step()
    after = model.actor.state_dict()
    assert optimizer.values.size == of(model).size - sum(p.size for p in model.actor.parameters()[1:3])
    assert [np.array_equal(after[name], before[name]) for name in before] == [False, True, True, False]


def test_parameters_that_are_frozen_later_keep_their_values_and_go_on_when_they_are_free_again() -> None:
    model = ActorCritic()
    optimizer = optim.AdamW(model, RATE, weight_decay=0.5)
    newer = optim.Adam([model.actor[2].weight, model.log_std])  # type: ignore[list-item]
    for frozen in ([], [model.actor[0].weight, model.actor[2].weight], []):  # type: ignore[union-attr]
        for p in model.parameters():
            p.requires_grad_(all(p is not q for q in frozen))
        before = [p.array.copy() for p in model.parameters()]
        optimizer.zero_grad()
        model.loss().backward()
        optimizer.step()
        for p, values in zip(model.parameters(), before, strict=True):
            assert np.array_equal(p.array, values) == any(p is q for q in frozen)
    assert newer.values.size == 10


def test_a_step_between_forward_and_backward_is_noticed() -> None:
    model = ActorCritic()
    optimizer = optim.SGD(model, RATE)
    for change in (optimizer.step, lambda: optimizer.set_values(0 * optimizer.values)):
        loss = model.loss()
        float(np.linalg.norm(optimizer.values))  # a look at them is no change
        change()
        with pytest.raises(GraphError, match="changed in place"):
            loss.backward()


def test_parameters_in_shared_memory() -> None:
    model = ActorCritic()
    optimizer, memory = optim.SGD(model, RATE), np.ones(of(model).size, np.float32)
    optimizer.share(memory)
    assert_views(optimizer.flat)
    assert np.all(of(model) == 1) and optimizer.flat.values is memory
    memory[-1] = 5
    assert model.log_std.array[-1] == 5
    expected = descended(model, 1)
    optimizer.zero_grad()
    model.loss().backward()
    optimizer.step()
    np.testing.assert_allclose(memory, expected, rtol=1e-5, atol=1e-6)
    twin = copy.deepcopy(optimizer)
    twin.set_values(0 * memory)
    assert not twin.values.any() and memory.any()


def test_a_step_on_other_arrays() -> None:
    model = ActorCritic()
    optimizer, twin = (optim.RMSprop(m, RATE, eps=0.1) for m in (model, copy.deepcopy(model)))
    model.loss().backward()
    twin.flat.grads[:] = optimizer.gradient
    values, mean_square = np.array(optimizer.values), np.zeros(of(model).size, np.float32)
    before = of(model)
    for _ in range(2):
        optimizer.step_on(values, mean_square=mean_square)
        twin.step()
    np.testing.assert_array_equal(values, twin.values)
    np.testing.assert_array_equal(mean_square, twin.mean_square)
    np.testing.assert_array_equal(of(model), before)
    assert not optimizer.mean_square.any() and optimizer.steps == 0


def test_errors() -> None:
    with pytest.raises(GraphError, match="expected a parameter that wants gradients, got none"):
        optim.Adam(nn.Tanh())
    weight = nn.Parameter(np.ones((2, 2), np.float32))
    for wrong in ([weight, weight * 2], weight):
        with pytest.raises(GraphError, match="expected Parameters or other leaf tensors, got Tensor"):
            optim.Adam(wrong)  # type: ignore[arg-type]
    mixed = [nn.Parameter(np.ones(1, np.float32)), nn.Parameter(np.ones(1))]
    with pytest.raises(DtypeError, match=r"one dtype, got \['float32', 'float64'\]"):
        optim.Adam(mixed)
    with standin.installed():
        far = nn.Parameter(standin.put(np.ones(1, np.float32), "cuda"))
        with pytest.raises(DeviceError, match=r"on one device, got \['cpu', 'cuda:0'\].*module.to"):
            optim.Adam([weight, far])
    optimizer = optim.SGD([weight], 1.0)
    for write in (optimizer.set_values, optimizer.share):
        with pytest.raises(ValueError, match=r"expected a vector \(4,\) of float32, got \(3,\) of float64"):
            write(np.ones(3))


def test_old_names_work_with_a_warning() -> None:
    model: Any = ActorCritic()
    optimizer = optim.SGD(model, RATE)
    with pytest.warns(DeprecationWarning, match=r"Module.flat\(\) is deprecated: use nn.parameters_to_vector"):
        flat = model.flat()
    model.loss().backward()
    np.testing.assert_allclose(flat.grads, optimizer.gradient)
    flat.values[:] = 2
    assert np.all(of(model) == 2) and np.all(optimizer.values == 2)
    with pytest.warns(DeprecationWarning, match="nn.flatten is deprecated"):
        flatten = nn.flatten
    assert np.all(flatten(model.parameters()).values == 2)
    with pytest.raises(AttributeError, match="no attribute 'flaten'"):
        nn.flaten  # noqa: B018
