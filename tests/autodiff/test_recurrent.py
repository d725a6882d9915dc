"""Whole sequences as one op: the loops against the same steps in recorded ops, and what a caller can get wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import detect_anomaly
from dbrrl.autodiff import lstm, recurrent, sequence
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.errors import ShapeError

KINDS = [recurrent.RNN, recurrent.GRU, lstm.LSTM]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.lower())


def point(kind: Any, steps: int, batch: int, n: int, size: int, biased: bool = True) -> list[Any]:
    """Inputs of the op."""
    rows, r = kind.gates * size, np.random.default_rng(0)
    biases = [(rows,), (rows,)] if biased else []
    shapes = [(steps, batch, n), (rows, n), (rows, size), *[(batch, size)] * kind.parts, *biases]
    return [r.uniform(-1, 1, shape) / np.sqrt(shape[-1]) for shape in shapes]


def ends(steps: int, batch: int) -> tuple[Any, Any]:
    """Some episodes that begin, and lengths: one none at all, one whole."""
    r = np.random.default_rng(1)
    lengths = r.integers(0, steps + 1, batch)
    lengths[0], lengths[-1] = 0, steps
    return r.random((steps, batch)) < 0.3, lengths


def both(kind: Any, arrays: list[Any], reset: Any, lengths: Any) -> tuple[list[Any], list[Any]]:
    """Output and gradients: by the loops, and by recorded steps."""
    results: list[list[Any]] = []
    for recorded in (False, True):
        inputs = [Tensor(a, requires_grad=True) for a in arrays]
        start, biases = inputs[3 : 3 + kind.parts], inputs[3 + kind.parts :]
        y = sequence.run(kind, *inputs[:3], tuple(start), tuple(biases), reset, lengths)
        y = y.op.recorded(*inputs) if recorded else y
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        results.append([y.array, *(g.array for g in grad((y * weights).sum(), inputs))])
    return results[0], results[1]


@kinds
@pytest.mark.parametrize(
    ("steps", "batch", "n", "size", "biased"),
    [(1, 1, 3, 2, True), (7, 3, 4, 5, True), (6, 2, 3, 4, False), (5, 20, 3, 4, True), (3, 30, 130, 65, True)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_the_loops_are_the_recorded_steps(
    kind: Any, steps: int, batch: int, n: int, size: int, biased: bool, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "CHUNK", kind.gates * batch * size * 8)  # two steps, and at the end sometimes one
    assert (n * size > sequence.SMALL) == (n == 130)
    reset, lengths = ends(steps, batch) if masked else (None, None)
    loops, recorded = both(kind, point(kind, steps, batch, n, size, biased), reset, lengths)
    for a, b in zip(loops, recorded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@kinds
def test_what_follows_the_end_of_a_sequence_is_no_part_of_it(kind: Any) -> None:
    x, *rest = point(kind, 4, 2, 3, 2)
    reset, lengths = np.zeros((4, 2), bool), [2, 4]
    function = getattr(F, kind.__name__.lower())
    expected = function(x, *rest, lengths=lengths)
    reset[2:, 0] = True
    x[2:, 0] = 1e3
    for a, b in zip(function(x, *rest, reset=reset, lengths=lengths), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@kinds
def test_a_graph_walked_twice_gives_the_same_gradients(kind: Any) -> None:
    arrays = point(kind, 5, 3, 2, 4)
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    outputs = getattr(F, kind.__name__.lower())(*inputs)[0]
    first, second = (grad((outputs * outputs).sum(), inputs, retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    with no_grad():
        np.testing.assert_array_equal(getattr(F, kind.__name__.lower())(*inputs)[0].array, outputs.array)
    for tensor, a in zip(inputs, arrays, strict=True):
        np.testing.assert_array_equal(tensor.array, a)


@kinds
def test_second_derivatives_of_inputs_that_share_a_past(kind: Any) -> None:
    arrays = point(kind, 2, 2, 2, 2)

    def f(a: Any) -> Any:
        x, start = np.sin(a), (np.cos(a[0]),) * kind.parts
        outputs, *_ = getattr(F, kind.__name__.lower())(x, *arrays[1:3], *start)
        return np.tanh(outputs) * x * a

    check_gradients(f, arrays[0], order=2, atol=1e-6)


@kinds
def test_third_derivatives(kind: Any) -> None:
    arrays = point(kind, 2, 1, 1, 1)
    call: Callable[..., Any] = getattr(F, kind.__name__.lower())

    def slope(x: Any) -> Any:
        return grad(call(x, *arrays[1:])[0].sum(), x, create_graph=True)

    check_gradients(lambda x: slope(x) * 1, arrays[0], order=2, atol=1e-6)


@kinds
def test_the_debugger_looks_on(kind: Any) -> None:
    arrays = point(kind, 3, 2, 2, 2)
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    with detect_anomaly():
        outputs, *_ = getattr(F, kind.__name__.lower())(*inputs)
        (first,) = grad(outputs.sum(), inputs[:1], create_graph=True)
        (first * first).sum().backward()
    assert all(x.grad is not None and np.isfinite(x.grad).all() for x in inputs[:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: (3, 2)}, r"lstm: expected x \(T, B, n\) of at least one step, .* got \[\(3, 2\), "),
        ({0: (0, 2, 3)}, r"at least one step"),
        ({1: (8, 4)}, r"weights \(4 H, n\) and \(4 H, H\)"),
        ({2: (7, 2)}, r"weights \(4 H, n\) and \(4 H, H\)"),
        ({3: (1, 2)}, r"2 \(B, H\) of state"),
        ({5: (2,)}, r"both biases \(4 H,\) or none"),
        ({5: None}, r"both biases \(4 H,\) or none"),
    ],
)
def test_shapes_that_do_not_fit(change: dict[int, Any], message: str) -> None:
    arrays = point(lstm.LSTM, 3, 2, 3, 2)
    for i, shape in change.items():
        arrays[i] = None if shape is None else np.zeros(shape)
    with pytest.raises(ShapeError, match=message):
        F.lstm(*arrays)


def test_resets_and_lengths_that_do_not_fit() -> None:
    arrays = point(recurrent.GRU, 3, 2, 3, 2)
    with pytest.raises(ShapeError, match=r"gru: expected reset for 3 steps of 2 sequences, got \(2, 3\)"):
        F.gru(*arrays, reset=np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"gru: expected lengths for 3 steps of 2 sequences, got \(3, 3\)"):
        F.gru(*arrays, lengths=[1, 2, 3])
