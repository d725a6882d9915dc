"""Initial values of weights: each function draws one array from a generator.

Shapes follow the layers: (out, in) for Linear, (out, in, kernel height, kernel width) for Conv2d.
"""

import math

import numpy as np

from dbrrl.checkpoint import untrusted
from dbrrl.errors import ConfigError, ShapeError

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
Shape = tuple[int, ...]


def _ask(shape: Shape) -> None:
    untrusted.ask(4 * math.prod(shape), f"weights {shape}")


def calculate_gain(nonlinearity: str) -> float:
    """The recommended gain for a nonlinearity: linear, sigmoid, tanh, relu or selu."""
    if nonlinearity not in GAINS:
        raise ConfigError(f"nonlinearity: expected one of {sorted(GAINS)}, got {nonlinearity!r}")
    return GAINS[nonlinearity]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out): how many inputs feed one output, and how many outputs one input feeds."""
    if len(shape) < 2:
        raise ShapeError(f"init: expected a shape (out, in, ...) of two axes or more, got {shape}: use zeros")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def uniform(rng: np.random.Generator, shape: Shape, bound: float) -> np.ndarray:
    """float32 array, uniform in [-bound, bound]."""
    _ask(shape)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def normal(rng: np.random.Generator, shape: Shape, std: float = 1.0) -> np.ndarray:
    """float32 array, normal with mean 0."""
    _ask(shape)
    return (rng.standard_normal(shape) * std).astype(np.float32)


def constant(shape: Shape, value: float) -> np.ndarray:
    """float32 array of one value."""
    _ask(shape)
    return np.full(shape, value, np.float32)


def orthogonal(rng: np.random.Generator, shape: Shape, gain: float = 1.0) -> np.ndarray:
    """Rows (or columns, if fewer) orthonormal, times `gain`; axes after the first are flattened (Saxe et al. 2014)."""
    rows, columns = shape[0], math.prod(shape[1:])
    fans(shape)
    _ask(shape)
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices (Mezzadri 2007)
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(np.float32)


def xavier_uniform(rng: np.random.Generator, shape: Shape, gain: float = 1.0) -> np.ndarray:
    """Uniform with bound gain √(6 / (fan in + fan out)) (Glorot & Bengio 2010, eq. 16)."""
    return uniform(rng, shape, gain * math.sqrt(6 / sum(fans(shape))))


def xavier_normal(rng: np.random.Generator, shape: Shape, gain: float = 1.0) -> np.ndarray:
    """Normal with deviation gain √(2 / (fan in + fan out)) (Glorot & Bengio 2010, eq. 12)."""
    return normal(rng, shape, gain * math.sqrt(2 / sum(fans(shape))))


def kaiming_uniform(rng: np.random.Generator, shape: Shape, gain: float = math.sqrt(2)) -> np.ndarray:
    """Uniform with bound gain √(3 / fan in) (He et al. 2015, eq. 10)."""
    return uniform(rng, shape, gain * math.sqrt(3 / fans(shape)[0]))


def kaiming_normal(rng: np.random.Generator, shape: Shape, gain: float = math.sqrt(2)) -> np.ndarray:
    """Normal with deviation gain / √(fan in) (He et al. 2015, eq. 10)."""
    return normal(rng, shape, gain / math.sqrt(fans(shape)[0]))


def lecun_uniform(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Uniform with bound √(3 / fan in) (LeCun et al. 1998, section 4.6)."""
    return kaiming_uniform(rng, shape, 1.0)


def lecun_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Normal with deviation 1 / √(fan in) (LeCun et al. 1998, section 4.6)."""
    return kaiming_normal(rng, shape, 1.0)


glorot_uniform, glorot_normal = xavier_uniform, xavier_normal
he_uniform, he_normal = kaiming_uniform, kaiming_normal
