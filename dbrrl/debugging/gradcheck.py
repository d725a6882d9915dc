"""Gradients against central differences, in float64: for the first derivative and the second."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.shape import concatenate
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import device_name, to_device, to_numpy
from dbrrl.errors import ConfigError, GradientError

TINY = 8  # up to so many elements each one is varied alone, and the whole Jacobian is checked
Function = Callable[..., Any]


def check_gradients(
    f: Function,
    *arrays: Any,
    order: int = 1,
    directions: int = 4,
    step: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
) -> None:
    """Compare the gradients of `f` with central differences (f(x + h d) - f(x - h d)) / 2h.

    With arrays on a GPU `f` runs on it; the comparison is made on the host.

    Inputs and outputs of at most 8 elements are taken element by element, which gives the whole Jacobian;
    larger ones are probed along random directions d, whose components are all between 1/2 and 1 in size.

    Args:
        f: takes one argument per array, returns a Tensor of any shape; deterministic, and smooth at the point.
        *arrays: the point. Floating-point arrays become float64 tensors that want gradients; others pass as
            they are.
        order: 1, or 2 to check also the gradient of the gradient: by the inputs, and by the gradient of the output.
        directions: random directions per large input, and random weightings of a large output.
        step: h.
        rtol: relative tolerance, of the larger of the two values.
        atol: absolute tolerance.
        seed: of the random directions.

    Raises:
        GradientError: a mismatch: the order, the input, the place and both values are named.
        ConfigError: an order other than 1 and 2, nothing to differentiate, or an `f` that gives no Tensor
            or differs from call to call.
    """
    if order not in (1, 2):
        raise ConfigError(f"check_gradients: expected order 1 or 2, got {order}")
    host = [to_numpy(a) for a in arrays]
    wanted = [i for i, a in enumerate(host) if a.dtype.kind == "f"]
    point = [np.array(a, np.float64) if i in wanted else arrays[i] for i, a in enumerate(host)]
    if not wanted:
        raise ConfigError("check_gradients: expected a floating-point array, got none: convert the input")
    check = _Check(point, wanted, directions, step, rtol, atol, np.random.default_rng(seed))
    check.devices = [device_name(a) for a in arrays]
    check.run(f, 1)
    if order == 2:
        gradient = check.gradient_of(f)  # which takes the weights of f's elements after the arguments of f
        check.run(gradient, 2)


class _Check:
    """One point and the tolerances; `run` compares the gradients at it."""

    def __init__(
        self,
        point: list[Any],
        wanted: list[int],
        directions: int,
        step: float,
        rtol: float,
        atol: float,
        rng: np.random.Generator,
    ) -> None:
        self.point, self.wanted, self.directions = point, wanted, directions
        self.step, self.rtol, self.atol, self.rng = step, rtol, atol, rng
        self.devices = ["cpu"] * len(point)  # where f wants its arguments
        self.weights = -1  # which part of the point weighs f's elements; none for the first derivative

    def tensors(self, arrays: Sequence[Any]) -> list[Any]:
        """The arguments of a call: tensors where a gradient is wanted."""
        pairs = enumerate(zip(arrays, self.devices, strict=True))
        return [Tensor(to_device(a, d), requires_grad=True) if i in self.wanted else a for i, (a, d) in pairs]

    def value(self, f: Function, arrays: Sequence[Any]) -> Any:
        """Plain result of f."""
        return to_numpy(_tensor(f(*self.tensors(arrays))).array)

    def gradients(self, f: Function, vector: Any, create_graph: bool) -> list[Any]:
        """The gradients of Σ vector f for the wanted inputs; zeros where f does not depend on one."""
        inputs = self.tensors(self.point)
        leaves = [inputs[i] for i in self.wanted]
        y = _tensor(f(*inputs))
        if not y.requires_grad:
            return [np.zeros(x.shape) for x in leaves]
        gs = grad(y, leaves, vector, create_graph=create_graph, allow_unused=True)
        return [np.zeros(x.shape) if g is None else to_numpy(g.array) for g, x in zip(gs, leaves, strict=True)]

    def run(self, f: Function, order: int) -> None:
        """Compare the gradients of f, named as derivatives of `order`, with central differences."""
        value = self.value(f, self.point)
        if not np.array_equal(value, self.value(f, self.point), equal_nan=True):
            raise ConfigError(
                "check_gradients: expected the same result from two calls of f, got two: make its random "
                "generator inside f, with a fixed seed"
            )
        for vector in self.probes(value.shape):
            gradients = self.gradients(f, vector, create_graph=False)
            recorded = self.gradients(f, vector, create_graph=True)
            for i, g, h in zip(self.wanted, gradients, recorded, strict=True):
                self.compare(order, i, "with create_graph=True", g, h)
                probes = self.probes(self.point[i].shape)
                for direction in itertools.islice(probes, 1 if i == self.weights else None):  # linear in the weights
                    expected = float(np.sum(vector * self.difference(f, i, direction)))
                    self.compare(order, i, _where(direction), expected, float(np.sum(g * direction)))

    def difference(self, f: Function, i: int, direction: Any) -> Any:
        """Central difference of f along a direction of input i."""
        sides = []
        for h in (self.step, -self.step):
            moved = list(self.point)
            moved[i] = moved[i] + h * direction
            sides.append(self.value(f, moved))
        return (sides[0] - sides[1]) / (2 * self.step)

    def probes(self, shape: tuple[int, ...]) -> Iterator[Any]:
        """Unit vectors of a small shape, random ones of a large one."""
        size = int(np.prod(shape))
        if size <= TINY:
            for k in range(size):
                unit = np.zeros(size)
                unit[k] = 1
                yield unit.reshape(shape)
            return
        for _ in range(self.directions):
            yield self.rng.uniform(0.5, 1, shape) * self.rng.choice([-1.0, 1.0], shape)

    def compare(self, order: int, i: int, where: str, expected: Any, got: Any) -> None:
        """Raise GradientError where two numbers or arrays differ."""
        wrong = np.abs(np.subtract(expected, got))
        bound = self.atol + self.rtol * np.maximum(np.abs(expected), np.abs(got))
        if np.all(wrong <= bound):
            return
        worst = np.unravel_index(np.argmax(wrong - bound), np.shape(wrong))
        what = "the gradient that backward gets," if i == self.weights else f"input {i}"
        raise GradientError(
            f"check_gradients: derivative {order} for {what} of shape {self.point[i].shape}, {where}: "
            f"expected {np.asarray(expected)[worst]:.10g}, got {np.asarray(got)[worst]:.10g}: "
            "check the backward of the ops in f, or that f is smooth here"
        )

    def gradient_of(self, f: Function) -> Function:
        """The function that gives the gradient of a weighting of f, as one flat tensor.

        It takes the weights, which arrive as the gradient of f's output, after the arguments of f; they become a part
        of the point.
        """
        y = _tensor(f(*self.tensors(self.point)))
        wanted = list(self.wanted)
        self.weights = len(self.point)
        self.point.append(self.rng.uniform(0.5, 1, y.shape) * self.rng.choice([-1.0, 1.0], y.shape))
        self.wanted.append(self.weights)
        self.devices.append(device_name(y.array))

        def gradient(*inputs: Any) -> Any:
            *inputs, vector = inputs  # type: ignore[assignment]
            leaves = [inputs[i] for i in wanted]
            y = _tensor(f(*inputs))
            gs: list[Any] = [None] * len(leaves)
            if y.requires_grad:
                gs = grad(y, leaves, vector, create_graph=True, allow_unused=True)
            pairs = zip(gs, leaves, strict=True)
            return concatenate([(x.detach() * 0 if g is None else g).reshape(-1) for g, x in pairs])

        return gradient


def _tensor(y: Any) -> Any:
    if not isinstance(y, Tensor):
        raise ConfigError(f"check_gradients: expected f to return a Tensor, got {type(y).__name__}: do not detach it")
    return y


def _where(direction: Any) -> str:
    if np.count_nonzero(direction) == 1:
        return f"element {[int(k) for k in np.argwhere(direction)[0]]}"
    return "along a random direction"
