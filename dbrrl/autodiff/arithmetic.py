"""Arithmetic ops: two broadcastable inputs, or a choice between them. The engine undoes the broadcasting."""

import math
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method, reflected
from dbrrl.autodiff.tensor import Tensor, kept, plain
from dbrrl.backend import to_device_of


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
    """y = a^b; da = b a^(b-1), db = y ln a, 0 where a = 0."""

    def forward(self, a: Any, b: Any) -> Any:
        return a**b

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = g * _slope(a, b) if self.needs(0) else None
        return ga, g * y * _log(a) if self.needs(1) else None


def _log(a: Any) -> Any:
    """ln a, 0 where a = 0; of a number a number, which widens nothing."""
    if isinstance(a, (int, float)):
        return 0.0 if a == 0 else math.log(a) if a > 0 else math.nan
    return np.log(np.where(np.equal(a, 0), 1, a))


def _slope(a: Any, b: Any) -> Any:
    """b a^(b-1), which is 0 where b = 0 and 1 where b = 1 even if a = 0."""
    if isinstance(b, (int, float)):
        return b * a ** (b - 1) if b != 0 else a * 0
    return b * a ** np.where(np.logical_and(np.equal(a, 0), np.equal(b, 0)), 1, b - 1)


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
        to_first = to_first + g * (equal * g.dtype.type(0.5))
    return to_first, g - to_first


class Where(Op):
    """y = a where the condition holds, else b."""

    saves_inputs = False

    def __init__(self, condition: Any) -> None:
        self.condition = condition

    def forward(self, a: Any, b: Any) -> Any:
        return np.where(self.condition, a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        zero = g.dtype.type(0)
        return np.where(self.condition, g, zero), np.where(self.condition, zero, g)


@implements(np.where)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Elements of a where `condition` (a boolean array, without gradient) holds, else of b; broadcast."""
    return Where(to_device_of(plain(a if hasattr(a, "shape") else b), kept(condition)))(a, b)


class Clip(Op):
    """y = a clipped to [low, high]; the gradient passes where low <= a <= high."""

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high

    def forward(self, a: Any) -> Any:
        low, high = self.low, self.high
        y = a if low is None else np.maximum(a, low)
        return y if high is None else np.minimum(y, high)

    def backward(self, g: Any, y: Any, a: Any) -> Any:
        return g * np.equal(y, a)


@implements(np.clip)
@method("clip")
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """Limit a to [a_min, a_max] (also called min and max); either bound may be None.

    A bound that is a Tensor gets gradients, by way of `maximum` and `minimum`.
    """
    low, high = a_min if min is None else min, a_max if max is None else max
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        y = a if low is None else maximum(a, low)
        return y if high is None else minimum(y, high)
    return Clip(_bound(low, a), _bound(high, a))(a)


def _bound(value: Any, a: Any) -> Any:
    if isinstance(value, (int, float)):
        # One of NumPy's would widen float32.
        return value.item() if isinstance(value, np.generic) and isinstance(a, Tensor) else value
    if value is None:
        return None
    array = np.asarray(value) if isinstance(value, (list, tuple)) else value
    return to_device_of(plain(a), array.astype(a.dtype, copy=False) if isinstance(a, Tensor) else array)
