"""Networks computed together: each member is what it would be alone."""

from typing import Any

import numpy as np
import pytest

from dbrrl import Tensor, nn
from dbrrl import functional as F
from dbrrl.errors import ConfigError, ShapeError
from tests.nn.checks import check_module

RNG = np.random.default_rng(0)


def alone(ensemble: nn.EnsembleMLP, k: int, x: Any, activation: Any) -> Any:
    """Member k, layer by layer."""
    for i, layer in enumerate(ensemble.layers):
        x = x @ layer.weight.array[k].astype(np.float64).T + layer.bias.array[k]
        x = activation(x) if i + 1 < len(ensemble.layers) else x
    return x


@pytest.mark.parametrize(("name", "activation"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (0, 3)])
def test_each_member_is_a_perceptron_of_its_own(name: str, activation: Any, shape: tuple[int, ...]) -> None:
    ensemble, x = nn.EnsembleMLP(2, (3, 8, 8, 2), name, rng=0), RNG.normal(size=shape).astype(np.float32)
    found = ensemble(x)
    for k in range(2):
        np.testing.assert_allclose(
            found.array[k], alone(ensemble, k, x if x.ndim == 2 else x[k], activation), 1e-5, 1e-6
        )
    np.testing.assert_array_equal(ensemble(x[1:] if x.ndim == 3 else x, slice(1, 2)).array[0], found.array[1])
    check_module(ensemble, x.astype(np.float64))


def test_members_draw_different_weights_within_the_bound() -> None:
    layer = nn.EnsembleLinear(3, 16, 50, rng=0)
    assert layer.weight.shape == (3, 50, 16) and layer.bias.shape == (3, 50)
    assert np.abs(layer.weight.array).max() <= 0.25 and np.abs(layer.weight.array).max() > 0.24
    assert not np.any(layer.weight.array[0] == layer.weight.array[1])
    one = nn.Linear(16, 50, rng=0)
    np.testing.assert_array_equal(layer.weight.array[0], one.weight.array)
    orthogonal = nn.EnsembleLinear(2, 4, 4, gain=2.0, rng=0)
    for k in range(2):
        w = orthogonal.weight.array[k]
        np.testing.assert_allclose(w @ w.T, 4 * np.eye(4), atol=1e-5)
    assert not orthogonal.bias.array.any() and repr(layer) == "EnsembleLinear(3, 16, 50)"


def test_wrong_shapes_are_named() -> None:
    layer = nn.EnsembleLinear(2, 3, 4, rng=0)
    for x in (np.zeros((5, 2)), np.zeros((3, 5, 3)), np.zeros(3)):
        with pytest.raises(ShapeError, match="ensemble_linear: expected x"):
            layer(x)
    with pytest.raises(ConfigError, match="EnsembleMLP: expected sizes"):
        nn.EnsembleMLP(2, (3,))
    with pytest.raises(ConfigError, match="activation: expected one of"):
        nn.EnsembleMLP(2, (3, 4, 1), "sine")


def test_frozen_parameters_get_no_gradient_and_inputs_the_same() -> None:
    ensemble = nn.EnsembleMLP(2, (3, 8, 1), rng=0)
    ensemble.layers[0].bias.requires_grad = False
    x, gradients = RNG.normal(size=(5, 3)).astype(np.float32), []
    for _ in range(2):
        ensemble.zero_grad()
        inputs = Tensor(x, requires_grad=True)
        F.sum(ensemble(inputs)).backward()
        gradients.append(inputs.grad)
        before = [None if p.grad is None else np.array(p.grad) for p in ensemble.parameters()]
        with nn.frozen(ensemble):
            again = Tensor(x, requires_grad=True)
            F.sum(ensemble(again)).backward()
        np.testing.assert_array_equal(again.grad, inputs.grad)  # type: ignore[arg-type]
        for p, grad in zip(ensemble.parameters(), before, strict=True):
            assert (p.grad is None and grad is None) or np.array_equal(p.grad, grad)  # type: ignore[arg-type]
    assert [p.requires_grad for p in ensemble.parameters()] == [True, False, True, True]


def test_parameters_are_as_before_after_an_error() -> None:
    layer = nn.Linear(2, 2, rng=0)
    with pytest.raises(ShapeError), nn.frozen(layer):
        layer(np.zeros((3, 3)))
    assert layer.weight.requires_grad
