"""Dropout and noisy layers: distribution, formula, and streams of their own that go on exactly where they were."""

from typing import Any

import numpy as np
import pytest

from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError
from tests.nn.checks import check_float32, check_module

X = np.random.default_rng(1).normal(size=(5, 3))


def test_dropout_keeps_a_share_and_the_mean() -> None:
    layer, x = nn.Dropout(0.3, rng=0), np.ones((200, 500), np.float32)
    y = layer(Tensor(x)).array
    assert y.dtype == np.float32 and set(np.unique(y)) == {0, np.float32(1 / 0.7)}
    assert np.mean(y == 0) == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / x.size))
    assert layer.eval()(x) is x
    assert nn.Dropout(0, rng=0)(x) is x


def test_the_gradient_passes_where_the_value_did() -> None:
    layer, x = nn.Dropout(0.5, rng=0), Tensor(np.ones(1000, np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.array)


@pytest.mark.parametrize("p", [-0.1, 1, float("nan")])
def test_a_wrong_probability(p: float) -> None:
    with pytest.raises(ConfigError, match="Dropout: expected a probability"):
        nn.Dropout(p)


def test_layers_made_from_one_generator_have_streams_of_their_own() -> None:
    rng = np.random.default_rng(0)
    first, second = nn.Dropout(0.5, rng=rng), nn.Dropout(0.5, rng=rng)
    x = np.ones(100, np.float32)
    assert not np.array_equal(first(x), second(x))
    rng = np.random.default_rng(0)
    again = nn.Dropout(0.5, rng=rng)
    rng.random(7)  # what the generator draws later is no matter
    first = nn.Dropout(0.5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(first(x), again(x))


@pytest.mark.parametrize("make", [lambda seed: nn.Dropout(0.5, rng=seed), lambda seed: nn.NoisyLinear(3, 2, rng=seed)])
def test_a_saved_layer_goes_on_exactly(make: Any) -> None:
    def draws(layer: Any) -> list[np.ndarray]:
        found = []
        for _ in range(3):
            found.append(np.asarray(layer(Tensor(X)).array))
            nn.resample_noise(layer)
        return found

    layer, other = make(0), make(1)
    draws(layer)
    state = layer.state_dict()
    expected = draws(layer)
    other.load_state_dict(state)
    np.testing.assert_array_equal(draws(other), expected)
    np.testing.assert_array_equal(draws(make(0))[0].shape, expected[0].shape)


def test_noisy_linear_is_its_formula() -> None:
    layer = nn.NoisyLinear(3, 2, rng=0)
    w, b, sw, sb = (p.array.astype(np.float64) for p in layer.parameters())
    noise_in, noise_out = layer.noise_in, layer.noise_out
    expected = X @ (w + sw * np.outer(noise_out, noise_in)).T + b + sb * noise_out
    np.testing.assert_allclose(layer(X).array, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.eval()(X).array, X @ w.T + b, rtol=1e-5, atol=1e-6)
    assert repr(layer) == "NoisyLinear(3, 2)"


def test_noisy_linear_starts_as_in_the_paper() -> None:
    layer = nn.NoisyLinear(100, 80, sigma=0.4, rng=0)
    np.testing.assert_allclose(layer.weight_sigma.array, 0.04, rtol=1e-6)
    np.testing.assert_allclose(layer.bias_sigma.array, 0.04, rtol=1e-6)
    assert 0.099 < np.abs(layer.weight.array).max() <= 0.1


def test_noise_is_the_signed_root_of_normals() -> None:
    layer = nn.NoisyLinear(20_000, 3, rng=0)
    before = layer.noise_in.copy()
    layer.resample()
    assert not np.array_equal(before, layer.noise_in) and layer.noise_in.dtype == np.float32
    normal = np.sign(layer.noise_in) * layer.noise_in**2
    for moment, value, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert np.mean(normal**moment) == pytest.approx(value, abs=5 * np.sqrt(spread / 20_000))
    layer.resample(np.random.default_rng(5))
    kept = layer.noise_out
    layer.resample(np.random.default_rng(5))
    np.testing.assert_array_equal(kept, layer.noise_out)


def test_resample_noise_reaches_every_layer() -> None:
    model = nn.Sequential(nn.NoisyLinear(3, 4, rng=0), nn.Tanh(), nn.NoisyLinear(4, 2, rng=1))
    before = model(X).array
    np.testing.assert_array_equal(before, model(X).array)
    nn.resample_noise(model)
    assert np.all(before != model(X).array)


def test_gradients_and_dtypes() -> None:
    check_float32(nn.NoisyLinear(3, 2, rng=0), X.astype(np.float32))
    check_module(nn.NoisyLinear(3, 2, rng=0), X)
    check_module(nn.NoisyLinear(3, 2, rng=0).eval(), X)

    class Fixed(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 4, rng=0)

        def forward(self, x: Any) -> Any:
            return nn.Dropout(0.4, rng=3)(self.linear(x))

    check_float32(Fixed(), X.astype(np.float32))
    check_module(Fixed(), X)


def test_one_draw_for_all_layers_is_one_after_the_other() -> None:
    def net() -> Any:
        rng = np.random.default_rng(0)
        return nn.Sequential(nn.NoisyLinear(3, 4, rng=rng), nn.Tanh(), nn.NoisyLinear(4, 2, rng=rng))

    for given in (None, 7):
        at_once, in_turn = net(), net()
        nn.resample_noise(at_once, None if given is None else np.random.default_rng(given))
        shared = None if given is None else np.random.default_rng(given)
        for layer, expected in zip(nn.noisy_layers(at_once), nn.noisy_layers(in_turn), strict=True):
            expected.resample(shared)
            np.testing.assert_array_equal(layer.noise_in, expected.noise_in)
            np.testing.assert_array_equal(layer.noise_out, expected.noise_out)
    nn.resample_noise(nn.Linear(2, 2))
