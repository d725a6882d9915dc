"""Tensors that share memory: a gradient is that of the values that forward saw, or refused, whichever was changed.

A table of views, of ways to change what they show, and of ops that read their inputs again in backward.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.errors import GraphError
from dbrrl.nn import Module, Parameter, vector_to_parameters
from dbrrl.optim import SGD
from tests.standin import host, put


class Same(Op):
    """A user's op that gives back its input itself."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g


class Turned(Op):
    """A user's op that gives back a view of its second input."""

    saves_inputs = False

    def forward(self, x: Any, z: Any) -> Any:
        return z.reshape(4)[::-1]

    def backward(self, g: Any, y: Any, x: Any, z: Any) -> Any:
        return None, np.reshape(g[::-1], (2, 2))


class Net(Module):
    """Two parameters next to each other in one vector, of which the first is of interest."""

    def __init__(self) -> None:
        self.x = Parameter(np.array([[0.5, 0.75], [1.25, 1.5]]))
        self.other = Parameter(np.ones(3))


VIEWS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "reshape": lambda x: x.reshape(4),
    "T": lambda x: x.T,
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "expand_dims": lambda x: F.expand_dims(x, 0),
    "squeeze": lambda x: F.squeeze(x[:, None]),
    "slice": lambda x: x[:, 1:],
    "row": lambda x: x[1],
    "rows": lambda x: next(iter(x)),
    "split": lambda x: F.split(x, 2)[1],
    "broadcast_to": lambda x: F.broadcast_to(x, (3, 2, 2)),
    "detach": lambda x: x.detach(),
    "clip of nothing": lambda x: x.clip(None),
    "view of a view": lambda x: x.T[1:].reshape(2),
    "detached view": lambda x: x.T.detach()[0],
    "own op": lambda x: Same()(x),
    "own view": lambda x: Turned()(Tensor(np.ones((2, 2))), x),
    "copy": copy.copy,
}


def add(net: Net) -> None:
    with no_grad():
        net.x += 10


def set_data(net: Net) -> None:
    net.x.data = np.array([[3.0, 2.0], [2.0, 3.0]])


def set_items_of_data(net: Net) -> None:
    net.x.data[...] = 7


def set_a_view_of_data(net: Net) -> None:
    net.x.data.T[1:] += 3
    net.x.data[0] += 3


def set_items(net: Net) -> None:
    with no_grad():
        net.x[...] = 5.0


def set_items_of_a_view(net: Net) -> None:
    with no_grad():
        view = net.x.reshape(4)
        view[...] = 4.0


def add_to_data_of_a_view(net: Net) -> None:
    view = net.x.T.detach()
    view.data += 1


def set_items_of_numpy(net: Net) -> None:
    net.x.numpy()[...] = 6.0


def set_items_of_detach(net: Net) -> None:
    net.x.detach()[...] = 8.0


def step(net: Net) -> None:
    net.x.requires_grad_(True)
    optimizer = getattr(net, "optimizer", None) or SGD(net, 0.5)
    optimizer.flat.grads[...] = 1.0
    optimizer.step()
    optimizer.zero_grad()


def set_flat_values(net: Net) -> None:
    vector_to_parameters(np.full(7, 2.0), net)


def load(net: Net) -> None:
    net.load_state_dict({"x": np.full((2, 2), 0.25), "other": np.zeros(3)})


CHANGES = [
    add, set_data, set_items_of_data, set_a_view_of_data, set_items, set_items_of_a_view,
    add_to_data_of_a_view, set_items_of_numpy, set_items_of_detach, step, set_flat_values, load,
]  # fmt: skip

# Of a tensor t and another one w of its shape: ops whose gradient of w, or of t, needs the values of t.
OPS: dict[str, Callable[[Any, Any], Any]] = {
    "multiply": lambda t, w: t * w,
    "divide": lambda t, w: w / t,
    "power": lambda t, w: w**t,
    "square": lambda t, w: np.square(t) + w,
    "sin": lambda t, w: np.sin(t) * 2 + w,
    "log": lambda t, w: np.log(t) + w,
    "maximum": lambda t, w: np.maximum(t, w),
    "max": lambda t, w: t.max() + w,
    "logsumexp": lambda t, w: F.logsumexp(t, axis=-1).sum() + w,
    "matmul": lambda t, w: t.reshape(1, -1) @ w.reshape(-1, 1),
    "linear": lambda t, w: F.linear(w.reshape(-1, t.shape[-1]), t.reshape(-1, t.shape[-1]), activation="tanh"),
    "mse_loss": lambda t, w: F.mse_loss(w, t),
    "std": lambda t, w: F.std(t * w),
    "cross_entropy": lambda t, w: F.cross_entropy(w, t),
    "stack": lambda t, w: F.stack([t, t]).sum(0) * w,
}


def make(kind: str, flat: bool) -> Net:
    net = Net()
    if kind == "plain":
        net.x.requires_grad_(False)
    if flat:
        net.x.requires_grad_(True)
        net.optimizer = SGD(net, 0.5)
        net.x.requires_grad_(kind != "plain")
    return net


def gradients(kind: str, flat: bool, view: Any, op: Any, change: Any, used: str) -> Any:
    """The gradients by the values before the change; None if they were refused."""
    net = make(kind, flat)
    if kind == "unrecorded":
        with no_grad():
            seen = view(net.x)
    else:
        seen = view(net.x)
    t = seen if used == "view" else net.x
    w = Tensor(np.linspace(0.6, 1.4, t.size).reshape(t.shape), requires_grad=True)
    loss = op(t, w).sum()
    if change is not None:
        try:
            change(net) if used == "view" else change(seen)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
    try:
        loss.backward()
    except GraphError:
        return None  # refused
    own = net.x.grad if kind == "recorded" or used == "source" else None
    return w.grad, None if own is None or not np.any(own) else own.copy()


@functools.cache
def unchanged(kind: str, flat: bool, view: str, op: str, used: str) -> Any:
    return gradients(kind, flat, VIEWS[view], OPS[op], None, used)


def differ(got: Any, expected: Any) -> bool:
    return any(
        (a is None) != (b is None) or (a is not None and not np.allclose(a, b))
        for a, b in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("view", VIEWS)
def test_a_changed_source_never_makes_a_gradient_of_its_view_wrong(view: str, change: Any) -> None:
    wrong = []
    for kind in ("plain", "recorded", "unrecorded"):
        for flat in (False, True):
            for name, op in OPS.items():
                expected = gradients(kind, flat, VIEWS[view], op, None, "view")
                got = gradients(kind, flat, VIEWS[view], op, change, "view")
                if got is not None and differ(got, expected):
                    wrong.append((kind, flat, name))
    assert not wrong


def set_view_items(t: Any) -> None:
    with no_grad():
        t[...] = 9.0


def add_to_view_data(t: Any) -> None:
    t.data += 1.0


def set_view_data(t: Any) -> None:
    t.data = np.full(t.shape, 2.0)


def set_items_of_view_numpy(t: Any) -> None:
    t.numpy()[...] = 1.5


VIEW_CHANGES = [set_view_items, add_to_view_data, set_view_data, set_items_of_view_numpy]


@pytest.mark.parametrize("change", VIEW_CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("view", [v for v in VIEWS if v != "broadcast_to"])  # NumPy keeps that one from changes
def test_a_changed_view_never_makes_a_gradient_of_its_source_wrong(view: str, change: Any) -> None:
    wrong = []
    for kind in ("plain", "unrecorded"):
        for flat in (False, True):
            for name, op in OPS.items():
                expected = gradients(kind, flat, VIEWS[view], op, None, "source")
                got = gradients(kind, flat, VIEWS[view], op, change, "source")
                if got is not None and differ(got, expected):
                    wrong.append((kind, flat, name))
    assert not wrong


@pytest.mark.parametrize("view", ["itself", "reshape", "slice", "detach", "clip of nothing", "own op", "own view"])
def test_on_any_device_changes_by_index_by_data_and_by_a_step_are_known(view: str, device: str) -> None:
    def by_index(x: Any) -> None:
        with no_grad():
            x[...] = 5.0

    def by_data(x: Any) -> None:
        x.data = put(np.full((2, 2), 2.0), device)

    def by_adding(x: Any) -> None:
        with no_grad():
            x += 1.0

    def by_step(x: Any) -> None:
        (x * 2).sum().backward()
        SGD([x], 0.1).step()

    for change in (by_index, by_data, by_adding, by_step):
        x = Parameter(put(np.array([[0.5, 0.75], [1.25, 1.5]]), device))
        SGD([x], 0.1)  # moves it into its vector
        with no_grad():
            t = VIEWS[view](x) if view != "own view" else Turned()(Tensor(put(np.ones((2, 2)), device)), x)
        w = Tensor(put(np.ones(t.shape), device), requires_grad=True)
        loss = (w * t).sum()
        change(x)
        with pytest.raises(GraphError, match="changed in place"):
            loss.backward()


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, k: x[k],
        lambda x, k: F.take(x, k, axis=1),
        lambda x, k: F.pick(x, k),
        lambda x, k: F.take_along_axis(x, k[:, None], 1),
        lambda x, k: F.embedding(k, x),
        lambda x, k: F.categorical_log_prob(x, k),
        lambda x, k: F.picked_huber_loss(x, k, np.zeros(2))[0],
        lambda x, k: F.cross_entropy(x, k),
        lambda x, k: np.where(k, x, x * 3),
        lambda x, k: F.clipped_surrogate(x[0], k, k, 0.5),
    ],
)
def test_what_an_op_keeps_besides_its_inputs_is_out_of_reach(compute: Any) -> None:
    results = []
    for later in (False, True):
        x = Tensor(np.array([[0.5, -1.0], [2.0, 0.25]]), requires_grad=True)
        k = Tensor(np.array([0, 1]))
        loss = compute(x, k).sum()
        if later:
            k[...] = np.array([1, 1])
        loss.backward()
        results.append(x.grad)
    np.testing.assert_array_equal(*results)


def test_views_of_what_a_graph_computed_cannot_be_changed(device: str) -> None:
    x = Tensor(put(np.ones(3), device), requires_grad=True)
    y = np.exp(x)  # whose gradient is read off y
    with no_grad():
        views = [y.reshape(3, 1), y.detach(), y.detach()[1:], y[:2], copy.copy(y).detach()]
    for view in views:
        assert view.op is None
        with pytest.raises(GraphError, match="in-place change"):
            view[0] = 7.0
        with pytest.raises(GraphError, match="computed tensor"):
            view.data = view.data * 2
        if device == "cpu":
            with pytest.raises(ValueError, match="read-only"):
                view.data[...] = 1
    y.sum().backward()
    np.testing.assert_allclose(host(x.grad, device), np.exp(np.ones(3)))
    with no_grad():
        free = x * 2
        free[0] = 5.0  # no graph needs it
    assert host(free, device).tolist() == [5, 2, 2]


def test_a_single_number_can_be_changed() -> None:
    with no_grad():
        total = Tensor([1.0, 2.0], requires_grad=True).sum()
    total += 1
    total[...] = total.array * 2
    assert total.item() == 8 and total.dtype == np.float32
    w = Tensor(2.0, requires_grad=True)
    loss = w * total
    total.data = 1.0
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_a_change_that_no_gradient_reads_is_allowed() -> None:
    for view in ("reshape", "T", "slice", "broadcast_to"):
        x, w = Tensor(np.ones((2, 2)), requires_grad=True), Tensor(1.0, requires_grad=True)
        loss = (VIEWS[view](x) + w).sum()
        x.data = x.data + 1
        loss.backward()
        assert float(w.grad) == float(x.grad.sum())


def test_parameters_in_one_vector_are_changed_each_for_itself() -> None:
    net = Net()
    SGD(net, 0.5)
    loss = (net.x * net.x).sum() + (Turned()(net.other[:2], net.x) * 2).sum()
    with no_grad():
        net.other[0] = 4.0
    loss.backward()
    np.testing.assert_array_equal(net.x.grad, 2 * net.x.array + 2)


def test_copies_have_changes_of_their_own_unless_they_share_memory() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    deep = copy.deepcopy(x)
    loss = (x * x).sum() + (deep * deep).sum()
    with no_grad():
        deep += 1
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()
    (x * x).sum().backward()
    assert x.array.tolist() == [1, 1] and deep.array.tolist() == [2, 2]


def test_a_change_is_not_blamed_on_a_graph_recorded_after_it() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    for value in (2.0, 4.0):
        x.data = np.full(3, value)
        (x.reshape(3, 1) * x[:, None]).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * 2 + 2 * 4 + np.zeros(3))


def test_second_gradients_notice_changes_of_views(device: str) -> None:
    x = Tensor(put(np.array([0.5, 2.0]), device), requires_grad=True)
    (g,) = grad((x.clip(None) ** 3).sum(), [x], create_graph=True)
    with no_grad():
        x[0] = 9.0
    with pytest.raises(GraphError, match="changed in place"):
        grad(g.sum(), x)
