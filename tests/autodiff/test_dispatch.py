"""NumPy's own functions and operators on tensors, and which dtype comes out."""

import operator
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import DtypeError

X = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]], np.float32)


def tensor(values: Any = X) -> Tensor:
    return Tensor(values, requires_grad=True)


UFUNCS = [
    np.negative, np.exp, np.expm1, np.square, np.abs, np.absolute, np.sin, np.cos, np.tanh,
]  # fmt: skip
POSITIVE_UFUNCS = [np.log, np.log1p, np.sqrt]
BINARY = [np.add, np.subtract, np.multiply, np.divide, np.true_divide, np.maximum, np.minimum]


@pytest.mark.parametrize("ufunc", [*UFUNCS, *POSITIVE_UFUNCS], ids=lambda f: f.__name__)
def test_ufuncs_of_one_input_record(ufunc: Any) -> None:
    values = np.abs(X) if ufunc in POSITIVE_UFUNCS else X
    y = ufunc(tensor(values))
    assert isinstance(y, Tensor) and y.op is not None and y.dtype == np.float32
    np.testing.assert_allclose(y.array, ufunc(values), rtol=1e-6)


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda f: f.__name__)
def test_ufuncs_of_two_inputs_take_tensors_on_either_side(ufunc: Any) -> None:
    other = np.array([3.0, 1.0, -2.0])
    for y, expected in (
        (ufunc(tensor(), other), ufunc(X, other)),
        (ufunc(other, tensor()), ufunc(other, X)),
        (ufunc(tensor(), 2.0), ufunc(X, 2.0)),
        (ufunc(np.float64(2), tensor()), ufunc(2.0, X)),
        (ufunc(tensor(), tensor(other.astype(np.float32))), ufunc(X, other)),
    ):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.array, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow"])
def test_operators_with_a_plain_array_on_the_left(name: str) -> None:
    f = getattr(operator, name)
    left = np.abs(X[0]) + 1
    for a in (left, left.astype(np.float64), left[0], float(left[0]), np.float32(2), np.int64(2), np.arange(1, 4)):
        t = tensor()
        y = f(a, t)
        assert isinstance(y, Tensor) and y.dtype == np.float32
        np.testing.assert_allclose(y.array, f(np.asarray(a, np.float64), X.astype(np.float64)), rtol=1e-5)
        y.sum().backward()
        assert t.grad.dtype == np.float32


def test_matrix_product_with_a_plain_array_on_the_left() -> None:
    t = tensor()
    y = np.ones((4, 2)) @ t
    assert isinstance(y, Tensor) and y.dtype == np.float32
    np.testing.assert_allclose(y.array, np.ones((4, 2)) @ X, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(t.grad, np.full((2, 3), 4, np.float32))


NUMPY_CALLS = [
    lambda x: np.sum(x, 0),
    lambda x: np.sum(x, axis=1, keepdims=True),
    lambda x: np.sum(x, 1, None, None, True),
    lambda x: np.sum(x, axis=-1, dtype=None, out=None),
    lambda x: np.mean(x, 1),
    lambda x: np.mean(x, axis=(0, 1), keepdims=True),
    lambda x: np.var(x, 0, None, None, 1),
    lambda x: np.var(x, axis=0, ddof=1),
    lambda x: np.std(x),
    lambda x: np.std(x, axis=1, keepdims=True),
    lambda x: np.max(x, 0),
    lambda x: np.max(x, 0, None, True),
    lambda x: np.min(x, axis=-1),
    lambda x: np.amax(x),
    lambda x: np.clip(x, -1, 1),
    lambda x: np.clip(x, a_min=-1, a_max=None),
    lambda x: np.clip(x, np.zeros(3), None),
    lambda x: np.concatenate([x, x], axis=-1),
    lambda x: np.concatenate([X, x], 0),
    lambda x: np.stack((x, x), 1),
    lambda x: np.split(x, 3, 1)[2],
    lambda x: np.split(x, [1], axis=1)[1],
    lambda x: np.reshape(x, (3, 2)),
    lambda x: np.reshape(x, -1),
    lambda x: np.transpose(x),
    lambda x: np.transpose(x, (1, 0)),
    lambda x: np.transpose(x, axes=(1, 0)),
    lambda x: np.swapaxes(x, 0, 1),
    lambda x: np.expand_dims(x, 0),
    lambda x: np.squeeze(x[:, :1], 1),
    lambda x: np.broadcast_to(x, (2, 2, 3)),
    lambda x: np.take(x, [0, 0], 1),
    lambda x: np.take(x, [5, 0]),
    lambda x: np.take_along_axis(x, np.array([[0], [2]]), 1),
    lambda x: np.where(X > 0, x, 0.0),
    lambda x: np.where(X > 0, 1.0, x),
    lambda x: np.matmul(x, X.T),
    lambda x: np.dot(x, X[0]),
    lambda x: np.power(x, 2),
    lambda x: x**2,
    lambda x: x.T @ x,
    lambda x: x[::-1, 1:],
    lambda x: x[X > 0],
    lambda x: abs(-x) + +x,
]


@pytest.mark.parametrize("call", NUMPY_CALLS, ids=range(len(NUMPY_CALLS)))
def test_numpy_functions_take_their_own_arguments(call: Any) -> None:
    t = tensor()
    y = call(t)
    assert isinstance(y, Tensor) and y.dtype == np.float32
    np.testing.assert_allclose(y.array, call(X), rtol=1e-6)
    y.sum().backward()
    assert t.grad.dtype == np.float32 and t.grad.shape == X.shape


def test_newer_names_of_the_bounds_of_clip() -> None:
    np.testing.assert_array_equal(F.clip(tensor(), min=0, max=1).array, np.clip(X, 0, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sum(x, dtype=np.float64),
        lambda x: np.sum(x, 0, np.float64),
        lambda x: np.sum(x, initial=1.0),
        lambda x: np.mean(x, where=X > 0),
        lambda x: np.max(x, where=X > 0, initial=0),
        lambda x: np.add(x, 1, where=X > 0),
        lambda x: np.add(x, x, dtype=np.float64),
        lambda x: np.add(x, x, out=np.zeros_like(X)),
        lambda x: operator.iadd(np.zeros_like(X), x),
        lambda x: np.concatenate([x, x], out=np.zeros((4, 3))),
        lambda x: np.cbrt(x),
        lambda x: np.add.reduce(x),
        lambda x: np.add.outer(x, x),
        lambda x: np.linalg.det(x),
        lambda x: np.einsum("ij->i", x, dtype=np.float64),
        lambda x: np.cumsum(x, 0, np.float64),
        lambda x: np.asarray(x),
        lambda x: np.array([x, x]),
    ],
    ids=range(18),
)
def test_what_is_not_recorded_is_refused(call: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        call(tensor())


def test_plain_questions_give_plain_answers() -> None:
    t = tensor()
    assert np.shape(t) == (2, 3) and np.ndim(t) == 2 and np.size(t) == 6
    assert np.argmax(t) == 2 and np.isfinite(t).all() and not np.isnan(t).any()
    np.testing.assert_array_equal(np.argsort(t, 1), np.argsort(X, 1))
    for comparison in (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge):
        for other in (0.5, X[0], X[0].astype(np.float64), tensor()[1], np.float64(0.5)):
            result = comparison(t, other)
            assert type(result) is np.ndarray and result.dtype == bool
            np.testing.assert_array_equal(result, comparison(X, getattr(other, "array", other)))
        np.testing.assert_array_equal(comparison(X[0], t), comparison(X[0], X))


def test_scalars_and_sequences() -> None:
    t = tensor()
    s = t.sum()
    assert float(s.detach()) == s.item() == X.sum() and int(s.detach()) == int(X.sum())
    assert f"{s:.2f}" == f"{X.sum():.2f}"
    assert bool(Tensor(1.0)) and not bool(Tensor(0.0))
    assert float(Tensor([2.5])) == 2.5
    assert [1, 2, 3][Tensor(2)] == 3
    assert len(t) == 2 and [row.shape for row in t] == [(3,), (3,)]
    assert s.shape == () and (s * np.float64(2)).dtype == np.float32 and (s + s).dtype == np.float32
    with pytest.raises(TypeError, match="integer"):
        [1, 2, 3][Tensor(1.0)]
    with pytest.raises(ValueError, match="scalar"):
        len(s)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(t)


def test_without_a_graph_a_tensor_is_an_array_for_numpy() -> None:
    np.testing.assert_array_equal(np.asarray(tensor().detach()), X)
    room = np.zeros_like(X)
    room[...] = tensor().detach()
    np.testing.assert_array_equal(room, X)
    assert np.asarray(Tensor([1.0, 2.0]), dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    "other",
    [
        2,
        2.0,
        np.float64(2),
        np.float16(2),
        np.int64(2),
        np.array(2.0),
        np.ones(3),
        np.arange(1, 4),
        X[0] > -9,
        [1, 2, 3],
    ],
    ids=lambda o: f"{type(o).__name__} {getattr(o, 'dtype', '')}",
)
def test_float32_stays_float32_whatever_it_meets(other: Any) -> None:
    for f in (F.add, F.subtract, F.multiply, F.divide, F.maximum, F.power, lambda a, b: F.where(X > 0, a, b)):
        for wrapped in (other, Tensor(np.asarray(other))) if np.asarray(other).dtype.kind in "iub" else (other,):
            t = tensor(np.abs(X) + 1)
            y = f(t, wrapped)
            assert y.dtype == np.float32, f
            (gradient,) = [t.grad for _ in [y.sum().backward()]]
            assert gradient.dtype == np.float32, f


@pytest.mark.parametrize(
    "f",
    [
        lambda x: F.clip(x, np.float64(-0.5), np.float64(0.5)),
        lambda x: F.leaky_relu(x, np.float64(0.1)),
        lambda x: F.elu(x, np.float64(0.5)),
        lambda x: F.huber_loss(x, X + 1, np.float64(0.5)),
        lambda x: F.clipped_surrogate(x[0], X[1], X[0], np.float64(0.2)),
        lambda x: F.layer_norm(x, eps=np.float64(1e-5)),
        lambda x: F.dropout(x, np.float64(0.5), np.random.default_rng(0)),
        lambda x: x ** np.float64(3),
    ],
    ids=["clip", "leaky_relu", "elu", "huber_loss", "clipped_surrogate", "layer_norm", "dropout", "power"],
)
def test_numpy_numbers_as_settings_do_not_widen(f: Any) -> None:
    x = tensor()
    y = f(x)
    assert y.dtype == np.float32
    gradient = grad(y.sum(), x, create_graph=True)
    assert gradient.dtype == np.float32 and grad((gradient * x).sum(), x).dtype == np.float32


def test_float64_stays_float64_and_the_wider_of_two_tensors_wins() -> None:
    t = Tensor(X.astype(np.float64), requires_grad=True)
    assert (t * X).dtype == np.float64 and (t + 1).dtype == np.float64
    narrow = tensor()
    y = (t * narrow).sum()
    assert y.dtype == np.float64
    y.backward()
    assert narrow.grad.dtype == np.float32 and t.grad.dtype == np.float64
    gradient = grad((t * narrow * narrow).sum(), narrow, create_graph=True)
    assert gradient.dtype == np.float32 and grad(gradient.sum(), narrow).dtype == np.float32


def test_plain_arrays_alone_follow_numpy() -> None:
    assert type(F.add(X, 1.0)) is np.ndarray and F.add(X, np.ones(3)).dtype == np.float64
    assert isinstance(F.exp(np.float32(1)), np.float32)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(DtypeError, match="expected numbers"):
        tensor() + np.array(["a", "b", "c"])
    with pytest.raises(DtypeError, match="expected numbers"):
        Tensor(np.array([object()]))
    with pytest.raises(TypeError):
        tensor() + None


def test_tensors_copy_what_they_are_made_of() -> None:
    source = X.copy()
    t = Tensor(source)
    source[...] = 0
    np.testing.assert_array_equal(t.array, X)
    assert Tensor(1.0).dtype == np.float32 and Tensor([1, 2]).dtype == np.int64
    assert Tensor(np.float64(1)).dtype == np.float64 and Tensor(np.ones(2)).dtype == np.float64
