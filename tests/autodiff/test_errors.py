"""Mistakes of a caller: each error says what was expected, what came, and the cure."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.elementwise import Exp
from dbrrl.autodiff.engine import backward, grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.errors import ConfigError, DbrrlError, DtypeError, GraphError, ShapeError
from dbrrl.nn import Linear, Sequential
from dbrrl.optim import SGD


def leaf(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).normal(size=shape) + 3, requires_grad=True)


WRONG: list[tuple[str, Any, type[DbrrlError], str]] = [
    ("matmul", lambda: leaf(2, 3) @ leaf(2, 3), ShapeError, r"\(2, 3\) @ \(2, 3\)"),
    ("matmul scalar", lambda: leaf() @ leaf(2), ShapeError, "matmul"),
    ("linear", lambda: F.linear(leaf(2, 3), leaf(4, 2), leaf(4)), ShapeError, "linear: expected x"),
    ("broadcast", lambda: leaf(2, 3) + leaf(2), ShapeError, r"\(2, 3\).*\(2,\)"),
    ("where broadcast", lambda: F.where(np.ones(3, bool), leaf(2), 0.0), ShapeError, "expected shapes"),
    ("clip broadcast", lambda: F.clip(leaf(3), np.zeros(2), 1), ShapeError, "expected shapes"),
    ("sum axis", lambda: leaf(2, 3).sum(2), ShapeError, "sum: expected distinct axes"),
    ("optimizer of arrays", lambda: SGD([np.ones(3)], 0.1), GraphError, "got ndarray at 0"),  # type: ignore[list-item]
    ("optimizer of pairs", lambda: SGD([("w", leaf(2))], 0.1), GraphError, "got tuple at 0"),  # type: ignore[list-item]
    ("sequential of a list", lambda: Sequential([Linear(2, 2)]), ConfigError, r"Sequential\(\*layers\)"),  # type: ignore[arg-type]
    ("sum axis type", lambda: leaf(2, 3).sum(1.5), DtypeError, "whole number"),
    ("item", lambda: leaf(2).item(), ShapeError, r"one element, got shape \(2,\)"),
    ("ragged", lambda: Tensor([[1.0], [1.0, 2.0]]), ShapeError, "equal lengths"),
    ("complex", lambda: leaf(2) + 1j, DtypeError, "got 1j"),
    ("none", lambda: leaf(2) * None, DtypeError, "got None"),
    ("dict", lambda: leaf(2) * {"a": np.zeros(99), "b": 1}, DtypeError, r"got a dict with the keys \['a', 'b'\]: conv"),
    ("text", lambda: leaf(2) * ("x" * 999), DtypeError, "got 'x{59}: convert"),
    ("grad_outputs", lambda: grad([leaf(2).sum(), leaf(2).sum()], leaf(2), [1.0]), GraphError, "2 grad_outputs, got 1"),
    ("grads", lambda: backward([leaf(2).sum()], [1.0, 2.0]), GraphError, "1 grads, got 2"),
    ("sum axes", lambda: leaf(2, 3).sum((0, -2)), ShapeError, "distinct"),
    ("mean of nothing", lambda: leaf(0, 3).mean(0), ShapeError, "at least one element"),
    ("mean of all of nothing", lambda: leaf(0).mean(), ShapeError, "at least one element"),
    ("max of nothing", lambda: leaf(0).max(), ShapeError, "at least one element"),
    ("var", lambda: F.var(leaf(1), ddof=1), ShapeError, "ddof"),
    ("log_softmax axis", lambda: F.log_softmax(leaf(2, 3), 5), ShapeError, "log_softmax"),
    ("reshape", lambda: leaf(2, 3).reshape(4), ShapeError, "6 elements"),
    ("transpose", lambda: leaf(2, 3).transpose(0), ShapeError, "2 axes"),
    ("squeeze", lambda: F.squeeze(leaf(2, 3), 0), ShapeError, "size 1"),
    ("broadcast_to", lambda: F.broadcast_to(leaf(2), (3,)), ShapeError, "broadcast"),
    ("concatenate", lambda: F.concatenate([leaf(2, 3), leaf(2, 2)]), ShapeError, "equal but for axis 0"),
    ("concatenate nothing", lambda: F.concatenate([]), ShapeError, "at least one"),
    ("stack", lambda: F.stack([leaf(2), leaf(3)]), ShapeError, "one shape"),
    ("split", lambda: F.split(leaf(5), 2), ShapeError, "divisor of 5"),
    ("index", lambda: leaf(3)[3], ShapeError, r"input shape \(3,\)"),
    ("index of array", lambda: leaf(3)[np.array([0, 3])], ShapeError, "out of bounds"),
    ("index dtype", lambda: leaf(3)[np.array([0.0])], DtypeError, "astype"),
    ("take_along_axis", lambda: F.take_along_axis(leaf(3, 2), np.array([0, 1])), ShapeError, "add an axis"),
    ("take_along_axis range", lambda: F.take_along_axis(leaf(1, 2), np.array([[2]])), ShapeError, "below 2"),
    ("pick", lambda: F.pick(leaf(3, 2), np.array([0, 1])), ShapeError, "pick"),
    ("pick range", lambda: F.pick(leaf(2, 3), np.array([0, 3])), ShapeError, "pick: expected .* got 3 in row 1"),
    ("categorical_log_prob", lambda: F.categorical_log_prob(leaf(2, 3), np.array([0, 3])), ShapeError, "3 in row 1"),
    ("categorical_log_prob rows", lambda: F.categorical_log_prob(leaf(2, 3), np.array([0])), ShapeError, "per row"),
    ("picked_huber_loss", lambda: F.picked_huber_loss(leaf(2, 3), np.array([0]), np.ones(2)), ShapeError, "per row"),
    ("picked_huber_loss b", lambda: F.picked_huber_loss(leaf(1, 3), np.array([0]), np.ones(2)), ShapeError, "per row"),
    ("clipped_surrogate", lambda: F.clipped_surrogate(leaf(3), np.ones(2), np.ones(3), 0.2), ShapeError, "flatten"),
    ("surrogate of nothing", lambda: F.clipped_surrogate(leaf(0), np.ones(0), np.ones(0), 0.2), ShapeError, "at least"),
    ("embedding", lambda: F.embedding(np.array([5]), leaf(3, 2)), ShapeError, "0 to 2, got 5 in row 0"),
    ("one_hot", lambda: F.one_hot(np.array([3]), 3), ShapeError, "0 to 2, got 3"),
    ("mse_loss", lambda: F.mse_loss(leaf(3, 1), np.ones(3)), ShapeError, "broadcasting here"),
    ("huber_loss", lambda: F.huber_loss(leaf(3), np.ones((3, 1))), ShapeError, "reshape"),
    ("huber delta", lambda: F.huber_loss(leaf(3), np.ones(3), delta=0), ConfigError, "above 0"),
    ("reduction", lambda: F.mse_loss(leaf(3), np.ones(3), "avg"), ConfigError, "'avg'"),
    ("cross_entropy", lambda: F.cross_entropy(leaf(3, 2), np.array([0, 1])), ShapeError, "one class per row"),
    ("layer_norm", lambda: F.layer_norm(leaf(3, 2), leaf(3), leaf(3)), ShapeError, "weight"),
    ("dropout", lambda: F.dropout(leaf(3), 1.0, np.random.default_rng(0)), ConfigError, "probability"),
    ("conv2d images", lambda: F.conv2d(leaf(3, 8, 8), leaf(2, 3, 3, 3)), ShapeError, r"x\[None\]"),
    ("conv2d channels", lambda: F.conv2d(leaf(1, 8, 8, 3), leaf(2, 3, 3, 3)), ShapeError, "channels come second"),
    ("conv2d bias", lambda: F.conv2d(leaf(1, 3, 8, 8), leaf(2, 3, 3, 3), leaf(3)), ShapeError, r"bias of shape \(2,\)"),
    ("conv2d small", lambda: F.conv2d(leaf(1, 3, 2, 8), leaf(2, 3, 3, 3)), ShapeError, "2x8"),
    ("conv2d stride", lambda: F.conv2d(leaf(1, 3, 8, 8), leaf(2, 3, 3, 3), stride=0), ConfigError, "stride"),
    ("conv2d padding", lambda: F.conv2d(leaf(1, 3, 8, 8), leaf(2, 3, 3, 3), padding=(1, -1)), ConfigError, "padding"),
    ("max_pool2d", lambda: F.max_pool2d(leaf(1, 1, 2, 2), 3), ShapeError, "max_pool2d"),
    ("avg_pool2d padding", lambda: F.avg_pool2d(leaf(1, 1, 4, 4), 2, padding=2), ConfigError, "half the kernel"),
    ("integers", lambda: Tensor(np.arange(3), requires_grad=True), DtypeError, "floating-point"),
    ("booleans", lambda: Tensor([True]).requires_grad_(), DtypeError, "floating-point"),
    ("words", lambda: Tensor(["a"]), DtypeError, "numbers"),
    ("backward of a vector", lambda: (leaf(3) * 2).backward(), GraphError, "reduce it first"),
    ("backward shape", lambda: (leaf(3) * 2).backward(np.ones(2)), ShapeError, r"expected shape \(3,\)"),
    ("backward of data", lambda: Tensor([1.0]).backward(), GraphError, "requires_grad=True"),
    ("grad of a vector", lambda: grad(leaf(3) * 2, leaf(3)), GraphError, "reduce it first"),
    ("grad of a non-tensor", lambda: grad(np.ones(3), leaf(3)), GraphError, r"outputs\[0\].*float64"),
    ("grad to a non-tensor", lambda: grad(leaf(3).sum(), [np.ones(3)]), GraphError, r"inputs\[0\].*ndarray"),
    ("grad of unrelated", lambda: grad(leaf(3).sum(), leaf(3)), GraphError, "do not depend"),
    ("data shape", lambda: setattr(leaf(3), "data", np.ones(2)), ShapeError, "make a new Tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_mistakes_are_explained_in_one_line(call: Any, error: type[DbrrlError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "expected" in text and (": " in text or ";" in text)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("second", "shapes"), [((3, 5), r"4\), \(3, 5\), \(3,\)"), ((2, 4), r"4\), \(2, 4\), \(3,\)")])
def test_the_layer_that_does_not_fit_is_named(rows: int, second: tuple[int, int], shapes: str) -> None:
    parameters = [leaf(4, 6), leaf(4), leaf(*second), leaf(3)]
    with no_grad(), pytest.raises(ShapeError, match=f"linear: expected x.*{shapes}"):
        F.perceptron(np.ones((rows, 6)), parameters, ["relu", None])


def test_backward_twice_through_a_freed_graph() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GraphError, match="retain_graph"):
        y.backward()
    h = x * x
    h.sum().backward()
    with pytest.raises(GraphError, match="freed"):
        (h * 2).sum().backward()


def set_item(x: Tensor) -> None:
    with no_grad():
        x[0] = 7.0


def subtract(x: Tensor) -> None:
    with no_grad():
        x -= 0.1


def assign_data(x: Tensor) -> None:
    x.data = np.zeros_like(x.data)


def change_what_detach_gave(x: Tensor) -> None:
    x.detach()[0] = 5.0


CHANGES = [set_item, subtract, assign_data, change_what_detach_gave]


def add_to(array: np.ndarray) -> None:
    array += 1


HANDED_OUT: dict[str, Callable[[Tensor], Any]] = {
    "data": lambda x: x.data,
    "a slice of data": lambda x: x.data[:2],
    "data of a view": lambda x: x.reshape(3, 1).detach().data.T,
    "numpy": lambda x: x.numpy(),
    "asarray": lambda x: np.asarray(x.detach()),
}


@pytest.mark.parametrize("hand_out", HANDED_OUT.values(), ids=HANDED_OUT)
@pytest.mark.parametrize("x", [leaf(3), Tensor(np.ones(3)), leaf(3) * 2])
def test_arrays_handed_out_cannot_be_changed(x: Tensor, hand_out: Any) -> None:
    before = x.array.copy()
    with no_grad():
        for change in (add_to, np.ndarray.sort, lambda array: array.fill(0), lambda array: array.__setitem__(..., 0)):
            with pytest.raises(ValueError, match="read-only"):
                change(hand_out(x))
    np.testing.assert_array_equal(x.array, before)


@pytest.mark.parametrize("compute", [lambda x: x * x, np.exp, lambda x: x.reshape(3, 1), lambda x: F.softmax(x)])
def test_values_that_a_graph_needs_cannot_be_changed_by_array(compute: Any) -> None:
    x = leaf(3)
    y = compute(x)
    with pytest.raises(ValueError, match="read-only"):
        y.array[...] = 0
    with no_grad():
        compute(x).array[...] = 0  # of no graph
        x[...] = 2.0


def test_an_op_that_gives_back_its_input_does_not_lock_it() -> None:
    x = leaf(3)
    x.clip(None).sum().backward()
    with no_grad():
        x[...] = 2.0
    assert x.array.tolist() == [2, 2, 2]


def test_values_handed_out_show_later_changes() -> None:
    x = leaf(3)
    values = x.data
    with no_grad():
        x[...] = 4.0
    assert values.tolist() == [4, 4, 4]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "compute",
    [lambda x: x * x, np.sin, lambda x: x[:2] ** 2, lambda x: x.reshape(3, 1) ** 2, lambda x: x.T * x.T],
    ids=["product", "sine", "slice", "reshaped", "transposed"],
)
def test_an_in_place_change_between_forward_and_backward_is_noticed(change: Any, compute: Any) -> None:
    x = leaf(3)
    loss = compute(x).sum()
    change(x)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()
    compute(x).sum().backward()  # a graph recorded after the change is well


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_change_that_backward_does_not_need_to_know_is_allowed(change: Any) -> None:
    x, w = leaf(3), leaf(3)
    loss = (x + w).sum()
    change(x)
    loss.backward()
    np.testing.assert_array_equal(w.grad, [1, 1, 1])


def test_a_handed_out_array_that_is_not_changed_does_no_harm() -> None:
    x = leaf(3)
    held = x.data
    loss = (x * x).sum()
    assert held.sum() > 0
    loss.backward()
    np.testing.assert_allclose(x.grad, 2 * held)


def test_a_change_of_plain_data_reaches_its_views_and_is_noticed() -> None:
    data, w = Tensor(np.ones(3)), leaf(3)
    part, values = data[1:], data.data
    loss = (part * w[1:]).sum()
    data[...] = 100.0
    assert part.array.tolist() == [100, 100] and values.tolist() == [100, 100, 100]
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_what_is_assigned_must_not_want_gradients() -> None:
    data, w = Tensor(np.ones(3)), leaf(3)
    with pytest.raises(GraphError, match=r"value\.detach\(\)"):
        data[0] = w[1]
    data[0] = w[1].detach()
    with no_grad():
        data[1] = w[1]
    assert data.array.tolist() == [w.array[1], w.array[1], 1]


def test_an_optimizer_step_between_forward_and_backward_is_noticed() -> None:
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    optimizer = SGD(layer, learning_rate=0.1)
    loss = (layer(np.ones((1, 3), np.float32)) ** 2).sum()
    (layer(np.ones((1, 3), np.float32)) ** 2).sum().backward()
    optimizer.step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_computed_values_are_read_only_and_recorded_leaves_are_guarded() -> None:
    x = leaf(3)
    y = x * 2
    for change in (lambda: y.data.fill(0), lambda: y.numpy().fill(0)):
        with pytest.raises(ValueError, match="read-only"):
            change()
    with pytest.raises(GraphError, match="in-place change"):
        y[0] = 1.0
    with pytest.raises(GraphError, match="in-place change"):
        x[0] = 1.0
    with pytest.raises(GraphError, match="leaf"):
        y.data = np.zeros(3)


def test_an_error_in_backward_leaves_nothing_behind() -> None:
    class Breaks(Op):
        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            raise KeyError("no")

    x = leaf(3)
    h = x * 2
    with pytest.raises(KeyError):
        (Breaks()(h) + h).sum().backward()
    y = x * x
    assert y.op is not None  # recording goes on
    y.sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.array)


def test_a_gradient_of_the_wrong_shape_is_refused() -> None:
    class Wrong(Op):
        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return np.transpose(g)

    with pytest.raises(ShapeError, match=r"backward.*\(2, 3\).*\(3, 2\)"):
        Wrong()(leaf(2, 3)).sum().backward()


def test_an_op_object_serves_one_call() -> None:
    op = Exp()
    op(leaf(2)).sum().backward()
    op(leaf(2))  # its first graph is gone
    with pytest.raises(GraphError, match="expected one op object per call"):
        op(leaf(2))


def test_no_grad_on_what_it_cannot_cover_says_so() -> None:
    with pytest.raises(TypeError, match=r"write @no_grad\(\) with brackets"):
        no_grad(len)
    with pytest.raises(TypeError, match="generator function numbers"):

        @no_grad()
        def numbers() -> Any:
            yield leaf(1) * 2


def own(forward: Any, backward: Any) -> type[Op]:
    """An op of a user's, by its two methods; None: the method is not written."""
    methods = {"forward": forward, "backward": backward}
    return type("Mine", (Op,), {name: method for name, method in methods.items() if method is not None})


def double(self: Any, x: Any, *rest: Any) -> Any:
    return 2 * x


@pytest.mark.parametrize(
    ("forward", "backward", "error", "line"),
    [
        (None, None, NotImplementedError, r"^Mine has no forward\(\): expected one, define it in the class$"),
        (double, None, NotImplementedError, r"^Mine has no backward\(\): expected one"),
        (lambda self, x, *rest: [x], None, DtypeError, r"^Mine\.forward: expected an array, got list: return an"),
        (lambda self, x, *rest: None, None, DtypeError, r"^Mine\.forward: expected an array, got NoneType"),
        (
            lambda self, x, *rest: Tensor(x), None, DtypeError,
            r"^Mine\.forward: expected an array, got Tensor: compute with its arrays alone$",
        ),
        (
            double, lambda self, g, y, *inputs: 2.0, GraphError,
            r"^Mine\.backward: expected arrays of the shape of the output, or None, got float: compute with",
        ),
    ],
)  # fmt: skip
def test_what_an_op_of_ones_own_returns(forward: Any, backward: Any, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        own(forward, backward)()(leaf(3)).sum().backward()


def test_gradients_may_come_as_a_list_and_with_none_for_what_is_no_input() -> None:
    x, w = leaf(3), leaf(3)
    own(lambda self, x, w: x * w, lambda self, g, y, x, w: [g * w, g * x])()(x, w).sum().backward()
    np.testing.assert_allclose(x.grad, w.array)
    np.testing.assert_allclose(w.grad, x.array)
    x = leaf(3)
    own(double, lambda self, g, y, x: (2 * g, None))()(x).sum().backward()
    np.testing.assert_allclose(x.grad, np.full(3, 2.0))


def test_the_error_of_a_backward_is_its_own_whatever_came_before() -> None:
    first = own(double, lambda self, g, y, x: g * self.scale)
    second = own(lambda self, x, c: x * c, lambda self, g, y, x, c: (g * c, 0.0))
    y = second()(first()(leaf(3)), 2.0).sum()
    with pytest.raises(AttributeError, match="scale"):
        y.backward()


@pytest.mark.parametrize(("inputs", "grads"), [(2, 1), (2, 3), (1, 2)])
def test_a_backward_gives_one_gradient_for_each_input(inputs: int, grads: int) -> None:
    kind = own(double, lambda self, g, y, *inputs: (2 * g,) * grads)
    y = kind()(*[leaf(3) for _ in range(inputs)]).sum()
    line = rf"^Mine\.backward: expected a gradient for each of {inputs} inputs, got {grads}: return None for an input"
    with pytest.raises(GraphError, match=line):
        y.backward()


def test_an_attribute_that_a_backward_lacks_is_its_own_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        own(double, lambda self, g, y, x: g.nothing)()(leaf(3)).sum().backward()
