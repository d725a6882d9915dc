"""Layers for images: values place by place, gradients, dtypes, errors."""

from typing import Any

import numpy as np
import pytest

from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError, ShapeError
from tests.nn.checks import check_float32, check_module

RNG = np.random.default_rng(0)


def windows(x: Any, kernel: Any, stride: Any, padding: Any, fill: float = 0.0) -> Any:
    """(B, C, H', W', kh, kw) of images, by a loop."""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    rows, columns = range(0, x.shape[2] - kh + 1, sh), range(0, x.shape[3] - kw + 1, sw)
    return np.stack([np.stack([x[:, :, i : i + kh, j : j + kw] for j in columns], 2) for i in rows], 2)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 0), (2, 2, 1), ((3, 2), (2, 1), (1, 0)), (1, 1, 0), (5, 3, 2)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d(kernel: Any, stride: Any, padding: Any, bias: bool) -> None:
    x = RNG.normal(size=(2, 3, 6, 5))
    layer = nn.Conv2d(3, 4, kernel, stride, padding, bias=bias, rng=0)
    sizes = [(n, n) if isinstance(n, int) else n for n in (kernel, stride, padding)]
    expected = np.einsum("bcyxij,ocij->boyx", windows(x, *sizes), layer.weight.array.astype(np.float64))
    if bias:
        expected += layer.bias.array[:, None, None]  # type: ignore[union-attr]
    np.testing.assert_allclose(layer(x).array, expected, rtol=1e-4, atol=1e-5)
    check_float32(layer, x.astype(np.float32))
    check_module(layer, x)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0))])
def test_pooling(kernel: Any, stride: Any, padding: Any) -> None:
    x = RNG.permutation(2 * 3 * 6 * 7).reshape(2, 3, 6, 7) * 0.1
    k, s, p = ((n, n) if isinstance(n, int) else n for n in (kernel, stride or kernel, padding))
    highest, mean = nn.MaxPool2d(kernel, stride, padding), nn.AvgPool2d(kernel, stride, padding)
    np.testing.assert_allclose(highest(x), windows(x, k, s, p, -np.inf).max((4, 5)))
    np.testing.assert_allclose(mean(x), windows(x, k, s, p).mean((4, 5)))
    for layer in (highest, mean):
        check_module(layer, x)
        assert layer(Tensor(x.astype(np.float32))).dtype == np.float32


def test_repr_and_errors() -> None:
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0)"
    assert repr(nn.Conv2d(3, 4, 2, rng=0)) == "Conv2d(weight=(4, 3, 2, 2), stride=1, padding=0)"
    with pytest.raises(ShapeError, match="max_pool2d"):
        nn.MaxPool2d(2)(np.ones((3, 4, 4)))
    with pytest.raises(ShapeError, match="conv2d"):
        nn.Conv2d(3, 4, 2, rng=0)(np.ones((1, 2, 4, 4)))


def test_flatten() -> None:
    x = RNG.normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(nn.Flatten()(x), x.reshape(2, 60))
    assert nn.Flatten()(np.zeros((0, 3, 4))).shape == (0, 12)
    check_module(nn.Flatten(), x)


def test_nature_cnn() -> None:
    network = nn.NatureCNN((2, 40, 36), features=7, rng=0)
    images = RNG.integers(0, 256, (3, 2, 40, 36), np.uint8)
    x = images / 255
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            k, s = layer.weight.shape[2], layer.stride
            assert isinstance(s, int)
            places = windows(x, (k, k), (s, s), (0, 0))
            x = np.maximum(np.einsum("bcyxij,ocij->boyx", places, layer.weight.array, optimize=True), 0)
            assert not layer.bias.array.any()  # type: ignore[union-attr]
        elif isinstance(layer, nn.Linear):
            x = np.maximum(x.reshape(3, -1) @ layer.weight.array.T, 0)
    features = network(images)
    assert features.shape == (3, 7) and features.dtype == np.float32
    np.testing.assert_allclose(features.array, x, rtol=1e-4, atol=1e-5)
    for same in (Tensor(images), images.astype(np.float32), images.astype(np.float64)):
        assert network(same).dtype == np.float32
        np.testing.assert_allclose(network(same).array, features.array, rtol=1e-4, atol=1e-5)
    assert nn.parameters_to_vector(nn.NatureCNN((4, 84, 84), rng=0)).size == 1684128
    before = nn.NatureCNN((2, 40, 36), features=None, rng=0)
    assert before.features == 64 and before(images).shape == (3, 64)
    last: Any = nn.Sequential(*network.body.layers[-2:])
    np.testing.assert_array_equal(last(before(images)).array, features.array)
    with pytest.raises(ConfigError, match=r"at least 36 x 36, got 35 x 84: take nn.MinAtarCNN, or nn.image_network"):
        nn.NatureCNN((1, 35, 84), rng=0)


@pytest.mark.parametrize("high", [1, 255])
def test_the_network_of_minatar_is_one_convolution_and_one_linear_layer(high: int) -> None:
    network = nn.MinAtarCNN((4, 10, 12), features=7, rng=0, high=high)
    images = RNG.integers(0, high + 1, (3, 4, 10, 12), np.uint8)
    conv, linear = network.body[0], network.body[3]
    places = windows(images / high, (3, 3), (1, 1), (0, 0))
    x = np.maximum(np.einsum("bcyxij,ocij->boyx", places, conv.weight.array, optimize=True), 0)  # type: ignore[attr-defined]
    assert x.shape == (3, 16, 8, 10)
    x = np.maximum(x.reshape(3, -1) @ linear.weight.array.T, 0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(network(images).array, x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network(images.astype(np.float32)).array, x, rtol=1e-4, atol=1e-5)
    minatar = nn.MinAtarCNN((4, 10, 10), rng=0)  # the paper's: 4 · 9 · 16 + 16 and 1024 · 128 + 128 numbers
    assert nn.parameters_to_vector(minatar).size == 131792 and minatar.features == 128
    assert nn.MinAtarCNN((4, 10, 10), features=None, rng=0).features == 1024
    assert nn.MinAtarCNN((1, 3, 3), rng=0)(np.zeros((2, 1, 3, 3), np.uint8)).shape == (2, 128)
    with pytest.raises(ConfigError, match="at least 3 x 3, got 2 x 9: flatten them"):
        nn.MinAtarCNN((1, 2, 9), rng=0)


def test_the_network_for_images_is_chosen_by_size() -> None:
    for shape, kind, size in (((1, 36, 36), nn.NatureCNN, 512), ((1, 35, 84), nn.MinAtarCNN, 128)):
        network = nn.image_network(shape, rng=0, high=3)
        assert type(network) is kind and network.features == size == kind.width
        alone = nn.image_network(shape, False, 0)
        assert type(alone) is kind and alone(np.zeros((2, *shape), np.uint8)).shape == (2, alone.features)
        image = np.full((1, *shape), 3, np.uint8)
        np.testing.assert_allclose(network(image).array, kind(shape, rng=0)(image * 85).array, rtol=1e-4, atol=1e-6)
