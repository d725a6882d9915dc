"""Tables of NumPy's functions: which are recorded for a tensor and which give plain arrays; all others are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np

UFUNCS: dict[Any, Callable[..., Any]] = {}  # np.tanh -> the op's function; filled by the op files
FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # np.concatenate -> the op's function

PLAIN_UFUNCS = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isfinite, np.isnan, np.isinf,
    np.logical_and, np.logical_or, np.logical_not, np.signbit,
    # Steps: their derivative is 0 wherever there is one.
    np.floor, np.ceil, np.rint, np.trunc, np.sign, np.floor_divide,
}  # fmt: skip


PLAIN_FUNCTIONS = {
    np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.any, np.all,
    np.isclose, np.allclose, np.array_equal, np.zeros_like, np.ones_like, np.empty_like, np.result_type,
    np.round, np.around, np.fix,
}  # fmt: skip

# What to write in place of functions that are not recorded.
NEAREST = {
    "add.accumulate": "np.cumsum(x, axis)",
    "add.at": "np.concatenate, or indexing: its gradient adds up repeated places",
    "add.outer": "a[:, None] + b",
    "add.reduce": "np.sum(x, axis)",
    "append": "np.concatenate([a, b])",
    "array_split": "np.split(x, indices)",
    "atleast_1d": "np.reshape(x, shape)",
    "atleast_2d": "np.reshape(x, shape)",
    "atleast_3d": "np.reshape(x, shape)",
    "cbrt": "np.sign(x) * np.abs(x) ** (1 / 3)",
    "choose": "np.where(condition, a, b)",
    "column_stack": "np.stack(columns, 1)",
    "copysign": "np.abs(x) * np.sign(y.data)",
    "copyto": "np.where(condition, a, b)",
    "corrcoef": "np.matmul of x less its mean, over np.std",
    "cov": "np.matmul of x less its mean",
    "cross": "np.einsum with the signs of permutations",
    "cumulative_prod": "np.cumprod(x, axis)",
    "cumulative_sum": "np.cumsum(x, axis)",
    "deg2rad": "x * (np.pi / 180)",
    "degrees": "x * (180 / np.pi)",
    "delete": "x[mask], or np.concatenate of slices",
    "divmod": "a // b and np.remainder(a, b)",
    "ediff1d": "np.diff(np.ravel(x))",
    "exp2": "np.exp(x * np.log(2))",
    "extract": "x[mask]",
    "fabs": "np.abs(x)",
    "fill_diagonal": "np.where(np.eye(n, dtype=bool), value, x)",
    "fliplr": "np.flip(x, 1)",
    "flipud": "np.flip(x, 0)",
    "fmax": "np.maximum(a, b)",
    "fmin": "np.minimum(a, b)",
    "gradient": "np.diff(x)",
    "hsplit": "np.split(x, n, 1)",
    "insert": "np.concatenate of slices",
    "kron": "np.einsum('ij,kl->ikjl', a, b).reshape(shape)",
    "ldexp": "x * 2.0 ** n",
    "linspace": "a + (b - a) * np.linspace(0, 1, n)",
    "logaddexp": "F.logsumexp(F.stack([a, b]), 0)",
    "logaddexp2": "F.logsumexp(F.stack([a, b]) * np.log(2), 0) / np.log(2)",
    "maximum.accumulate": "np.maximum step by step",
    "maximum.reduce": "np.max(x, axis)",
    "minimum.reduce": "np.min(x, axis)",
    "multiply.accumulate": "np.cumprod(x, axis)",
    "multiply.outer": "np.outer(a, b)",
    "multiply.reduce": "np.prod(x, axis)",
    "nancumsum": "np.cumsum(np.nan_to_num(x), axis)",
    "nanmean": "np.sum(np.nan_to_num(x), axis) / np.sum(~np.isnan(x), axis)",
    "nanprod": "np.prod(np.where(np.isnan(x), 1.0, x), axis)",
    "nansum": "np.sum(np.nan_to_num(x), axis)",
    "percentile": "np.sort(x)[..., k]",
    "piecewise": "np.where(condition, a, b)",
    "place": "np.where(condition, a, b)",
    "ptp": "np.max(x, axis) - np.min(x, axis)",
    "put": "np.where(condition, a, b)",
    "putmask": "np.where(condition, a, b)",
    "quantile": "np.sort(x)[..., k]",
    "rad2deg": "x * (180 / np.pi)",
    "radians": "x * (np.pi / 180)",
    "reciprocal": "1 / x",
    "resize": "np.tile(x, reps)",
    "rollaxis": "np.moveaxis(x, source, destination)",
    "rot90": "np.flip(np.swapaxes(x, 0, 1), 0)",
    "select": "np.where(condition, a, b)",
    "sinc": "np.sin(np.pi * x) / (np.pi * x)",
    "subtract.outer": "a[:, None] - b",
    "trapezoid": "np.sum((y[1:] + y[:-1]) * np.diff(x)) / 2",
    "vander": "x[:, None] ** np.arange(n)",
    "vdot": "np.sum(a * b)",
    "vsplit": "np.split(x, n, 0)",
}


def refuse(name: str) -> TypeError:
    """The error for a function of NumPy's that is not recorded; it names the nearest that is."""
    nearest = NEAREST.get(name)
    instead = f"expected {nearest} in its place" if nearest else "expected one of dbrrl.functional"
    return TypeError(f"numpy.{name} has no gradient here: {instead}; or pass tensor.data to compute on the plain array")
