"""No gradient is lost in silence: what changes a tensor, makes numbers of it or takes it as a constant says so."""

import math
import operator
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.distributions import Bernoulli
from dbrrl.errors import ConfigError, DtypeError, GraphError, ShapeError
from tests import standin
from tests.autodiff.reference import SAMPLES, surrogate
from tests.standin import host, put

W = np.array([1, 2, 3], np.float32)
IN_PLACE = {
    "add": (operator.iadd, operator.add),
    "subtract": (operator.isub, operator.sub),
    "multiply": (operator.imul, operator.mul),
    "divide": (operator.itruediv, operator.truediv),
    "power": (operator.ipow, operator.pow),
}
each_operator = pytest.mark.parametrize(("change", "compute"), IN_PLACE.values(), ids=IN_PLACE)


def leaf(values: Any = W) -> Tensor:
    return Tensor(values, requires_grad=True)


def filled_in_a_loop(w: Tensor) -> None:
    x = Tensor(np.zeros((2, 3), np.float32))
    for i in range(2):
        x[i] = w * i


def added_to_a_row(w: Tensor) -> None:
    x = Tensor(np.zeros((2, 3), np.float32))
    x[0] += w


def numbers_in_a_list(w: Tensor) -> None:
    Tensor(np.zeros(3, np.float32))[0:2] = [w[0], w[1]]


@pytest.mark.parametrize("change", [filled_in_a_loop, added_to_a_row, numbers_in_a_list], ids=lambda f: f.__name__)
def test_an_assignment_that_would_cut_the_graph_is_refused(change: Any) -> None:
    with pytest.raises((GraphError, TypeError), match="expected"):
        change(leaf())


@each_operator
def test_a_leaf_is_changed_in_place_under_no_grad(change: Any, compute: Any, device: str) -> None:
    w = Tensor(put([W], device)[0], requires_grad=True)
    alias, array = w, w.array
    with no_grad():
        w = change(w, 3.0)
        w = change(w, Tensor(put([W], device)[0]))
    assert w is alias and w.array is array and w.requires_grad and w.dtype == np.float32
    np.testing.assert_allclose(host(w, device), compute(compute(W, np.float32(3)), W))


@each_operator
def test_a_leaf_in_a_graph_is_not_changed_in_place(change: Any, compute: Any) -> None:
    w = leaf()
    with pytest.raises(GraphError, match=r"no_grad\(\)"):
        change(w, 1.0)
    np.testing.assert_array_equal(w.array, W)


@each_operator
def test_plain_data_is_changed_in_place_and_its_aliases_with_it(change: Any, compute: Any) -> None:
    x = Tensor(np.arange(1, 7, dtype=np.float32).reshape(2, 3))
    expected, alias, row = compute(x.numpy().copy(), np.float32(2)), x, x[0]
    x = change(x, 2.0)
    assert x is alias
    np.testing.assert_allclose(x.array, expected)
    np.testing.assert_allclose(row.array, expected[0])


def test_plain_data_does_not_take_in_gradients_in_place() -> None:
    x = Tensor(np.zeros(3, np.float32))
    with pytest.raises(GraphError, match="x = x"):
        x += leaf()


def test_a_change_in_place_before_backward_is_noticed() -> None:
    w = leaf()
    loss = (w * w).sum()
    with no_grad():
        w += 1
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_a_computed_tensor_is_rebound_and_the_sum_of_losses_has_its_gradient() -> None:
    w = leaf()
    loss = (w * w).sum()
    first = loss
    loss += (3 * w).sum()
    loss *= 2
    loss.backward()
    np.testing.assert_allclose(w.grad, 2 * (2 * W + 3))
    assert first.item() == (W * W).sum()


def test_a_change_in_place_keeps_shape_and_type() -> None:
    x, numbers = Tensor(W), Tensor(np.arange(3))
    with pytest.raises(ShapeError, match="expected"):
        x += np.ones((2, 3))
    with pytest.raises(DtypeError, match="expected"):
        numbers += 0.5
    numbers += 1
    np.testing.assert_array_equal(numbers.array, [1, 2, 3])
    one = Tensor(2.0)
    one -= 0.5
    assert one.item() == 1.5


def test_a_parameter_is_changed_in_place_but_never_replaced_by_what_no_optimizer_sees() -> None:
    net = nn.Linear(3, 2, rng=0)
    before, weight = net.weight.numpy().copy(), net.weight
    with no_grad():
        net.weight -= 0.5 * before
    assert net.weight is weight
    np.testing.assert_allclose(weight.array, 0.5 * before)
    with pytest.raises(GraphError, match=r"no_grad\(\)"):
        net.weight -= 0.1
    for value in (net.weight - 0.1, Tensor(before), before):
        with pytest.raises(ConfigError, match=r"Linear\.weight: expected a Parameter"):
            net.weight = value  # type: ignore[assignment]
    assert net.weight is weight
    net.weight, net.bias = nn.Parameter(before), None
    assert len(net.parameters()) == 1


SLIPS = {
    "element": lambda w: operator.setitem(np.zeros(3), 0, w[1]),
    "fill": lambda w: np.zeros(3).fill(w[0]),
    "full_like": lambda w: np.full_like(w, w[0]),
    "full_like by name": lambda w: np.full_like(np.zeros(3), fill_value=w[0]),
    "float64": lambda w: np.float64(w[0]),
    "float32": lambda w: np.float32(w[0]),
    "fromiter": lambda w: np.fromiter(w, float),
    "math": lambda w: math.sqrt(w[0]),
    "float": lambda w: float(w[0]),
    "int": lambda w: int(w[0]),
    "complex": lambda w: complex(w[0]),
    "array of numbers": lambda w: np.array([w[0], w[1]]),
    "tensor of numbers": lambda w: Tensor([w[0], w[1]]),
    "tensor of a tensor": lambda w: Tensor(w * 2),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_a_number_does_not_slip_out_of_the_graph(slip: Any) -> None:
    with pytest.raises((TypeError, ValueError, GraphError)) as caught:
        slip(leaf())
    assert "expected" in f"{caught.value} {caught.value.__cause__}"


def test_outside_a_graph_a_tensor_is_a_number() -> None:
    w, room = leaf(), np.zeros(3)
    room[0] = w.detach()[1]
    with no_grad():
        room[1] = w[2]
        assert float(w[0]) == 1 and int(w[0]) == 1
    assert w[0].item() == 1 and f"{w[1]:.1f}" == "2.0"
    assert nn.Parameter(w * 2).is_leaf and not Tensor(w.detach()).requires_grad
    np.testing.assert_array_equal(room, [2, 3, 0])


STEPS = {
    "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "sign": np.sign, "round": np.round,
    "fix": np.fix, "around": np.around, "floor_divide": lambda x: np.floor_divide(x, 0.7),
    "round to tenths": lambda x: np.round(x, 1), "operator": lambda x: x // 0.7, "F.sign": F.sign,
    "F.floor": F.floor, "F.ceil": F.ceil, "F.rint": F.rint, "F.trunc": F.trunc, "F.round": F.round,
    "F.argmax": F.argmax, "F.argsort": F.argsort, "F.floor_divide": lambda x: F.floor_divide(x, 0.7),
    "F.argmin": F.argmin,
    "left": lambda x: 7.3 // x, "round method": lambda x: x.round(1),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_functions_without_slope_give_plain_arrays(step: Any, device: str) -> None:
    values = np.array([0.25, -1.55, 2.75])
    x = Tensor(put([values], device)[0], requires_grad=True)
    y = step(x)
    assert not isinstance(y, Tensor)
    np.testing.assert_allclose(host(y, device), step(values))


@pytest.mark.parametrize("wrong", [-1, 3, -4])
def test_a_class_out_of_range_is_refused_and_its_row_named(wrong: int) -> None:
    x, rows = leaf(np.ones((2, 3), np.float32)), np.array([0, wrong])
    losses = {
        "cross_entropy": lambda: F.cross_entropy(x, rows),
        "pick": lambda: F.pick(x, rows),
        "categorical_log_prob": lambda: F.categorical_log_prob(x, rows),
        "picked_huber_loss": lambda: F.picked_huber_loss(x, rows, np.ones(2, np.float32)),
        "one_hot": lambda: F.one_hot(rows, 3),
        "embedding": lambda: F.embedding(rows, leaf(np.ones((3, 2), np.float32))),
    }
    for name, loss in losses.items():
        with pytest.raises(ShapeError, match=rf"{name}: expected .* 0 to 2, got {wrong} in row 1"):
            loss()
    with pytest.raises(ShapeError, match=r"row 1, 0"):
        F.cross_entropy(leaf(np.ones((2, 1, 3))), rows[:, None])
    if wrong == 3:
        with pytest.raises(ShapeError, match="take_along_axis: expected"):
            F.take_along_axis(x, rows[:, None])


CLASSES = np.array([2, 0, 3, 0, 1])
WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])


def cross_entropy(x: Any, p: Any, c: Any = None, w: Any = 1.0, e: float = 0.0, mean: bool = True) -> Any:
    """By its definition: target probabilities p, or classes c of which -7 is left out."""
    log = x - np.log(np.exp(x).sum(-1, keepdims=True))
    w = w * np.ones(x.shape[-1])
    p = np.eye(x.shape[-1])[np.maximum(c, 0)] if p is None else p
    rows = -(w * ((1 - e) * p + e / x.shape[-1]) * log).sum(-1)
    if c is None:
        return rows.mean() if mean else rows
    rows = np.where(c == -7, 0, rows)
    return rows.sum() / w[c[c != -7]].sum() if mean else rows


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighed"])
@pytest.mark.parametrize("left_out", [False, True])
def test_cross_entropy_weighs_leaves_out_and_smooths(
    left_out: bool, weight: Any, smoothing: float, device: str
) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    classes = np.where(left_out & (np.arange(5) == 1), -7, CLASSES)
    w = 1.0 if weight is None else weight
    x, t = put([logits, classes], device)
    placed = None if weight is None else put(weight, device)
    options: Any = {"ignore_index": -7, "weight": placed, "label_smoothing": smoothing}
    for how in ("mean", "sum", "none"):
        y = F.cross_entropy(Tensor(x, requires_grad=True), t, how, **options)
        expected = cross_entropy(logits, None, classes, w, smoothing, how == "mean")
        np.testing.assert_allclose(host(y, device), expected.sum() if how == "sum" else expected, rtol=1e-12)
    check_gradients(lambda x: F.cross_entropy(x, t, **options), x, order=2)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighed"])
def test_cross_entropy_weighs_and_smooths_probabilities(weight: Any, smoothing: float) -> None:
    x, p = np.random.default_rng(0).normal(size=(2, 5, 4))
    p = np.exp(p) / np.exp(p).sum(-1, keepdims=True)
    w = 1.0 if weight is None else weight
    y = F.cross_entropy(x, p, weight=weight, label_smoothing=smoothing)
    np.testing.assert_allclose(y, cross_entropy(x, p, None, w, smoothing), rtol=1e-12)
    check_gradients(lambda x, p: F.cross_entropy(x, p, weight=weight, label_smoothing=smoothing), x, p, order=2)


def test_an_excluded_choice_in_a_row_that_is_left_out_spoils_nothing() -> None:
    x = leaf(np.array([[-np.inf, 0.0], [1.0, 2.0]]))
    y = F.cross_entropy(x, np.array([-7, 1]), ignore_index=-7, weight=np.ones(2))
    y.backward()
    np.testing.assert_allclose(y.item(), math.log(1 + math.exp(-1)))
    np.testing.assert_allclose(x.grad[0], 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_smoothing": 1.5}, ConfigError, r"label_smoothing in \[0, 1\]"),
        ({"weight": np.ones(2)}, ShapeError, r"weight of shape \(3,\)"),
        ({"ignore_index": 1}, ShapeError, "at least one"),
    ],
)
def test_options_of_cross_entropy_that_make_no_sense(options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        F.cross_entropy(leaf(np.ones((2, 3))), np.array([1, 1]), **options)
    with pytest.raises(ConfigError, match="ignore_index"):
        F.cross_entropy(leaf(np.ones((2, 3))), np.ones((2, 3)), ignore_index=1)


def test_samples_that_require_gradients_get_them(device: str) -> None:
    r = np.random.default_rng(0)
    mean, log_std = r.normal(size=(4, 3)), 0.3 * r.normal(size=3)

    def density(m: Any, s: Any, x: Any) -> Any:
        z = (x - m) * np.exp(-s)
        return (z * z * -0.5 - s - 0.5 * math.log(2 * math.pi)).sum(-1)

    inputs = put([mean, log_std, SAMPLES], device)
    y = F.normal_log_prob(*(Tensor(x, requires_grad=True) for x in inputs))
    np.testing.assert_allclose(host(y, device), density(mean, log_std, SAMPLES), rtol=1e-12)
    check_gradients(F.normal_log_prob, *inputs, order=2)

    logits, x = r.normal(size=(2, 4, 3))
    x = 1 / (1 + np.exp(-x))
    check_gradients(lambda logits, x: Bernoulli(logits).log_prob(x), *put([logits, x], device), order=2)
    y = Bernoulli(Tensor(logits)).log_prob(leaf(x))
    np.testing.assert_allclose(y.array, (x * logits - np.log1p(np.exp(logits))).sum(-1), rtol=1e-12)


def test_advantages_and_old_log_probabilities_that_require_gradients_get_them(device: str) -> None:
    r = np.random.default_rng(0)
    arrays = 0.3 * r.normal(size=6), 0.3 * r.normal(size=6), np.array([1.0, -1, 2, -2, 1, -1])

    def objective(log_prob: Any, old: Any, advantage: Any) -> Any:
        return F.clipped_surrogate(log_prob, old, advantage, 0.2)

    inputs = put(arrays, device)
    y = objective(*(Tensor(x, requires_grad=True) for x in inputs))
    np.testing.assert_allclose(host(y, device), surrogate(*arrays, 0.2), rtol=1e-12)
    check_gradients(objective, *inputs, order=2)
    check_gradients(lambda old: objective(inputs[0], old, inputs[2]), inputs[1], order=2)


def test_settings_do_not_take_gradients() -> None:
    x, number = leaf(), leaf(np.float32(0.5))[None]
    matrix = leaf(np.ones((2, 3), np.float32))
    for call in (
        lambda: F.clipped_surrogate(x, W, W, number[0]),
        lambda: F.quantile_huber_loss(matrix, matrix, x),
        lambda: F.leaky_relu(x, number[0]),
        lambda: F.elu(x, number[0]),
        lambda: F.huber_loss(x, W, number[0]),
    ):
        with pytest.raises((TypeError, GraphError), match="expected"):
            call()


def test_an_op_of_your_own_works_without_importing_the_functions() -> None:
    program = """
import numpy as np
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor
class Symlog(Op):
    def forward(self, x): return np.sign(x) * np.log1p(np.abs(x))
    def backward(self, g, y, x): return g / (1 + np.abs(x))
x = Tensor(np.array([3.0, -1.0]), requires_grad=True)
y = Symlog()(x) * 2 + abs(x)
y.sum().backward(create_graph=True)
print(x.grad.numpy().tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1.5, 0.0]", done.stderr


def test_a_computed_tensor_that_is_moved_hands_its_gradient_back() -> None:
    with standin.installed():
        w = Tensor(put(W, "cuda"), requires_grad=True)
        y = (w * w).to("cpu")
        assert type(y.array) is np.ndarray and y.op is not None
        gradient = grad((y * W).sum(), w, create_graph=True)
        np.testing.assert_allclose(host(gradient, "cuda"), 2 * W * W)
        np.testing.assert_allclose(host(grad(gradient.sum(), w), "cuda"), 2 * W)
        leaf_there = leaf().to("cuda")
        assert leaf_there.is_leaf and leaf_there.requires_grad and y.to("cpu") is y
