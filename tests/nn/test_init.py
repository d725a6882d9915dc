"""Initial weights: orthogonality, variances and bounds as their papers say, from the generator given."""

import math
from typing import Any

import numpy as np
import pytest

from dbrrl import nn
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.nn import init

SHAPE = (300, 200)  # 60,000 draws: a standard deviation is known to 0.3 percent
CONV = (64, 32, 3, 3)


def draw(name: str, shape: Any = SHAPE, **named: Any) -> np.ndarray:
    return getattr(init, name)(np.random.default_rng(3), shape, **named)  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (4, 2, 3, 3), (1, 5)])
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2), 0.01])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...], gain: float) -> None:
    w = draw("orthogonal", shape, gain=gain)
    assert w.shape == shape and w.dtype == np.float32
    flat = w.reshape(shape[0], -1).astype(np.float64) / gain
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_is_uniform_over_rotations() -> None:
    # Without the correction of signs the diagonal of q would be of one sign.
    rng = np.random.default_rng(0)
    mean = np.mean([init.orthogonal(rng, (2, 2)) for _ in range(2000)], axis=0)
    assert np.abs(mean).max() < 4 * math.sqrt(0.5 / 2000)


@pytest.mark.parametrize(
    ("name", "std", "named"),
    [
        ("xavier_uniform", math.sqrt(2 / 500), {}),
        ("xavier_normal", 5 / 3 * math.sqrt(2 / 500), {"gain": 5 / 3}),
        ("glorot_uniform", math.sqrt(2 / 500), {}),
        ("glorot_normal", math.sqrt(2 / 500), {}),
        ("kaiming_uniform", math.sqrt(2 / 200), {}),
        ("kaiming_normal", math.sqrt(2 / 200), {}),
        ("he_uniform", math.sqrt(2 / 200), {}),
        ("he_normal", 1 / math.sqrt(200), {"gain": 1.0}),
        ("lecun_uniform", 1 / math.sqrt(200), {}),
        ("lecun_normal", 1 / math.sqrt(200), {}),
        ("normal", 0.3, {"std": 0.3}),
        ("uniform", 0.3 / math.sqrt(3), {"bound": 0.3}),
    ],
)
def test_standard_deviation(name: str, std: float, named: dict[str, float]) -> None:
    w = draw(name, **named)
    assert w.shape == SHAPE and w.dtype == np.float32
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.015)
    if "uniform" in name:  # bounds that are reached, and not passed
        assert 0.999 < np.abs(w).max() / (std * math.sqrt(3)) <= 1 + 1e-6
    else:
        kurtosis = np.mean((w / w.std()) ** 4)
        assert kurtosis == pytest.approx(3, abs=0.12)


def test_fans_of_linear_and_convolution() -> None:
    assert init.fans((5, 7)) == (7, 5)
    assert init.fans(CONV) == (32 * 9, 64 * 9)
    assert draw("lecun_normal", CONV).std() == pytest.approx(1 / math.sqrt(288), rel=0.02)
    with pytest.raises(ShapeError, match="expected a shape"):
        init.fans((5,))


def test_gains() -> None:
    gains = [init.calculate_gain(name) for name in ("linear", "sigmoid", "tanh", "relu", "selu")]
    assert gains == [1, 1, 5 / 3, math.sqrt(2), 0.75]
    with pytest.raises(ConfigError, match="expected one of"):
        init.calculate_gain("swish")


@pytest.mark.parametrize("make", [lambda rng: nn.Linear(100, 80, rng=rng), lambda rng: nn.Conv2d(4, 80, 5, rng=rng)])
def test_layers_start_uniform_by_fan_in(make: Any) -> None:
    layer = make(0)
    for p in (layer.weight, layer.bias):
        assert 0.9 < np.abs(p.array).max() / 0.1 <= 1 + 1e-6
    assert layer.weight.array.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.03)


def test_a_gain_makes_layers_orthogonal_without_bias() -> None:
    layers = (nn.Linear(6, 4, gain=0.5, rng=0), nn.Conv2d(2, 4, 3, gain=0.5, rng=0), nn.LSTMCell(3, 2, gain=0.5, rng=0))
    for layer in layers:
        weights = [p.array for name, p in layer.named_parameters() if "weight" in name]
        for w in (w.reshape(len(w), -1) for w in weights):
            product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
            np.testing.assert_allclose(product, 0.25 * np.eye(len(product)), atol=1e-6)
        assert not any(p.array.any() for name, p in layer.named_parameters() if "bias" in name)


def test_a_seed_and_its_generator_give_the_same_network() -> None:
    a, b = nn.mlp((3, 8, 2), rng=5), nn.mlp((3, 8, 2), rng=np.random.default_rng(5))
    np.testing.assert_equal(a.state_dict(), b.state_dict())
    assert not np.array_equal(nn.Linear(3, 3).weight.array, nn.Linear(3, 3).weight.array)
