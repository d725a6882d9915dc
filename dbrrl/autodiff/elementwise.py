"""Elementwise ops of one input: exponentials, roots, trigonometry and activations."""

import functools
import math
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method
from dbrrl.backend import replaceable


class Negative(Op):
    """y = -x."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return -x

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return -g


@implements(np.negative)
@method("__neg__")
def negative(x: Any) -> Any:
    """-x."""
    return Negative()(x)


class Exp(Op):
    """y = e^x; dy = y."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return np.exp(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * y


@implements(np.exp)
def exp(x: Any) -> Any:
    """e^x, element by element."""
    return Exp()(x)


class Expm1(Op):
    """y = e^x - 1; dy = y + 1."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return np.expm1(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (y + 1)


@implements(np.expm1)
def expm1(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    return Expm1()(x)


class Log(Op):
    """y = ln x; dy = 1 / x."""

    def forward(self, x: Any) -> Any:
        return np.log(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / x


@implements(np.log)
def log(x: Any) -> Any:
    """Natural logarithm."""
    return Log()(x)


class Log1p(Op):
    """y = ln(1 + x); dy = 1 / (1 + x)."""

    def forward(self, x: Any) -> Any:
        return np.log1p(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (x + 1)


@implements(np.log1p)
def log1p(x: Any) -> Any:
    """Natural logarithm of 1 + x, accurate near 0."""
    return Log1p()(x)


class Sqrt(Op):
    """y = √x; dy = 1 / 2y."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return np.sqrt(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (2 * y)


@implements(np.sqrt)
def sqrt(x: Any) -> Any:
    """Square root."""
    return Sqrt()(x)


class Square(Op):
    """y = x²; dy = 2x."""

    def forward(self, x: Any) -> Any:
        return x * x

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (2 * x)


@implements(np.square)
def square(x: Any) -> Any:
    """x²."""
    return Square()(x)


class Absolute(Op):
    """y = |x|; dy = sign x, 0 at 0."""

    def forward(self, x: Any) -> Any:
        return np.abs(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * np.sign(x)


@implements(np.abs)
@method("__abs__")
def abs(x: Any) -> Any:
    """Absolute value."""
    return Absolute()(x)


class Sin(Op):
    """y = sin x; dy = cos x."""

    def forward(self, x: Any) -> Any:
        return np.sin(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * np.cos(x)


@implements(np.sin)
def sin(x: Any) -> Any:
    """Sine; x in radians."""
    return Sin()(x)


class Cos(Op):
    """y = cos x; dy = -sin x."""

    def forward(self, x: Any) -> Any:
        return np.cos(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return -g * np.sin(x)


@implements(np.cos)
def cos(x: Any) -> Any:
    """Cosine; x in radians."""
    return Cos()(x)


class Arctanh(Op):
    """y = artanh x; dy = 1 / (1 - x²)."""

    def forward(self, x: Any) -> Any:
        return np.arctanh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g / (1 - x * x)


@implements(np.arctanh)
def arctanh(x: Any) -> Any:
    """Inverse hyperbolic tangent of |x| < 1."""
    return Arctanh()(x)


class Tanh(Op):
    """y = tanh x; dy = 1 - y²."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return np.tanh(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (1 - y * y)


@implements(np.tanh)
def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return Tanh()(x)


class Sigmoid(Op):
    """y = 1 / (1 + e^-x), by way of tanh so that nothing overflows; dy = y (1 - y)."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return 0.5 * (np.tanh(0.5 * x) + 1)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * (y * (1 - y))


def sigmoid(x: Any) -> Any:
    """Logistic function 1 / (1 + e^-x)."""
    return Sigmoid()(x)


class Softplus(Op):
    """y = ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|); dy = sigmoid x."""

    def forward(self, x: Any) -> Any:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * sigmoid(x)


def softplus(x: Any) -> Any:
    """ln(1 + e^x), without overflow."""
    return Softplus()(x)


class Relu(Op):
    """y = max(x, 0); dy = [x > 0]."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return rectified(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g * np.greater(y, 0)


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return Relu()(x)


def rectified(x: Any, out: Any = None) -> Any:
    """max(x, 0) of an array."""
    return np.maximum(x, constant_like(x, 0), out=out)


@replaceable
def constant_like(x: Any, value: float) -> Any:
    """`value`, to be compared with all of the array x: NumPy takes a quarter of the time where it is an array, too."""
    if x.size > LARGE:
        return value
    return _filled(x.shape if x.size > SMALL else (), x.dtype, value)


SMALL = 256  # elements up to which an array of no axes serves as well
LARGE = 2**19  # elements from which on an array of one value is not kept


@functools.lru_cache(maxsize=32)
def _filled(shape: tuple[int, ...], dtype: np.dtype[Any], value: float) -> np.ndarray:
    array = np.full(shape, value, dtype)
    array.flags.writeable = False
    return array


class LeakyRelu(Op):
    """y = x where x > 0, else slope x."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Any) -> Any:
        return np.where(x > 0, x, x * self.slope)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return np.where(np.greater(x, 0), g, g * self.slope)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where positive, else negative_slope x."""
    return LeakyRelu(float(negative_slope))(x)


class Elu(Op):
    """y = x where x > 0, else alpha (e^x - 1); dy = 1 or alpha e^x."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return np.where(np.greater(x, 0), g, g * (self.alpha * np.exp(np.minimum(x, 0))))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Exponential linear unit (Clevert et al. 2016): x where positive, else alpha (e^x - 1)."""
    return Elu(float(alpha))(x)


class Silu(Op):
    """y = x sigmoid x; dy = s (1 + x (1 - s))."""

    def forward(self, x: Any) -> Any:
        return x * sigmoid(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        s = sigmoid(x)
        return g * (s * (1 + x * (1 - s)))


def silu(x: Any) -> Any:
    """x sigmoid(x), also called swish (Elfwing et al. 2018)."""
    return Silu()(x)


_GELU = math.sqrt(2 / math.pi)


class Gelu(Op):
    """y = x/2 (1 + t), t = tanh(√(2/π) (x + 0.044715 x³)); dy = (1 + t)/2 + x/2 (1 - t²) √(2/π) (1 + 0.134145 x²)."""

    def forward(self, x: Any) -> Any:
        return 0.5 * x * (1 + np.tanh(_GELU * (x + 0.044715 * x * x * x)))

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        t = np.tanh(_GELU * (x + 0.044715 * x * x * x))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_GELU * (1 + 0.134145 * x * x)))


def gelu(x: Any) -> Any:
    """Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016)."""
    return Gelu()(x)
