"""Python's own control flow is the graph: sequences of different lengths, depth and loops decided by the data."""

from typing import Any

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.debugging.gradcheck import check_gradients

HIDDEN = 3


def lstm_step(x: Any, h: Any, c: Any, w: Any, u: Any, b: Any) -> tuple[Any, Any]:
    """One step of Hochreiter & Schmidhuber's cell with a forget gate."""
    i, f, g, o = F.split(x @ w + h @ u + b, 4, axis=-1)
    c = F.sigmoid(f) * c + F.sigmoid(i) * np.tanh(g)
    return F.sigmoid(o) * np.tanh(c), c


def read(sequence: Any, w: Any, u: Any, b: Any) -> Any:
    """The last hidden state after a sequence of any length."""
    h = c = np.zeros((1, HIDDEN))
    for x in sequence:
        h, c = lstm_step(x[None], h, c, w, u, b)
    return h


def weights(r: np.random.Generator) -> list[Any]:
    return [r.normal(size=s) * 0.5 for s in ((2, 4 * HIDDEN), (HIDDEN, 4 * HIDDEN), (4 * HIDDEN,))]


def test_an_lstm_over_sequences_of_different_lengths() -> None:
    r = np.random.default_rng(0)
    sequences = [r.normal(size=(n, 2)) for n in (1, 4, 2)]

    def loss(w: Any, u: Any, b: Any) -> Any:
        return F.concatenate([read(s, w, u, b) for s in sequences]).sum()

    check_gradients(loss, *weights(r), order=2, directions=2)


def test_a_sequence_read_at_once_and_in_two_parts_agree() -> None:
    r = np.random.default_rng(1)
    w, u, b = (Tensor(v, requires_grad=True) for v in weights(r))
    s = r.normal(size=(5, 2))
    h = c = np.zeros((1, HIDDEN))
    for part in (s[:2], s[2:]):
        for x in part:
            h, c = lstm_step(x[None], h, c, w, u, b)
    np.testing.assert_array_equal(h.array, read(s, w, u, b).array)


def test_depth_decided_by_the_data() -> None:
    def f(x: Any, w: Any) -> Any:
        for _ in range(1 + int(abs(x.data).sum()) % 4):
            x = np.tanh(x @ w)
        return x

    r = np.random.default_rng(2)
    depths = set()
    for scale in (0.1, 1.0, 2.0, 3.0):
        x = r.normal(size=(2, 3)) * scale
        depths.add(1 + int(abs(x).sum()) % 4)
        check_gradients(f, x, r.normal(size=(3, 3)), order=2, directions=2)
    assert len(depths) > 1


def test_a_loop_that_ends_on_a_computed_value() -> None:
    def root(a: Any) -> Any:
        """√a by Newton's method."""
        x = a * 0.5 + 0.5
        while abs(x * x - a) > 1e-12:
            x = (x + a / x) / 2
        return x

    for value in (2.0, 9.0, 400.0):
        a = Tensor(np.array(value), requires_grad=True)
        y = root(a)
        np.testing.assert_allclose(y.item(), np.sqrt(value), rtol=1e-10)
        g = grad(y, a, create_graph=True)
        np.testing.assert_allclose(g.item(), 0.5 / np.sqrt(value), rtol=1e-6)
        np.testing.assert_allclose(grad(g, a).item(), -0.25 * value**-1.5, rtol=1e-4)


def test_a_branch_taken_by_value() -> None:
    def f(x: Any) -> Any:
        return x * x if x.sum() > 0 else -3 * x

    check_gradients(f, np.array([1.0, 2.0]), order=2)
    check_gradients(f, np.array([-1.0, -2.0]), order=2)


def test_recursion_over_a_tree() -> None:
    def value(tree: Any, w: Any) -> Any:
        return tree if isinstance(tree, float) else np.tanh(w[0] * value(tree[0], w) + w[1] * value(tree[1], w))

    check_gradients(lambda w: value(((0.3, 0.5), (0.1, (0.9, 0.2))), w), np.array([0.7, -0.4]), order=2)
