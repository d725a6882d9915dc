"""The engine: what grad, backward and no_grad promise."""

import threading
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.engine import backward, grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, no_grad, wrap
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.errors import GraphError
from tests.standin import host, put


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_backward_adds_up_over_uses_and_calls() -> None:
    x = leaf(1.0, 2.0)
    (x * x + 3 * x).sum().backward()
    np.testing.assert_allclose(x.grad, [5, 7])
    x.sum().backward()
    np.testing.assert_allclose(x.grad, [6, 8])
    x.grad = None
    x.backward(np.array([1.0, 2.0]))
    np.testing.assert_allclose(x.grad, [1, 2])


def test_grad_of_interior_tensors_and_several_outputs() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    h = x * w
    y = np.exp(h * 0.1)
    outputs = [(y * y).sum(), h.sum()]
    gx, gh, gy = grad(outputs, [x, h, y])
    np.testing.assert_allclose(gy.array, 2 * y.array)
    np.testing.assert_allclose(gh.array, 2 * y.array * 0.1 * y.array + 1)
    np.testing.assert_allclose(gx.array, gh.array * w.array)
    assert x.grad is None and w.grad is None and isinstance(gx, Tensor)


def test_second_derivatives_with_respect_to_interior_tensors() -> None:
    x = leaf(1.0, 2.0)
    h = x * 2
    first = grad((h**3).sum(), h, create_graph=True)
    at_h, at_x = grad(first.sum(), [h, x])
    np.testing.assert_allclose(first.array, 3 * h.array**2)
    np.testing.assert_allclose(at_h.array, 6 * h.array)
    np.testing.assert_allclose(at_x.array, 12 * h.array)


def test_grad_of_an_output_with_respect_to_itself_and_of_a_leaf() -> None:
    x = leaf(2.0)
    y = x * 3
    assert grad(y, y).item() == 1
    assert grad(x, x).item() == 1


def test_grad_with_weightings_is_a_vector_jacobian_product() -> None:
    x = leaf(1.0, 2.0, 3.0)
    g = grad(x * x, x, grad_outputs=np.array([1.0, 0.0, -1.0]))
    np.testing.assert_allclose(g.array, [2, 0, -6])
    g = grad([x * x, x + 0], [x], [np.ones(3), np.full(3, 2.0)])[0]
    np.testing.assert_allclose(g.array, [4, 6, 8])


def test_backward_of_several_quantities_is_that_of_their_weighted_sum() -> None:
    one, two = leaf(1.0, 2.0), leaf(1.0, 2.0)
    h = np.tanh(one)
    backward([(h * h).sum(), h.sum(), one.mean()], [1.0, -0.5, 3.0])
    h = np.tanh(two)
    ((h * h).sum() - 0.5 * h.sum() + 3 * two.mean()).backward()
    np.testing.assert_allclose(one.grad, two.grad, rtol=1e-14)
    y = (one * one).sum()
    one.grad = None
    backward([y, y], retain_graph=True)
    np.testing.assert_allclose(one.grad, 4 * one.array)
    with pytest.raises(GraphError, match="requires_grad"):
        backward([y, Tensor(1.0)])


def test_what_the_output_does_not_depend_on() -> None:
    x, unused = leaf(1.0), leaf(1.0)
    assert grad((x * 2).sum(), [x, unused], allow_unused=True)[1] is None


def test_gradients_reach_only_those_who_ask() -> None:
    x, constant = leaf(1.0, 2.0), Tensor(np.array([3.0, 4.0]))
    (x * constant).sum().backward()
    assert constant.grad is None
    cut = (x * x).detach()
    assert cut.op is None and not cut.requires_grad
    frozen = leaf(1.0).requires_grad_(False)
    assert (frozen * 2).op is None


def test_a_tensor_used_in_two_places_gets_both_gradients() -> None:
    w = Tensor(np.ones((2, 2)), requires_grad=True)
    x = np.array([[1.0, 2.0]])
    (np.tanh(x @ w) @ w).sum().backward()
    together = w.grad.copy()
    a, b = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    (np.tanh(x @ a) @ b).sum().backward()
    np.testing.assert_allclose(together, a.grad + b.grad)


def test_third_derivatives() -> None:
    x = leaf(0.7)
    y = np.sin(x) * x
    for expected in (
        np.sin(0.7) + 0.7 * np.cos(0.7),
        2 * np.cos(0.7) - 0.7 * np.sin(0.7),
        -3 * np.sin(0.7) - 0.7 * np.cos(0.7),
    ):
        y = grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.array, [expected], rtol=1e-12)


def test_backward_with_create_graph_leaves_differentiable_gradients() -> None:
    x = leaf(1.0, 2.0)
    (x**3).sum().backward(create_graph=True)
    assert isinstance(x.grad, Tensor)
    gradient, x.grad = x.grad, None
    (gradient * gradient).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * 3 * x.array**2 * 6 * x.array)


def test_powers_are_exact_at_zero() -> None:
    for exponent, first, second in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (2.5, 0, 0)):
        for b in (exponent, np.array([exponent, exponent], float)):
            x = leaf(0.0, 0.0)
            with np.errstate(all="raise"):
                g = grad((x**b).sum(), x, create_graph=True)
                np.testing.assert_array_equal(g.array, [first, first])
                if g.requires_grad and exponent != 0 and not (exponent == 1 and not np.isscalar(b)):
                    np.testing.assert_array_equal(grad(g.sum(), x, allow_unused=True).array, [second, second])


def test_ties_share_the_gradient() -> None:
    for f in (F.maximum, F.minimum):
        a, b = leaf(1.0, 2.0), leaf(1.0, 3.0)
        ga, gb = grad(f(a, b).sum(), [a, b])
        np.testing.assert_array_equal(ga.array + gb.array, [1, 1])
        assert ga.array[0] == 0.5
    x = leaf(3.0, 3.0, 1.0)
    np.testing.assert_allclose(grad(x.max(), x).array, [0.5, 0.5, 0])
    x = leaf(-1.0, 0.0, 0.5, 1.0, 2.0)
    np.testing.assert_array_equal(grad(F.clip(x, 0, 1).sum(), x).array, [0, 1, 1, 1, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [3.3, 0.0, 12_345.678])
def test_equal_numbers_have_no_deviation_and_no_gradient_of_it(value: float, dtype: type, device: str) -> None:
    x = Tensor(put(np.full((2, 100), value, dtype), device), requires_grad=True)
    for f in (F.std, F.var, lambda x: F.std(x, axis=1, ddof=1), lambda x: F.std(x, axis=0, keepdims=True)):
        y = f(x)
        (g,) = grad(y.sum(), [x], create_graph=True)
        assert not host(y, device).any() and not host(g, device).any()
    assert not host(F.layer_norm(x), device).any()
    x = Tensor(put(np.array([[1.0, 1.0], [1.0, 3.0]], dtype), device), requires_grad=True)
    np.testing.assert_array_equal(host(grad(F.std(x, axis=1).sum(), x), device), [[0, 0], [-0.5, 0.5]])


def test_bounds_of_clip_may_be_tensors() -> None:
    check_gradients(
        lambda x, a, b: F.clip(x, a, b), np.array([-2.0, 0.1, 3.0]), np.array([-1.0]), np.array(1.5), order=2
    )


def test_entropy_of_impossible_actions_is_finite() -> None:
    logits = leaf(0.0, 1.0, 2.0)
    masked = np.where(np.array([True, False, True]), logits, -np.inf)
    log_probs = F.log_softmax(masked)
    h = F.entropy(log_probs)
    p = 1 / (1 + np.exp(2))
    np.testing.assert_allclose(h.item(), -p * np.log(p) - (1 - p) * np.log(1 - p))
    h.backward()
    assert np.isfinite(logits.grad).all() and logits.grad[1] == 0


def test_large_inputs_do_not_overflow() -> None:
    x = leaf(-1000.0, 0.0, 1000.0)
    with np.errstate(over="raise", invalid="raise"):
        for f in (F.sigmoid, F.softplus, F.softmax, F.log_softmax, F.logsumexp, F.silu, F.elu, F.tanh, F.gelu):
            g = grad(f(x).sum(), x)
            assert np.isfinite(f(x).array).all() and np.isfinite(g.array).all(), f


def two_layer_net(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """A softmax policy's loss: weighted log-probabilities of actions, minus entropy."""
    log_probs = F.log_softmax(F.linear(np.tanh(F.linear(x, w1, b1)), w2, b2))
    chosen = F.pick(log_probs, np.array([0, 2, 1, 1, 0]))
    advantage = np.array([1.0, -0.5, 2.0, 0.3, -1.0])
    return -(chosen * advantage).mean() - 0.05 * F.entropy(log_probs).mean()


def test_hessian_vector_product_of_a_two_layer_net_with_a_softmax_head() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(5, 4))
    weights = [r.normal(size=s) * 0.5 for s in ((6, 4), (6,), (3, 6), (3,))]
    vector = [r.normal(size=w.shape) for w in weights]

    def gradient(values: list[Any]) -> list[Any]:
        leaves = [Tensor(v, requires_grad=True) for v in values]
        return [g.array for g in grad(two_layer_net(x, *leaves), leaves)]

    leaves = [Tensor(w, requires_grad=True) for w in weights]
    gs = grad(two_layer_net(x, *leaves), leaves, create_graph=True)
    product = grad(sum((g * v).sum() for g, v in zip(gs, vector, strict=True)), leaves)
    step = 1e-5
    plus = gradient([w + step * v for w, v in zip(weights, vector, strict=True)])
    minus = gradient([w - step * v for w, v in zip(weights, vector, strict=True)])
    for got, up, down in zip(product, plus, minus, strict=True):
        np.testing.assert_allclose(got.array, (up - down) / (2 * step), rtol=1e-6, atol=1e-9)


def test_no_grad_as_context_and_decorator_nests_and_ends_with_errors() -> None:
    x = leaf(1.0)

    @no_grad()
    def inside(y: Any) -> Any:
        """Doubled."""
        return y * 2

    assert inside(x).op is None and inside.__doc__ == "Doubled."
    with no_grad():
        with no_grad():
            pass
        assert (x * 2).op is None
    assert (x * 2).op is not None
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).op is not None


def test_no_grad_may_be_entered_again_inside_itself() -> None:
    x, off = leaf(1.0), no_grad()
    with off:
        with off:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_grad_with_respect_to_nothing_touches_no_leaf() -> None:
    x = leaf(1.0)
    assert grad((x * 2).sum(), []) == [] and x.grad is None


def test_no_grad_holds_for_its_own_thread_only() -> None:
    x = leaf(1.0)
    recorded: list[bool] = []

    def other() -> None:
        recorded.append((x * 2).op is not None)

    with no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (x * 2).op is None
    assert recorded == [True]


def test_threads_build_and_walk_their_own_graphs() -> None:
    results: dict[int, Any] = {}

    def work(seed: int) -> None:
        x = Tensor(np.random.default_rng(seed).normal(size=50), requires_grad=True)
        for _ in range(50):
            x.grad = None
            np.tanh(x * seed).sum().backward()
        results[seed] = (x.grad, seed * (1 - np.tanh(x.array * seed) ** 2))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 7)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 6
    for got, expected in results.values():
        np.testing.assert_allclose(got, expected)


def test_a_user_writes_an_op() -> None:
    class Cube(Op):
        """y = x³."""

        def forward(self, x: Any) -> Any:
            return x * x * x

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return g * (3 * x * x)

    check_gradients(lambda x: Cube()(x), np.array([0.5, -1.0]), order=2)
    assert isinstance(Cube()(np.ones(2)), np.ndarray)


def test_retain_graph_allows_a_second_walk() -> None:
    x = leaf(1.0, 2.0)
    y = F.entropy(F.log_softmax(x * x)) + F.mse_loss(x, np.zeros(2))
    first = grad(y, x, retain_graph=True)
    second = grad(y, x, retain_graph=True)
    np.testing.assert_array_equal(first.array, second.array)


def test_setting_data_and_items_without_recording() -> None:
    x = leaf(1.0, 2.0)
    with no_grad():
        x[0] = 5.0
    x.data = np.array([3.0, 4.0])
    np.testing.assert_array_equal(x.array, [3, 4])
    y = Tensor([1.0, 2.0])
    y[0] = 7.0
    assert y.array.tolist() == [7, 2]


def test_repr_shows_what_one_looks_for() -> None:
    assert repr(leaf(1.0)) == "Tensor([1.], dtype=float64, requires_grad=True)"
    assert "op=Multiply" in repr(leaf(1.0) * 2)
    assert leaf(1.0).is_leaf and not (leaf(1.0) * 2).is_leaf


def test_a_walk_that_failed_leaves_nothing_behind() -> None:
    class Fails(Op):
        broken = True

        def forward(self, x: Any) -> Any:
            return x * 5

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            if self.broken:
                raise KeyError("once")
            return g * 5

    x, op = leaf(1.0, 2.0), Fails()
    h = x * 2
    loss = (op(h) + h * 3).sum()
    with pytest.raises(KeyError):
        loss.backward(retain_graph=True)
    op.broken = False
    loss.backward()
    np.testing.assert_array_equal(x.grad, [16, 16])


@pytest.mark.parametrize("values", [[1, 2, 3], [True, False, True]])
def test_an_integer_tensor_may_be_changed_before_it_enters_a_graph(values: list[Any], device: str) -> None:
    i = Tensor(put(np.array(values), device))
    i[0] = 5
    i.data = i.data + i.data
    x = Tensor(put(np.array([1.0, 2.0, 3.0]), device), requires_grad=True)
    (x * i).sum().backward()
    np.testing.assert_array_equal(host(x.grad, device), host(i, device))
    loss = (x * i).sum()
    i[0] = 0  # the graph has a copy of floating-point type
    loss.backward()
    np.testing.assert_array_equal(host(x.grad, device)[1:], 2 * host(i, device)[1:].astype(float))


def test_a_computed_tensor_cannot_be_made_to_want_no_gradient() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    with pytest.raises(GraphError, match=r"got what Multiply computed.*use detach\(\)"):
        y.requires_grad_(False)
    y.requires_grad = False
    with pytest.raises(GraphError, match=r"requires_grad of what Multiply computed \(shape \(2,\)\).*detach\(\)"):
        (y * x).sum().backward()
    assert y.requires_grad_().requires_grad
    with no_grad():
        assert not (x * x).requires_grad_().requires_grad_(False).requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("narrow", [np.float16, np.float32])
def test_a_gradient_has_the_type_of_its_leaf(narrow: type, create_graph: bool, device: str) -> None:
    x, wide = (Tensor(put(np.ones(2, t), device), requires_grad=True) for t in (narrow, np.float64))
    for _ in range(2):
        y = (x * wide).sum()
        y.backward(create_graph=create_graph)
    assert x.grad.dtype == narrow and wide.grad.dtype == np.float64
    got = grad((x * wide).sum(), [x, wide], create_graph=create_graph)
    assert [g.dtype for g in got] == [narrow, np.float64]
    (g,) = grad(x * 2, [x], Tensor(put(np.ones(2), device)), create_graph=create_graph)
    assert g.dtype == narrow


@pytest.mark.parametrize(
    ("given", "create_graph"), [("array", False), ("array", True), ("tensor", False), ("tensor", True), ("made", False)]
)
@pytest.mark.parametrize(
    "f", [lambda a, b: a + b, lambda a, b: a.reshape(2) + b.T, lambda a, b: F.concatenate([a[:1], b[1:]]) + a + b]
)
def test_a_gradient_has_memory_of_its_own(f: Any, given: str, create_graph: bool, device: str) -> None:
    a, b = (Tensor(put(np.ones(2), device), requires_grad=True) for _ in "ab")
    plain = put(np.array([2.0, 3.0]), device)
    g: Any = plain if given == "array" else Tensor(plain, requires_grad=given == "made")
    g = g * 1.0 if given == "made" else g
    got = grad(f(a, b), [a, b], g, create_graph=create_graph)
    f(a, b).backward(g, create_graph=create_graph)
    results = [*got, *(x.grad if isinstance(x.grad, Tensor) else wrap(x.grad) for x in (a, b))]
    arrays = [r.array for r in results] + [getattr(g, "array", g)]
    for i, one in enumerate(arrays):
        assert not any(np.may_share_memory(one, other) for other in arrays[:i])
    assert isinstance(a.grad, Tensor) == create_graph
