"""Inputs that need no gradient cost none: their part of a backward pass is left out, and the others' stay the same."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, observing, state
from tests.standin import host, put

NOISE = np.array([0.5, -1, 2], np.float32), np.array([1, 0.3, -0.7, 2], np.float32)
LAYERS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "linear": (lambda x, w, b: F.linear(x, w, b, "tanh"), ((5, 3), (4, 3), (4,))),
    "stack": (
        lambda x, *p: F.perceptron(x, p, ["relu", "tanh", None]),
        ((5, 3), (4, 3), (4,), (4, 4), (4,), (2, 4), (2,)),
    ),
    "noisy": (lambda x, w, b, s, t: F.noisy_linear(x, w, b, s, t, NOISE), ((5, 3), (4, 3), (4,), (4, 3), (4,))),
    "convolution": (lambda x, w, b: F.conv2d(x, w, b, 2, 1, "relu"), ((2, 3, 6, 6), (4, 3, 3, 3), (4,))),
    "rnn": (
        lambda x, w, v, h, b, c: F.rnn(x, w, v, h, b, c)[0],
        ((3, 2, 3), (4, 3), (4, 4), (2, 4), (4,), (4,)),
    ),
    "gru": (
        lambda x, w, v, h, b, c: F.gru(x, w, v, h, b, c)[0],
        ((3, 2, 3), (12, 3), (12, 4), (2, 4), (12,), (12,)),
    ),
    "lstm": (
        lambda x, w, v, h, c, b, d: F.lstm(x, w, v, h, c, b, d)[0],
        ((3, 2, 3), (16, 3), (16, 4), (2, 4), (2, 4), (16,), (16,)),
    ),
}


class Returned:
    """An observer that keeps what the backward pass of each op returned, by the op's name."""

    def __init__(self) -> None:
        self.gradients: dict[str, tuple[Any, ...]] = {}

    def forward(self, op: Op, arrays: Any) -> Any:
        return op.forward(*arrays)

    def backward(self, op: Op, g: Any, y: Any, values: Any) -> Any:
        found = op.backward(g, y, *values)
        self.gradients[type(op).__name__] = found if isinstance(found, tuple) else (found,)
        return found


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> Returned:
    observer = Returned()
    monkeypatch.setattr(state, "observer", observer)
    return observer


def gradients(name: str, needed: tuple[bool, ...], device: str) -> list[Any]:
    """The gradient of each input that needs one, else None."""
    layer, shapes = LAYERS[name]
    rng = np.random.default_rng(3)
    arrays = [put(rng.normal(size=shape).astype(np.float32), device) for shape in shapes]
    inputs = [Tensor(array, requires_grad=need) for array, need in zip(arrays, needed, strict=True)]
    y = layer(*inputs)
    found = iter(grad((y * y).sum(), [x for x in inputs if x.requires_grad]))
    return [host(next(found).array, device) if need else None for need in needed]


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_of_some_inputs_are_those_of_all(name: str, device: str) -> None:
    n = len(LAYERS[name][1])
    everything = gradients(name, (True,) * n, device)
    for needed in itertools.product((False, True), repeat=n):
        if any(needed):
            for all_, some in zip(everything, gradients(name, needed, device), strict=True):
                if some is not None:
                    np.testing.assert_allclose(some, all_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_frozen_weights_get_no_gradient(name: str, device: str, returned: Returned) -> None:
    weights = [i for i, shape in enumerate(LAYERS[name][1]) if len(shape) != 1 and i and shape != (2, 4)]
    needed = tuple(i == 0 for i in range(len(LAYERS[name][1])))
    gradients(name, needed, device)
    op = {"linear": "Linear", "stack": "FusedLinear", "noisy": "Noisy", "convolution": "Conv2d"}.get(name, name.upper())
    found = returned.gradients[op]
    assert found[0] is not None
    assert all(found[i + (name == "noisy")] is None for i in weights)  # which takes x twice


def test_a_stack_is_left_at_its_first_layer_that_is_trained(returned: Returned) -> None:
    gradients("stack", (False, False, False, False, False, True, True), "cpu")
    assert not observing and [g is None for g in returned.gradients["FusedLinear"]] == [True] * 5 + [False] * 2
