"""check_gradients finds what is wrong and says where."""

from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor
from dbrrl.debugging.gradcheck import check_gradients
from dbrrl.errors import ConfigError, GradientError


class Doubtful(Op):
    """y = x³ with a gradient of a given factor, on arrays and on tensors."""

    def __init__(self, factor: float, recorded: float) -> None:
        self.factor, self.recorded = factor, recorded

    def forward(self, x: Any) -> Any:
        return x * x * x

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (x * x) * (self.recorded if isinstance(g, Tensor) else self.factor)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (0, 2)])
def test_right_gradients_pass(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    check_gradients(lambda x: Doubtful(3, 3)(x), x, order=2)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5)])
def test_a_wrong_gradient_is_found(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape) + 2
    with pytest.raises(GradientError, match="derivative 1 for input 0"):
        check_gradients(lambda x: Doubtful(3.001, 3.001)(x), x)


def test_the_input_and_the_place_are_named() -> None:
    class OneWrong(Op):
        def forward(self, a: Any, b: Any) -> Any:
            return a + b * b

        def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
            return g, 2 * g * b * np.array([1.0, 1.0, 1.1])

    with pytest.raises(GradientError, match=r"input 1 of shape \(3,\), element \[2\]: expected 6, got 6\.6"):
        check_gradients(lambda a, b: OneWrong()(a, b), np.ones(3), np.array([1.0, 2.0, 3.0]))


def test_paths_for_arrays_and_tensors_must_agree() -> None:
    with pytest.raises(GradientError, match="create_graph"):
        check_gradients(lambda x: Doubtful(3, 3.1)(x), np.ones(3))


def test_a_wrong_second_derivative_is_found() -> None:
    class Detached(Op):
        def forward(self, x: Any) -> Any:
            return x * x

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return g * 2 * getattr(x, "array", x)

    check_gradients(lambda x: Detached()(x), np.ones(3), order=1)
    with pytest.raises(GradientError, match="derivative 2"):
        check_gradients(lambda x: Detached()(x), np.ones(3), order=2)


@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_a_gradient_that_is_not_recorded_as_one_of_the_gradient_that_came_in_is_found(shape: tuple[int, ...]) -> None:
    class Cut(Op):
        def forward(self, x: Any) -> Any:
            return x * x

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return getattr(g, "array", g) * 2 * x

    check_gradients(lambda x: Cut()(x), np.ones(shape), order=1)
    line = rf"derivative 2 for the gradient that backward gets, of shape \({', '.join(map(str, shape))},?\)"
    with pytest.raises(GradientError, match=line):
        check_gradients(lambda x: Cut()(x), np.ones(shape), order=2)


def test_nan_is_a_mismatch() -> None:
    class Nan(Op):
        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return g * np.nan

    with pytest.raises(GradientError, match="nan"):
        check_gradients(lambda x: Nan()(x), np.ones(3))


def test_integers_pass_through_and_unused_inputs_have_zero_gradients() -> None:
    check_gradients(lambda x, i, unused: x[i] * 2, np.ones(3), np.array([0, 0]), np.ones(2), order=2)


def test_misuse_is_explained() -> None:
    with pytest.raises(ConfigError, match="order 1 or 2"):
        check_gradients(F.exp, np.ones(2), order=3)
    with pytest.raises(ConfigError, match="floating-point"):
        check_gradients(F.exp, np.arange(2))
    with pytest.raises(ConfigError, match="return a Tensor"):
        check_gradients(lambda x: x.data, np.ones(2))
    noise = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="same result"):
        check_gradients(lambda x: x * noise.normal(), np.ones(2))
    assert issubclass(GradientError, AssertionError)
