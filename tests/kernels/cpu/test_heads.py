"""Kernels of heads and losses against the same in float64, forwards and backwards."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.chosen import picked_huber_loss
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.policy import categorical_log_prob, clipped_surrogate, entropy
from dbrrl.autodiff.tensor import Tensor
from dbrrl.kernels.cpu import extension

if extension.module is not None:
    from dbrrl.kernels.cpu import heads

SHAPES = [(1, 1), (1, 5), (64, 2), (33, 18), (256, 6), (7, 300)]


def logits(n: int, k: int) -> np.ndarray:
    """With a choice that is impossible, and one that is certain."""
    x = np.random.default_rng(0).normal(0, 3, (n, k)).astype(np.float32)
    x[0, 0] = 80
    if k > 2:
        x[-1, 1] = -np.inf
    return x


def choices(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1 if k < 3 else k, n) * np.arange(n).clip(0, 1)


def numbers(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def log_softmax(x: Any, wide: Any) -> Any:
    return F.log_softmax(x)


OPS: dict[str, Callable[[Any, Any], Any]] = {
    "log_softmax": log_softmax,
    "softmax": lambda x, wide: F.softmax(x),
    "entropy": lambda x, wide: entropy(F.log_softmax(x)),
    "log_prob": lambda x, wide: categorical_log_prob(x, choices(*x.shape)),
    "huber": lambda x, wide: picked_huber_loss(x, choices(*x.shape), numbers(len(x.array), 2).astype(wide))[0],
    "surrogate": lambda x, wide: clipped_surrogate(
        x[:, 0] * 0.01, numbers(len(x.array), 3).astype(wide) * wide(0.3), numbers(len(x.array), 4).astype(wide), 0.2
    ),
}


def results(name: str, x: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The output, and the gradient of its weighted sum."""
    tensor = Tensor(x.astype(dtype), requires_grad=True)
    y = OPS[name](tensor, dtype)
    weights = np.cos(np.arange(y.array.size)).reshape(y.shape).astype(dtype)
    weights[~np.isfinite(y.array)] = 0
    with np.errstate(invalid="ignore"):
        return y.array, grad((y * weights).sum(), tensor).array


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(OPS))
def test_values_and_gradients_are_those_of_float64(c: Any, name: str, shape: tuple[int, int]) -> None:
    x = logits(*shape)
    if name == "log_softmax":
        x = np.nan_to_num(x, neginf=-50)
    for ours, right in zip(results(name, x, np.float32), results(name, x, np.float64), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, right, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", list(OPS))
def test_an_op_takes_its_kernel(c: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        """The extension module, but what it did not refuse is written down."""

        def __getattr__(self, function: str) -> Any:
            def call(*arguments: Any) -> Any:
                result = getattr(c, function)(*arguments)
                if result is not NotImplemented:
                    served.append(function)
                return result

            return call

    served: list[str] = []
    monkeypatch.setattr(heads, "_c", Recorder())
    results(name, logits(64, 6), np.float32)
    kernel = "picked_huber" if name == "huber" else name
    assert kernel in served and (f"{kernel}_back" in served or name == "surrogate")


@pytest.mark.parametrize("name", list(OPS))
def test_a_gradient_that_is_no_plain_array_goes_through_the_formula(c: Any, name: str) -> None:
    x = np.nan_to_num(logits(8, 4), neginf=-5) / 20
    tensor = Tensor(x, requires_grad=True)
    first = grad(OPS[name](tensor, np.float32).sum(), tensor, create_graph=True)
    y = OPS[name](tensor, np.float32)
    op = y.op
    assert op is not None
    if y.ndim:
        strided = np.ones((*y.shape, 2), np.float32)[..., 0]
        inputs = [i.array if isinstance(i, Tensor) else i for i in op.inputs]
        again = op.backward(strided, y.array, *inputs)
        plain = op.backward(np.ones(y.shape, np.float32), y.array, *inputs)
        again, plain = (part[0] if isinstance(part, tuple) else part for part in (again, plain))
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_allclose(grad(y, tensor).array, first.array, rtol=1e-5, atol=1e-6)
    second = grad((first * first).sum(), tensor, allow_unused=True)
    assert second is None or np.isfinite(second.array).all()


@pytest.mark.parametrize("shape", [(5,), (2, 3, 51), (1, 2, 3, 4)])
@pytest.mark.parametrize("function", [F.log_softmax, F.softmax])
def test_a_softmax_goes_over_the_last_axis_of_any_array(c: Any, function: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    for axis in range(-1, len(shape) - 1):
        wide = np.exp(x.astype(np.float64))
        right = wide / wide.sum(axis, keepdims=True)
        tensor = Tensor(x, requires_grad=True)
        y = function(tensor, axis)
        np.testing.assert_allclose(y.array, np.log(right) if function is F.log_softmax else right, rtol=1e-5, atol=1e-5)
        g = np.random.default_rng(7).normal(size=shape).astype(np.float32)
        dot = (g if function is F.log_softmax else g * right).sum(axis, keepdims=True)
        expected = g - right * dot if function is F.log_softmax else right * (g - dot)
        np.testing.assert_allclose(grad((y * g).sum(), tensor).array, expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_finite_stays_in_its_row(c: Any) -> None:
    x = logits(5, 4)
    x[2, 3], x[3] = np.nan, np.inf
    index = np.zeros(5, np.int64)
    for y in (c.log_softmax(x)[:, 0], c.entropy(c.log_softmax(x))[0], c.log_prob(x, index)[0]):
        assert np.isnan(y).tolist() == [False, False, True, True, False]
    y, _, error, inside = c.picked_huber(x, index + 3, np.zeros(5, np.float32))
    assert np.isnan(y).tolist() == [False, False, True, False, False] and np.isinf(error[3]) and inside[3] == 1
    ratio = c.surrogate(np.array([0, np.nan], np.float32), np.zeros(2, np.float32), np.ones(2, np.float32), 0.2)
    assert np.isnan(ratio[0]) and ratio[2].tolist() == [True, False]


def test_other_arguments_are_left_to_numpy(c: Any) -> None:
    x, index, v = logits(6, 4), choices(6, 4), numbers(6, 5)
    for wrong in (x.astype(np.float64), x.T, x[:, ::2], x[:0], x[0], x[None], x.astype("f2"), None, 1.0, [[1.0]]):
        if getattr(wrong, "size", 0) and wrong.flags.c_contiguous and wrong.dtype == x.dtype:
            assert c.log_softmax(wrong).shape == c.softmax(wrong).shape == wrong.shape
        else:
            assert c.log_softmax(wrong) is c.softmax(wrong) is NotImplemented
        assert c.softmax_back(wrong, x) is c.softmax_back(x, wrong) is NotImplemented
        assert c.entropy(wrong) is c.log_prob(wrong, index) is NotImplemented
        assert c.log_softmax_back(wrong, x) is c.log_softmax_back(x, wrong) is NotImplemented
        assert c.picked_huber(wrong, index, v) is c.entropy_back(v, x, wrong) is NotImplemented
        assert c.log_prob_back(v, index, wrong) is NotImplemented
    for bad in (index[:3], index + 4, index - 1, index.astype(np.int32), index.astype(float), None, index[:, None]):
        assert c.log_prob(x, bad) is c.picked_huber(x, bad, v) is c.log_prob_back(v, bad, x) is NotImplemented
        assert c.picked_huber_back(v, bad, v, 4) is NotImplemented
    for bad in (v[:3], v[::-1], v.astype(np.float64), v[:, None], None, 1.0):
        assert c.picked_huber(x, index, bad) is c.entropy_back(bad, x, x) is NotImplemented
        assert c.log_prob_back(bad, index, x) is NotImplemented
        assert c.surrogate(v, bad, v, 0.2) is c.surrogate(v, v, bad, 0.2) is NotImplemented
    assert c.surrogate(v, v, v, None) is c.surrogate(v[:0], v[:0], v[:0], 0.2) is NotImplemented
    assert c.picked_huber_back(v, index, v, 0) is c.picked_huber_back(v, index, v, 4.0) is NotImplemented
