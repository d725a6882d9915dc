"""What NumPy's functions do with a tensor: some are recorded, some give plain arrays, all others are refused."""

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

NEAREST = {
    "median": "np.sort(x)[..., n // 2]",
}


def refuse(name: str) -> TypeError:
    """The error for a function of NumPy's that is not recorded; it names the nearest that is."""
    nearest = NEAREST.get(name)
    instead = f"expected {nearest} in its place" if nearest else "expected one of dbrrl.functional"
    return TypeError(
        f"numpy.{name} has no gradient here: {instead}; or pass tensor.data to compute on the plain array"
    )
