"""Sums of float16 are accumulated in float32: against the same function of the same numbers in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import Normal
from dbrrl.nn import Parameter
from dbrrl.optim import SGD
from tests.standin import host, put

N = 70_000  # above float16's largest number, 65,504, and far above 2,048, up to which it has all whole numbers
Function = Callable[..., Any]


def full(*shape: int, value: float = 100.0) -> Any:
    return np.full(shape, value, np.float16)


def around(*shape: int, mean: float = 100.0, scale: float = 30.0) -> Any:
    return np.random.default_rng(0).normal(mean, scale, shape).astype(np.float16)


def spike(n: int, value: float) -> Any:
    x = np.zeros(n, np.float16)
    x[0] = value
    return x


def image(n: int, channels: int, size: int, value: float = 1.0) -> Any:
    return np.full((n, channels, size, size), value, np.float16)


INDEX = np.zeros(N, np.int64)
CASES: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "mean": (F.mean, (full(2000),)),
    "mean of rows": (lambda x: F.mean(x, axis=1), (full(2, 2000),)),
    "sum": (F.sum, (full(N, value=0.5),)),
    "sum of ones": (lambda x: F.sum(x, axis=0, keepdims=True), (full(30_000, 2, value=1.0),)),
    "var": (F.var, (around(2000),)),
    "var of far numbers": (lambda x: F.var(x, axis=0, ddof=1), (around(3000, 2, mean=0, scale=200),)),
    "std": (F.std, (around(2000, mean=0, scale=300),)),
    "max": (F.max, (full(N, value=2.0),)),
    "min": (lambda x: F.min(x, axis=0), (full(3000, 2, value=2.0),)),
    "softmax": (lambda x: F.softmax(x) * 30_000, (full(N, value=0.0),)),
    "log_softmax": (F.log_softmax, (around(2, N, mean=0, scale=1),)),
    "log_softmax of columns": (lambda x: F.log_softmax(x, axis=0), (around(N, 2, mean=0, scale=1),)),
    "logsumexp": (F.logsumexp, (full(N, value=1.0),)),
    "entropy": (lambda x: F.entropy(F.log_softmax(x)), (full(2, 3000, value=1.0),)),
    "categorical_log_prob": (lambda x: F.categorical_log_prob(x, np.array([0, 3])), (full(2, N, value=1.0),)),
    "cross_entropy": (F.cross_entropy, (full(3, 3000, value=1.0), full(3, 3000, value=1 / 3000))),
    "mse_loss": (F.mse_loss, (spike(3000, 300.0), full(3000, value=0.0))),
    "mse_loss of tensors": (lambda x: F.mse_loss(x, x * 0), (spike(3000, 300.0),)),
    "mse_loss to a constant": (lambda x: F.mse_loss(x, np.zeros(N, x.dtype)), (full(N, value=2.0),)),
    "mse_loss sum": (lambda x: F.mse_loss(x, x * 0, "sum"), (full(30_000, value=1.0),)),
    "huber_loss": (F.huber_loss, (full(2000), full(2000, value=0.0))),
    "huber_loss of a large delta": (lambda x: F.huber_loss(x, x * 0, delta=1000.0), (spike(3000, 500.0),)),
    "quantile_huber_loss": (
        lambda x, y: F.quantile_huber_loss(x, y, np.full(3000, 0.5, x.dtype)),
        (full(2, 3000, value=0.0), full(2, 3, value=20.0)),
    ),
    "clipped_surrogate": (
        lambda x: F.clipped_surrogate(x, np.zeros(N, x.dtype), np.full(N, 2, x.dtype), 0.2), (full(N, value=0.0),),
    ),
    "layer_norm": (F.layer_norm, (around(2, 3000, scale=30),)),
    "layer_norm of far numbers": (lambda x: F.layer_norm(x, x[0] * 0 + 2, x[0] * 0), (around(2, 300, scale=300),)),
    "broadcasting": (lambda a, b: a + b, (full(2, value=1.0), full(N, 2, value=0.0))),
    "broadcast_to": (lambda x: F.broadcast_to(x, (N, 1)) * 0.5, (full(1, value=1.0),)),
    "matmul": (lambda a, b: a @ b, (full(2, 1, N, value=0.5), full(N, 1, value=1.0))),
    "linear": (F.linear, (full(N, 2, value=0.5), full(3, 2, value=0.5), full(3, value=0.5))),
    "embedding": (lambda w: F.embedding(INDEX, w) * 0.5, (full(2, 2, value=1.0),)),
    "take": (lambda x: F.getitem(x, INDEX) * 0.5, (full(2, value=1.0),)),
    "conv2d": (F.conv2d, (image(300, 1, 16), image(2, 1, 3, 0.25), full(2, value=0.5))),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 64), (image(1, 1, 64, 100.0),)),
    "rnn": (
        lambda x, w, v, h: F.rnn(x, w, v, h)[0],
        (full(40, 100, 1, value=0.5), full(2, 1, value=0.5), full(2, 2, value=0.25), full(100, 2, value=0.0)),
    ),
    "log-density of normals": (
        lambda m, s: Normal(m, s).log_prob(m * 0), (full(2, 3000, value=0.5), full(3000, value=0.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_of_float16_are_those_of_float64_rounded(name: str, device: str) -> None:
    call, arrays = CASES[name]
    results = []
    for dtype in (np.float16, np.float64):
        inputs = [Tensor(put(a.astype(dtype), device), requires_grad=True) for a in arrays]
        y = call(*inputs)
        scale = 1.0 if y.size < 1000 else 0.5
        gradients = grad(y, inputs, put(np.full(y.shape, scale, dtype), device), retain_graph=True)
        again = grad(y, inputs, put(np.full(y.shape, scale, dtype), device), create_graph=True)
        assert {z.dtype for z in (y, *gradients, *again)} == {np.dtype(dtype)}
        plain = host(call(*(put(a.astype(dtype), device) for a in arrays)), device)
        results.append([host(z, device) for z in (y, *gradients, *again)] + [plain])
    for narrow, wide in zip(*results, strict=True):
        assert narrow.dtype == np.float16
        np.testing.assert_allclose(narrow, wide, rtol=5e-3, atol=2e-3 * np.abs(wide).max(initial=0) + 1e-7)


def test_a_mean_is_exact_and_equal_maxima_share_one() -> None:
    assert F.mean(Tensor(np.full(2000, 100, np.float16))).item() == 100
    x = Tensor(np.zeros(N, np.float16), requires_grad=True)
    x.max().backward()
    assert x.grad.dtype == np.float16 and float(x.grad.astype(np.float64).sum()) == pytest.approx(1, rel=0.01)


def test_float16_with_a_wider_tensor_gives_the_wider_type(device: str) -> None:
    x = Tensor(put(full(4), device), requires_grad=True)
    for loss in (F.mse_loss, F.huber_loss):
        y = loss(x, Tensor(put(np.zeros(4, np.float32), device)))
        y.backward()
        assert y.dtype == np.float32 and x.grad.dtype == np.float16


def test_the_norm_of_float16_gradients_does_not_overflow(device: str) -> None:
    p = Parameter(put(np.zeros(40, np.float16), device))
    optimizer = SGD([p], 1.0)
    (p * put(full(40), device)).sum().backward()
    assert float(optimizer.clip_grad_norm(10.0)) == pytest.approx(100 * 40**0.5, rel=1e-3)
    np.testing.assert_allclose(host(p.grad), 10 / 40**0.5, rtol=1e-2)
