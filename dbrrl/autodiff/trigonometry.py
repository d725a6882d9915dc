"""Elementwise ops of angles, hyperbolic functions and logarithms of other bases."""

import math
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements


class Tan(Op):
    """y = tan x; dy = 1 + y²."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return np.tan(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (1 + y * y)


@implements(np.tan)
def tan(x: Any) -> Any:
    """Tangent; x in radians."""
    return Tan()(x)


class Arcsin(Op):
    """y = arcsin x; dy = 1 / √(1 - x²)."""

    def forward(self, x: Any) -> Any:
        return np.arcsin(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / np.sqrt(1 - x * x)


@implements(np.arcsin)
def arcsin(x: Any) -> Any:
    """Inverse sine of |x| <= 1, in radians; the gradient is infinite at ±1."""
    return Arcsin()(x)


class Arccos(Op):
    """y = arccos x; dy = -1 / √(1 - x²)."""

    def forward(self, x: Any) -> Any:
        return np.arccos(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return -g / np.sqrt(1 - x * x)


@implements(np.arccos)
def arccos(x: Any) -> Any:
    """Inverse cosine of |x| <= 1, in radians; the gradient is infinite at ±1."""
    return Arccos()(x)


class Arctan(Op):
    """y = arctan x; dy = 1 / (1 + x²)."""

    def forward(self, x: Any) -> Any:
        return np.arctan(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (1 + x * x)


@implements(np.arctan)
def arctan(x: Any) -> Any:
    """Inverse tangent, in radians."""
    return Arctan()(x)


class Arctan2(Op):
    """y = angle of the point (b, a); da = b / (a² + b²), db = -a / (a² + b²)."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.arctan2(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        scaled = g / (a * a + b * b)
        return scaled * b if self.needs(0) else None, -scaled * a if self.needs(1) else None


@implements(np.arctan2)
def arctan2(a: Any, b: Any) -> Any:
    """Angle of the point with abscissa b and ordinate a, in radians from -π to π, broadcast."""
    return Arctan2()(a, b)


class Hypot(Op):
    """y = √(a² + b²) without overflow; da = a / y, db = b / y, 0 where y = 0."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.hypot(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        scaled = g / (y + np.equal(y, 0))
        return scaled * a if self.needs(0) else None, scaled * b if self.needs(1) else None


@implements(np.hypot)
def hypot(a: Any, b: Any) -> Any:
    """√(a² + b²), the length of the vector (a, b), broadcast; its gradient is 0 at the origin."""
    return Hypot()(a, b)


class Sinh(Op):
    """y = sinh x; dy = cosh x."""

    def forward(self, x: Any) -> Any:
        return np.sinh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * np.cosh(x)


@implements(np.sinh)
def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    return Sinh()(x)


class Cosh(Op):
    """y = cosh x; dy = sinh x."""

    def forward(self, x: Any) -> Any:
        return np.cosh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * np.sinh(x)


@implements(np.cosh)
def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return Cosh()(x)


class Arcsinh(Op):
    """y = arsinh x; dy = 1 / √(x² + 1)."""

    def forward(self, x: Any) -> Any:
        return np.arcsinh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / np.sqrt(x * x + 1)


@implements(np.arcsinh)
def arcsinh(x: Any) -> Any:
    """Inverse hyperbolic sine."""
    return Arcsinh()(x)


class Arccosh(Op):
    """y = arcosh x; dy = 1 / √(x² - 1)."""

    def forward(self, x: Any) -> Any:
        return np.arccosh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / np.sqrt(x * x - 1)


@implements(np.arccosh)
def arccosh(x: Any) -> Any:
    """Inverse hyperbolic cosine of x >= 1; the gradient is infinite at 1."""
    return Arccosh()(x)


class Log2(Op):
    """y = log₂ x; dy = 1 / (x ln 2)."""

    def forward(self, x: Any) -> Any:
        return np.log2(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (x * math.log(2))


@implements(np.log2)
def log2(x: Any) -> Any:
    """Logarithm to base 2."""
    return Log2()(x)


class Log10(Op):
    """y = log₁₀ x; dy = 1 / (x ln 10)."""

    def forward(self, x: Any) -> Any:
        return np.log10(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (x * math.log(10))


@implements(np.log10)
def log10(x: Any) -> Any:
    """Logarithm to base 10."""
    return Log10()(x)
