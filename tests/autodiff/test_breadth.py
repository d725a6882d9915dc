"""NumPy's functions on tensors: what the table of ops cannot say, and what is refused names what to write instead."""

import re
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.dispatch import FUNCTIONS, NEAREST, PLAIN_FUNCTIONS, PLAIN_UFUNCS, UFUNCS
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.errors import ConfigError, ShapeError
from tests.standin import host, put

X = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]], np.float32)

CALLS: dict[str, Any] = {
    "cumsum": lambda x: np.cumsum(x, 0),
    "cumprod": lambda x: np.cumprod(x, axis=1),
    "prod": lambda x: np.prod(x, 1, keepdims=True),
    "flip": lambda x: np.flip(x, 0),
    "roll": lambda x: np.roll(x, 2, axis=1),
    "repeat": lambda x: np.repeat(x, 2, axis=0),
    "tile": lambda x: np.tile(x, (2, 1)),
    "pad": lambda x: np.pad(x, 1, constant_values=2),
    "pad all": lambda x: np.pad(x, ((0, 1), (2, 0)), "constant", constant_values=2),
    "pad edge": lambda x: np.pad(x, 1, "edge"),
    "hstack": lambda x: np.hstack([x, X]),
    "vstack": lambda x: np.vstack((x, x[0])),
    "dstack": lambda x: np.dstack([x, x]),
    "ravel": lambda x: np.ravel(x),
    "copy": lambda x: np.copy(x),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1),
    "outer": lambda x: np.outer(x, X),
    "inner": lambda x: np.inner(x, x),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, X),
    "einsum one": lambda x: np.einsum("ij->j", x, optimize=True),
    "tensordot": lambda x: np.tensordot(x, X, axes=([1], [1])),
    "norm": lambda x: np.linalg.norm(x, axis=-1),
    "norm of all": lambda x: np.linalg.norm(x),
    "sort": lambda x: np.sort(x, axis=0),
    "median": lambda x: np.median(x, axis=1),
    "diag": lambda x: np.diag(x, k=1),
    "diagonal": lambda x: np.diagonal(x, 1),
    "trace": lambda x: np.trace(x),
    "tril": lambda x: np.tril(x),
    "triu": lambda x: np.triu(x, 1),
    "diff": lambda x: np.diff(x, axis=0),
    "average": lambda x: np.average(x, axis=1, weights=X[0] + 3),
    "std": lambda x: np.std(x, 0),
    "arctan2": lambda x: np.arctan2(x, X + 3),
    "hypot": lambda x: np.hypot(1.0, x),
    "fmod": lambda x: np.fmod(x, 0.7),
    "mod": lambda x: x % 0.7,
    "nan_to_num": lambda x: np.nan_to_num(x, nan=1.0),
    **{f"method {call}": (lambda x, call=call: eval_method(x, call)) for call in (
        "cumsum 1", "cumprod 0", "prod", "repeat 2", "ravel", "flatten", "copy", "diagonal 1", "trace", "std 0",
    )},
    "dot": lambda x: x.dot(X.T),
    "take": lambda x: x.take([1, 1], axis=1),
}  # fmt: skip


def eval_method(x: Any, call: str) -> Any:
    name, *arguments = call.split()
    return getattr(x, name)(*map(int, arguments))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_numpys_own_call_records(call: Any, device: str) -> None:
    (array,) = put([X], device)
    x = Tensor(array, requires_grad=True)
    y = call(x)
    assert isinstance(y, Tensor) and y.dtype == np.float32
    np.testing.assert_allclose(host(y, device), call(X), rtol=1e-5, atol=1e-6)
    y.sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.shape == X.shape


@pytest.mark.parametrize("name", ["argmax", "argmin", "argsort", "nonzero", "any", "all"])
def test_questions_are_methods_too(name: str) -> None:
    x = Tensor(X, requires_grad=True)
    np.testing.assert_array_equal(getattr(x, name)(), getattr(X, name)())
    if name != "nonzero":
        np.testing.assert_array_equal(getattr(x, name)(axis=1), getattr(X, name)(axis=1))


@pytest.mark.parametrize("zeros", [(), (0,), (2,), (1, 3), (0, 1, 2, 3, 4)])
def test_products_have_their_gradients_at_zeros(zeros: tuple[int, ...], device: str) -> None:
    x = np.array([0.5, -1.5, 2.0, 0.7, 1.1])
    x[list(zeros)] = 0
    others = [np.prod(np.delete(x, i)) for i in range(5)]
    t = Tensor(put(x, device), requires_grad=True)
    np.testing.assert_allclose(host(grad(np.prod(t), t), device), others, rtol=1e-12)
    running = [sum(np.prod(np.delete(x[:k], i)) for k in range(i + 1, 6)) for i in range(5)]
    np.testing.assert_allclose(host(grad(np.cumprod(t).sum(), t), device), running, rtol=1e-12, atol=1e-12)
    check_gradients(np.prod, put(x, device), order=2)
    check_gradients(np.cumprod, put(x, device), order=2)


def test_a_product_of_nothing_is_one() -> None:
    x = Tensor(np.ones((2, 0)), requires_grad=True)
    np.testing.assert_array_equal(np.prod(x, 1).array, [1, 1])
    assert np.prod(x).item() == 1 and np.prod(x, 0, keepdims=True).shape == (1, 0)


def test_lengths_have_a_gradient_of_0_at_0(device: str) -> None:
    for length in (np.linalg.norm, lambda x: np.hypot(x[0], x[1])):
        x = Tensor(put(np.zeros(2), device), requires_grad=True)
        np.testing.assert_array_equal(host(grad(length(x), x), device), [0, 0])
    a = Tensor(np.array([3e200, 4e200]), requires_grad=True)
    np.testing.assert_allclose(grad(np.hypot(a[0], a[1]), a).array, [0.6, 0.8])


def test_what_is_not_finite_gets_a_number_and_no_gradient(device: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 2.0])
    x = Tensor(put(values, device), requires_grad=True)
    y = np.nan_to_num(x, nan=1.0, posinf=5.0, neginf=-5.0)
    np.testing.assert_array_equal(host(y, device), [1, 5, -5, 2])
    np.testing.assert_array_equal(host(grad((y * y).sum(), x), device), [0, 0, 0, 4])


def test_a_median_with_nan_is_nan() -> None:
    x = Tensor(np.array([[1.0, np.nan, 3.0], [4.0, 6.0, 5.0]]), requires_grad=True)
    np.testing.assert_array_equal(np.median(x, 1).array, [np.nan, 5])
    assert np.isnan(np.median(x).item())


def test_float16_is_added_up_in_float32() -> None:
    x = Tensor(np.full(3000, 1, np.float16), requires_grad=True)
    assert np.cumsum(x)[-1].item() == 3000 and np.linalg.norm(x * 10).item() == pytest.approx(548, rel=1e-3)
    assert np.einsum("i,i->", x, x).item() == 3000 and np.trace(np.diag(x[:9])).item() == 9
    gradient = grad(np.cumsum(x)[-1], x)
    assert gradient.dtype == np.float16 and gradient.array.min() == 1


def test_a_copy_is_in_memory_of_its_own() -> None:
    x = Tensor(X)
    for y in (x.copy(), x.flatten(), np.copy(x)):
        assert not np.shares_memory(y.array, x.array)
    assert np.shares_memory(x.ravel().array, x.array)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "norm": (lambda x: np.linalg.norm(x, "nuc"), ConfigError, "'nuc'"),
    "norm of a matrix": (lambda x: np.linalg.norm(x, 2), ConfigError, "expected ord"),
    "einsum arrays": (lambda x: np.einsum("ij,jk", x), ShapeError, "expected 2 arrays"),
    "einsum letters": (lambda x: np.einsum("i", x), ShapeError, "a letter for each axis"),
    "einsum lists": (lambda x: np.einsum(x, [0, 1]), ConfigError, "write a string"),
    "tensordot": (lambda x: np.tensordot(x, X, 1), ShapeError, "equal sizes"),
    "repeat": (lambda x: np.repeat(x, [1, 2], 1), ShapeError, "3 of them"),
    "pad": (lambda x: np.pad(x, ((1, 2, 3),)), ShapeError, "2 such pairs"),
    "pad mode": (lambda x: np.pad(x, 1, "linear_ramp"), ConfigError, "linear_ramp"),
    "pad keyword": (lambda x: np.pad(x, 1, end_values=2), TypeError, "end_values"),
    "diff": (lambda x: np.diff(x, prepend=0), TypeError, "prepend"),
    "moveaxis": (lambda x: np.moveaxis(x, (0, 1), 0), ShapeError, "pair them"),
    "roll": (lambda x: np.roll(x, (1, 2, 3), (0, 1)), ShapeError, "pair them"),
    "diagonal": (lambda x: np.diagonal(x[0]), ShapeError, "two axes"),
    "diag": (lambda x: np.diag(x[None]), ShapeError, "vector or a matrix"),
    "average": (lambda x: np.average(x, 1, np.ones(2)), ShapeError, "weights"),
    "median": (lambda x: np.median(x[:0], 0), ShapeError, "at least one"),
    "sort method": (lambda x: x.sort(), TypeError, r"np\.sort\(x\)"),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_said(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call(Tensor(X, requires_grad=True))
    assert "expected" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_refused_names_the_nearest_that_works() -> None:
    def find(name: str) -> Any:
        found: Any = np
        for part in name.split("."):
            found = getattr(found, part, None)
        return found

    served = {*UFUNCS, *FUNCTIONS, *PLAIN_UFUNCS, *PLAIN_FUNCTIONS}
    for name, instead in NEAREST.items():
        assert find(name) not in served, f"{name} is recorded"
        for used in re.findall(r"np\.([a-z]\w*)\(", instead):
            assert find(used) in served or used in ("arange", "eye", "linspace", "log"), f"{name}: {used}"
        for used in re.findall(r"F\.(\w+)", instead):
            assert used in F.__all__
    x = Tensor(X, requires_grad=True)
    for call, instead in (
        (lambda: np.ptp(x), "np.max(x, axis) - np.min(x, axis)"),
        (lambda: np.add.reduce(x), "np.sum(x, axis)"),
        (lambda: np.reciprocal(x), "1 / x"),
        (lambda: np.linalg.inv(x), "one of dbrrl.functional"),
    ):
        with pytest.raises(TypeError, match=f"has no gradient here: expected {re.escape(instead)}.*tensor.data"):
            call()
