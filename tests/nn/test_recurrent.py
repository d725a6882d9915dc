"""Recurrent networks: PyTorch's equations, written gate by gate, over steps, layers, episodes and unequal lengths."""

from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError, ShapeError
from tests.nn.checks import check_float32, check_module, dtypes, joined

T, B, N, H = 5, 3, 4, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(T, B, N))
KINDS = [nn.RNN, nn.GRU, nn.LSTM]
kinds = pytest.mark.parametrize("kind", KINDS)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def one_step(cell: nn.Module, x: Any, state: Any) -> Any:
    """The next state by the equations, one gate at a time, in float64."""
    p = {name: v.array.astype(np.float64) for name, v in cell.named_parameters()}

    def gate(k: int, part: str) -> Any:
        rows = slice(k * H, (k + 1) * H)
        inner = (x if part == "ih" else state[0]) @ p[f"weight_{part}"][rows].T
        return inner + p[f"bias_{part}"][rows] if f"bias_{part}" in p else inner

    if isinstance(cell, nn.RNNCell):
        return (np.tanh(gate(0, "ih") + gate(0, "hh")),)
    if isinstance(cell, nn.GRUCell):
        r, z = sigmoid(gate(0, "ih") + gate(0, "hh")), sigmoid(gate(1, "ih") + gate(1, "hh"))
        n = np.tanh(gate(2, "ih") + r * gate(2, "hh"))
        return ((1 - z) * n + z * state[0],)
    i, f, g, o = (gate(k, "ih") + gate(k, "hh") for k in range(4))
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def reference(model: Any, x: Any, states: Any = None, reset: Any = None, lengths: Any = None) -> tuple[Any, Any]:
    """Outputs and last state, one sequence, one layer, one step at a time."""
    parts = 2 if isinstance(model, nn.LSTM) else 1
    layers = len(model.cells)
    outputs, last = np.zeros((*x.shape[:2], H)), np.zeros((parts, layers, x.shape[1], H))
    for b in range(x.shape[1]):
        sequence = x[:, b]
        for k, cell in enumerate(model.cells):
            state = tuple(np.zeros(H) if states is None else states[i][k, b] for i in range(parts))
            above = np.zeros((len(x), H))
            for t in range(len(x) if lengths is None else lengths[b]):
                if reset is not None and reset[t, b]:
                    state = tuple(np.zeros(H) for _ in state)
                state = one_step(cell, sequence[t], state)
                above[t] = state[0]
            sequence, last[:, k, b] = above, state
        outputs[:, b] = sequence
    return outputs, last


def assert_same(got: Any, expected: Any) -> None:
    outputs, state = got
    np.testing.assert_allclose(outputs.array, expected[0], rtol=1e-4, atol=1e-6)
    last = [part.array for part in (state if isinstance(state, tuple) else (state,))]
    np.testing.assert_allclose(last, expected[1], rtol=1e-4, atol=1e-6)


@kinds
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_equations(kind: Any, layers: int, bias: bool) -> None:
    model = kind(N, H, layers, bias=bias, rng=1)
    outputs, state = model(X)
    assert outputs.shape == (T, B, H) and isinstance(state, tuple) == (kind is nn.LSTM)
    assert_same((outputs, state), reference(model, X))
    assert_same(model(X[:1]), reference(model, X[:1]))


@kinds
def test_a_cell_is_one_step(kind: Any) -> None:
    cell = kind.cell(N, H, rng=0)
    state = tuple(RNG.normal(size=(2 if kind is nn.LSTM else 1, B, H)))
    after = cell(X[0], state if kind is nn.LSTM else state[0])
    expected = one_step(cell, X[0], state)
    np.testing.assert_allclose(joined(after).array, np.concatenate([e.ravel() for e in expected]), rtol=1e-4, atol=1e-6)
    zeros = joined(cell(X[0])).array
    np.testing.assert_allclose(zeros, np.ravel(one_step(cell, X[0], (np.zeros((B, H)),) * 2)), rtol=1e-4, atol=1e-6)
    check_float32(cell, X[0].astype(np.float32))
    check_module(cell, X[0])
    assert repr(cell) == f"{kind.__name__}Cell(4, 2)"


@pytest.mark.parametrize(
    ("kind", "output", "memory"),
    [
        (nn.RNN, [0.84468089, -0.38116733], []),
        (nn.GRU, [-0.48477179, 0.71051123], []),
        (nn.LSTM, [-0.14667528, 0.10057423], [-0.16944498, 0.29965356]),
    ],
)
def test_the_numbers_that_pytorch_gives(kind: Any, output: list[float], memory: list[float]) -> None:
    model = kind(2, 2, rng=0).astype(np.float64)
    for k, p in enumerate(model.parameters()):
        p.data = np.sin(np.arange(p.size) + k).reshape(p.shape)
    outputs, state = model(np.cos(np.arange(6.0)).reshape(3, 1, 2))
    np.testing.assert_allclose(outputs.array[-1].ravel(), output, atol=1e-8)
    if memory:
        np.testing.assert_allclose(state[1].array.ravel(), memory, atol=1e-8)


@kinds
def test_a_sequence_in_two_pieces_is_the_sequence(kind: Any) -> None:
    model = kind(N, H, 2, rng=0)
    outputs, state = model(X)
    first, between = model(X[:2])
    second, last = model(X[2:], between)
    np.testing.assert_allclose(np.concatenate([first.array, second.array]), outputs.array, atol=1e-6)
    np.testing.assert_allclose(joined(last).array, joined(state).array, atol=1e-6)
    given = tuple(s.data for s in between) if kind is nn.LSTM else between.data
    np.testing.assert_array_equal(model(X[2:], given)[0].array, second.array)


@kinds
def test_reset_starts_an_episode_anew(kind: Any) -> None:
    model = kind(N, H, 2, rng=0)
    reset = np.zeros((T, B), bool)
    reset[2, 0] = reset[3] = reset[0, 1] = True
    states = RNG.normal(size=(2 if kind is nn.LSTM else 1, 2, B, H))
    state = tuple(states) if kind is nn.LSTM else states[0]
    assert_same(model(X, state, reset=reset), reference(model, X, states, reset))
    np.testing.assert_array_equal(model(X, state, reset.astype(np.float32))[0].array, model(X, state, reset)[0].array)
    np.testing.assert_allclose(model(X, state, reset)[0].array[3:], model(X[3:])[0].array, atol=1e-6)


@kinds
def test_sequences_of_different_lengths(kind: Any) -> None:
    model, lengths = kind(N, H, 2, rng=0), np.array([5, 1, 3])
    outputs, state = model(X, lengths=lengths)
    assert_same((outputs, state), reference(model, X, lengths=lengths))
    for b, n in enumerate(lengths):
        alone, end = model(X[:n, b : b + 1])
        np.testing.assert_allclose(outputs.array[:n, b], alone.array[:, 0], atol=1e-6)
        assert not outputs.array[n:, b].any()
        ours = state[1] if kind is nn.LSTM else state
        theirs = end[1] if kind is nn.LSTM else end
        np.testing.assert_allclose(ours.array[:, b], theirs.array[:, 0], atol=1e-6)


@kinds
def test_batch_first(kind: Any) -> None:
    model, other = kind(N, H, rng=0), kind(N, H, batch_first=True, rng=0)
    reset = RNG.random((T, B)) < 0.3
    straight, state = model(X, reset=reset, lengths=[5, 2, 4])
    swapped, same = other(X.swapaxes(0, 1), reset=reset.T, lengths=[5, 2, 4])
    np.testing.assert_array_equal(swapped.array, straight.array.swapaxes(0, 1))
    np.testing.assert_array_equal(joined(same).array, joined(state).array)


@kinds
def test_gradients(kind: Any) -> None:
    check_module(kind(N, H, 2, bias=False, rng=0), X[:3])
    check_module(kind(N, H, rng=0), X[:1])
    reset = np.zeros((3, B), bool)
    reset[1, 1] = reset[2] = True
    check_module(kind(N, H, rng=0), X[:3], reset=reset, lengths=[3, 2, 1])


@kinds
def test_the_state_gets_its_gradient(kind: Any) -> None:
    model = kind(N, H, rng=0)
    h = Tensor(RNG.normal(size=(1, B, H)), requires_grad=True)
    model(X, (h, h) if kind is nn.LSTM else h)[0].sum().backward()
    assert h.grad.shape == h.shape and np.all(h.grad != 0)
    h.grad = None
    first = np.zeros((T, B), bool)
    first[0] = True
    model(X, (h, h) if kind is nn.LSTM else h, reset=first)[0].sum().backward()
    assert not h.grad.any()


@kinds
def test_dtypes(kind: Any) -> None:
    check_float32(kind(N, H, 2, rng=0), X.astype(np.float32))
    wide = kind(N, H, rng=0).astype(np.float64)
    assert dtypes(wide(X)) == {"float64"}
    reset = np.ones((T, B), bool)
    assert dtypes(kind(N, H, rng=0)(X, None, reset, [1, 2, 3])) == {"float32"}


@kinds
def test_a_python_loop_over_sequences_of_different_lengths(kind: Any) -> None:
    model = kind(N, H, rng=0)
    cell = model.cells[0]
    sequences = [RNG.normal(size=(n, N)) for n in (1, 4, 2)]
    total, expected = 0.0, 0.0
    for sequence in sequences:
        state = None
        for x in sequence:
            state = cell(x[None], state)
        total = total + F.sum(state[0] if kind is nn.LSTM else state)
        expected += reference(model, sequence[:, None])[0][-1].sum()
    assert total.item() == pytest.approx(expected, rel=1e-4)  # type: ignore[attr-defined]
    total.backward()  # type: ignore[attr-defined]
    by_loop = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    padded = np.zeros((4, 3, N))
    for b, sequence in enumerate(sequences):
        padded[: len(sequence), b] = sequence
    _, state = model(padded, lengths=[1, 4, 2])
    (state[0] if kind is nn.LSTM else state).sum().backward()
    for p, g in zip(model.parameters(), by_loop, strict=True):
        np.testing.assert_allclose(p.grad, g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(X[0]), r"LSTM: expected x \(T, B, 4\) of at least one step, got \(3, 4\)"),
        (lambda m: m(X[:0]), r"of at least one step, got \(0, 3, 4\)"),
        (lambda m: m(X[..., :2]), r"expected x \(T, B, 4\).*got \(5, 3, 2\)"),
        (lambda m: m(X, np.zeros((1, B, H))), r"expected 2 states \(1, 3, 2\)"),
        (lambda m: m(X, (np.zeros((B, H)),) * 2), r"expected 2 states \(1, 3, 2\), got \[\(3, 2\), \(3, 2\)\]"),
        (lambda m: m(X, reset=np.zeros(T)), r"expected reset for 5 steps of 3 sequences, got \(5,\)"),
        (lambda m: m(X, lengths=[1, 2]), r"expected lengths for 5 steps of 3 sequences, got \(5, 2\)"),
        (lambda m: m.cells[0](X), r"LSTMCell: expected x \(B, 4\), got \(5, 3, 4\)"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(nn.LSTM(N, H, rng=0))


def test_sizes_out_of_range() -> None:
    with pytest.raises(ConfigError, match="LSTM: expected num_layers of 1 or more, got 0"):
        nn.LSTM(N, H, 0)
    with pytest.raises(ConfigError, match="GRUCell: expected a hidden_size of 1 or more, got 0"):
        nn.GRU(N, 0)


def test_repr() -> None:
    assert repr(nn.GRU(N, H, 2, rng=0)).startswith("GRU(4, 2, num_layers=2\n  cells.0: GRUCell(4, 2)\n")
