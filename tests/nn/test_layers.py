"""Layers without memory: values against their formulas, gradients, dtypes, errors."""

import math
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor, no_grad, plain
from dbrrl.errors import ConfigError, ShapeError
from tests import standin
from tests.nn.checks import check_float32, check_module

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))

ACTIVATIONS: list[tuple[nn.Module, Any]] = [
    (nn.Tanh(), np.tanh),
    (nn.ReLU(), lambda x: np.where(x > 0, x, 0)),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1))),
    (nn.GELU(), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    (nn.Softplus(), lambda x: np.log(1 + np.exp(x))),
]


@pytest.mark.parametrize(("module", "formula"), ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_activations(module: nn.Module, formula: Any) -> None:
    np.testing.assert_allclose(module(X), formula(X), rtol=1e-12)
    check_module(module, X)
    assert module(Tensor(X.astype(np.float32))).dtype == np.float32
    assert module.parameters() == []


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(3, 4, bias=bias, rng=0)
    x = RNG.normal(size=shape)
    expected = np.einsum("...i,oi->...o", x, layer.weight.array.astype(np.float64))
    if bias:
        expected = expected + layer.bias.array  # type: ignore[union-attr]
    np.testing.assert_allclose(layer(x).array, expected, rtol=1e-5, atol=1e-6)
    assert len(layer.parameters()) == 1 + bias
    check_float32(layer, x.astype(np.float32))
    check_module(layer, x)


def test_linear_names_the_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"linear: expected x \(..., in\).*\(5, 3\).*\(4, 2\)"):
        nn.Linear(2, 4, rng=0)(X)


def test_layer_norm() -> None:
    layer = nn.LayerNorm(3)
    layer.weight.data = np.array([1, 2, 3], np.float32)  # type: ignore[union-attr]
    layer.bias.data = np.array([0.5, 0, -1], np.float32)  # type: ignore[union-attr]
    mean, var = X.mean(1, keepdims=True), ((X - X.mean(1, keepdims=True)) ** 2).mean(1, keepdims=True)
    expected = (X - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(layer(X).array, expected * [1, 2, 3] + [0.5, 0, -1], rtol=1e-5, atol=1e-6)
    plain = nn.LayerNorm(3, affine=False)
    np.testing.assert_allclose(plain(X), expected, rtol=1e-12)
    assert plain.parameters() == [] and repr(plain) == "LayerNorm(3, eps=1e-05)"
    check_float32(layer, X.astype(np.float32))
    check_module(layer, X)
    check_module(plain, X)
    with pytest.raises(ShapeError, match=r"LayerNorm: expected x \(..., 4\), got \(5, 3\)"):
        nn.LayerNorm(4)(X)


def test_embedding() -> None:
    layer = nn.Embedding(6, 3, rng=0)
    indices = np.array([[1, 5, 1], [0, 0, 1]])
    np.testing.assert_array_equal(layer(indices).array, [[layer.weight.array[i] for i in row] for row in indices])
    assert layer(Tensor(indices)).shape == (2, 3, 3) and layer([2]).shape == (1, 3)
    layer(indices).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, np.array([2, 3, 0, 0, 0, 1])[:, None] * np.ones(3))
    layer.zero_grad()
    check_float32(layer, indices)
    check_module(layer, indices)
    for wrong in ([6], [-1]):
        with pytest.raises(ShapeError, match="expected integers from 0 to 5"):
            layer(wrong)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.SiLU])
def test_sequential(activation: type[nn.Module]) -> None:
    layers = [nn.Linear(3, 4, rng=1), activation(), nn.Linear(4, 4, bias=False, rng=2), activation(), nn.LayerNorm(4)]
    model = nn.Sequential(*layers)
    x: Any = Tensor(X.astype(np.float32))
    for layer in layers:
        x = layer(x)
    np.testing.assert_allclose(model(X).array, x.array, rtol=1e-6, atol=1e-6)
    assert len(model) == 5 and model[0] is layers[0] and list(model) == layers
    check_float32(model, X.astype(np.float32))
    check_module(model, X)


def test_what_sequential_joins_follows_its_layers() -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh(), nn.Linear(3, 2, rng=1))

    def by_hand() -> Any:
        x: Any = X.astype(np.float32)
        for layer in model:
            x = plain(layer(x))
        return x

    np.testing.assert_allclose(model(X.astype(np.float32)).array, by_hand(), rtol=1e-6)
    model.layers[1] = nn.ReLU()
    np.testing.assert_allclose(model(X.astype(np.float32)).array, by_hand(), rtol=1e-6)
    model[2].bias = None  # type: ignore[assignment]
    np.testing.assert_allclose(model(X.astype(np.float32)).array, by_hand(), rtol=1e-6)
    model.layers.append(nn.Linear(2, 2, rng=2))
    assert not np.allclose(model(X.astype(np.float32)).array, 0)
    np.testing.assert_allclose(model(X.astype(np.float32)).array, by_hand(), rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_network_on_a_gpu_takes_numpys_arrays_with_and_without_a_graph(rows: int) -> None:
    x = np.ones((rows, 3), np.float32)
    expected = nn.mlp([3, 4, 2], rng=0)(x).array
    with standin.installed():
        model = nn.mlp([3, 4, 2], rng=0).to("cuda")
        recorded = model(x)
        with no_grad():
            computed = model(x)
        for y in recorded, computed:
            np.testing.assert_allclose(standin.host(y, "cuda"), expected, rtol=1e-5)


def test_a_subclass_of_a_fused_layer_runs_its_own_forward() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    class Negative(nn.Tanh):
        def forward(self, x: Any) -> Any:
            return -super().forward(x)

    model = nn.Sequential(Doubled(3, 3, rng=0), nn.Tanh(), nn.Linear(3, 2, rng=1), Negative())
    first, last = model[0], model[2]
    h = np.tanh(2 * (X @ first.weight.array.T + first.bias.array))  # type: ignore[attr-defined]
    expected = -np.tanh(h @ last.weight.array.T + last.bias.array)  # type: ignore[attr-defined]
    np.testing.assert_allclose(model(X).array, expected, rtol=1e-5)


def test_mlp() -> None:
    model = nn.mlp((3, 8, 8, 2), "relu", out_gain=0.01, rng=0)
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    singular = [np.linalg.svd(model[i].weight.array)[1] for i in (0, 2, 4)]  # type: ignore[attr-defined]
    for values, gain in zip(singular, (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        np.testing.assert_allclose(values, gain, rtol=1e-5)
    assert len(nn.mlp((3, 2), rng=0)) == 1
    check_float32(model, X.astype(np.float32))
    with pytest.raises(ConfigError, match=r"mlp: expected sizes .* got \(3,\)"):
        nn.mlp((3,), rng=0)
    with pytest.raises(ConfigError, match=r"activation: expected one of \['relu', 'tanh'\], got 'sine'"):
        nn.mlp((3, 2), "sine", rng=0)


def test_depth_decided_by_the_data() -> None:
    layer = nn.Linear(3, 3, gain=1.0, rng=0).astype(np.float64)

    def deep(x: Any) -> Any:
        depth = 1 + int(np.abs(x.data).sum()) % 4
        for _ in range(depth):
            x = F.tanh(layer(x))
        return x

    class Deep(nn.Module):
        def __init__(self) -> None:
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return deep(x)

    for seed in range(3):
        check_module(Deep(), np.random.default_rng(seed).normal(size=(2, 3)))


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 2, 3), (0, 3), (2, 0, 0, 3)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.mlp((3, 4, 2)),
        lambda: nn.mlp((3, 4, 4, 2), "relu"),
        lambda: nn.mlp((3, 2)),
        lambda: nn.Sequential(nn.NoisyLinear(3, 2), nn.Tanh()),
        lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)),
    ],
)
def test_an_empty_batch_goes_through_every_layer(make: Any, shape: tuple[int, ...]) -> None:
    net, x = make(), np.zeros(shape, np.float32)
    expected = (*shape[:-1], 2)
    assert net(x).shape == net(Tensor(x)).shape == expected
    with no_grad():
        assert net(x).shape == net(Tensor(x)).shape == expected
    given = Tensor(x, requires_grad=True)
    net(given).sum().backward()
    assert given.grad.shape == shape and all(not p.grad.any() for p in net.parameters())


def test_layers_of_no_features_take_any_batch() -> None:
    assert nn.mlp((0, 4, 2))(np.zeros((2, 3, 0), np.float32)).shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda n: nn.Linear(n, 3), "Linear: expected in_features"),
        (lambda n: nn.Linear(3, n), "Linear: expected out_features"),
        (lambda n: nn.mlp((n, 3)), "Linear: expected in_features"),
        (lambda n: nn.NoisyLinear(n, 3), "NoisyLinear: expected in_features"),
        (lambda n: nn.Conv2d(n, 3, 2), "Conv2d: expected in_channels"),
        (lambda n: nn.LayerNorm(n), "LayerNorm: expected features"),
        (lambda n: nn.Embedding(n, 3), "Embedding: expected number"),
        (lambda n: nn.LSTM(n, 3), "LSTMCell: expected input_size"),
    ],
)
@pytest.mark.parametrize("size", [None, 2.0, -1, True])
def test_a_size_that_is_left_open_is_said(layer: Any, name: str, size: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} as a whole number of 0 or more, got {size}"):
        layer(size)
    layer(np.int64(4))
