"""Arithmetic ops: two broadcastable inputs, or a choice between them. The engine undoes the broadcasting."""

from typing import Any

import numpy as np

from dbrrl.autodiff.register import implements, method, reflected
from dbrrl.autodiff.tensor import Op, Tensor


class Add(Op):
    """y = a + b."""

    saves_inputs = False

    def forward(self, a: Any, b: Any) -> Any:
        return a + b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return g, g


@implements(np.add)
@method("__add__")
@reflected("__radd__")
def add(a: Any, b: Any) -> Any:
    """Sum a + b, broadcast."""
    return Add()(a, b)


class Subtract(Op):
    """y = a - b."""

    saves_inputs = False

    def forward(self, a: Any, b: Any) -> Any:
        return a - b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return g, -g if self.needs(1) else None


@implements(np.subtract)
@method("__sub__")
@reflected("__rsub__")
def subtract(a: Any, b: Any) -> Any:
    """Difference a - b, broadcast."""
    return Subtract()(a, b)


class Multiply(Op):
    """y = a b."""

    def forward(self, a: Any, b: Any) -> Any:
        return a * b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return g * b if self.needs(0) else None, g * a if self.needs(1) else None


@implements(np.multiply)
@method("__mul__")
@reflected("__rmul__")
def multiply(a: Any, b: Any) -> Any:
    """Product a b, element by element, broadcast."""
    return Multiply()(a, b)


class Divide(Op):
    """y = a / b."""

    def forward(self, a: Any, b: Any) -> Any:
        return a / b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = g / b
        return ga, -ga * y if self.needs(1) else None


@implements(np.divide)
@method("__truediv__")
@reflected("__rtruediv__")
def divide(a: Any, b: Any) -> Any:
    """Quotient a / b, broadcast."""
    return Divide()(a, b)


class Power(Op):
    """y = a^b; the gradient for b is that of exp(b log a), 0 where a = 0."""

    def forward(self, a: Any, b: Any) -> Any:
        return a**b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = g * b * a ** np.where(np.equal(b, 0), 1, b - 1) if self.needs(0) else None
        return ga, g * y * np.log(np.where(np.equal(a, 0), 1, a)) if self.needs(1) else None


@implements(np.power, np.float_power)
@method("__pow__")
@reflected("__rpow__")
def power(a: Any, b: Any) -> Any:
    """Power a^b, broadcast; a must be positive where b asks for a gradient."""
    return Power()(a, b)


class Maximum(Op):
    """y = max(a, b); equal elements share the gradient by halves."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return _share(g, np.greater(a, b), np.equal(a, b))


@implements(np.maximum)
def maximum(a: Any, b: Any) -> Any:
    """Larger of a and b, element by element, broadcast."""
    return Maximum()(a, b)


class Minimum(Op):
    """y = min(a, b); equal elements share the gradient by halves."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return _share(g, np.less(a, b), np.equal(a, b))


@implements(np.minimum)
def minimum(a: Any, b: Any) -> Any:
    """Smaller of a and b, element by element, broadcast."""
    return Minimum()(a, b)


def _share(g: Any, first: Any, equal: Any) -> Any:
    to_first = g * first
    if equal.any():
        to_first = to_first + g * (equal * np.asarray(0.5, g.dtype))
    return to_first, g - to_first


class Where(Op):
    """y = a where the condition holds, else b."""

    saves_inputs = False

    def __init__(self, condition: Any) -> None:
        self.condition = condition

    def forward(self, a: Any, b: Any) -> Any:
        return np.where(self.condition, a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        zero = np.zeros((), g.dtype)
        return np.where(self.condition, g, zero), np.where(self.condition, zero, g)


@implements(np.where)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Elements of a where `condition` (a boolean array, without gradient) holds, else of b; broadcast."""
    return Where(condition.array if isinstance(condition, Tensor) else condition)(a, b)


class Clip(Op):
    """y = a clipped to [low, high]; the gradient passes where low <= a <= high."""

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high

    def forward(self, a: Any) -> Any:
        low, high = self.low, self.high
        if low is None:
            return np.minimum(a, high)
        return np.maximum(a, low) if high is None else np.minimum(np.maximum(a, low), high)

    def backward(self, g: Any, y: Any, a: Any) -> Any:
        return g * np.equal(y, a)


@implements(np.clip)
@method("clip")
def clip(a: Any, a_min: Any = None, a_max: Any = None) -> Any:
    """Limit a to [a_min, a_max]; either bound may be None. Bounds are plain numbers or arrays."""
    return Clip(a_min, a_max)(a)
