"""Functions of tensors without a slope: their derivative is 0 wherever there is one, so that they give plain arrays.

NumPy's floor, ceil, rint, round, trunc, fix, sign, argmax, argmin, argsort and comparisons are of this kind: `Tensor`
passes its values on to them. Here are the forms that NumPy does not dispatch.
"""

from typing import Any

import numpy as np

from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import constant, plain
from dbrrl.backend import to_device_of


def sign(x: Any) -> Any:
    """-1, 0 or 1, as a plain array."""
    return np.sign(plain(x))


def floor(x: Any) -> Any:
    """The largest whole number that is not above x, as a plain array."""
    return np.floor(plain(x))


def ceil(x: Any) -> Any:
    """The smallest whole number that is not below x, as a plain array."""
    return np.ceil(plain(x))


def trunc(x: Any) -> Any:
    """The whole number next to x in the direction of 0 (NumPy's fix, too), as a plain array."""
    return np.trunc(plain(x))


def rint(x: Any) -> Any:
    """The nearest whole number, the even one of two, as a plain array."""
    return np.rint(plain(x))


@method("__floordiv__")
def floor_divide(a: Any, b: Any) -> Any:
    """The floor of a / b, as a plain array."""
    a, b = plain(a), plain(b)
    return np.floor_divide(to_device_of(b, a), to_device_of(a, b))


@method("__rfloordiv__")
def _divided(self: Any, other: Any) -> Any:
    return floor_divide(other, self)


@method("argmax")
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the largest element along `axis` (of the flattened array by default), as a plain array."""
    return np.argmax(plain(x), axis=axis, keepdims=keepdims)


@method("argmin")
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the smallest element along `axis` (of the flattened array by default), as a plain array."""
    return np.argmin(plain(x), axis=axis, keepdims=keepdims)


@method("argsort")
def argsort(x: Any, axis: int | None = -1) -> Any:
    """Indices that sort along `axis` (the flattened array if None), equal elements in their order: a plain array."""
    return np.argsort(plain(x), axis=axis, kind="stable")


@method("round")
def round(x: Any, decimals: int = 0) -> Any:
    """The nearest multiples of 10^-decimals, as a plain array."""
    return np.round(plain(x), decimals)


@method("nonzero")
def nonzero(x: Any) -> Any:
    """The indices of elements that are not 0: a tuple of plain arrays, one for each axis."""
    return np.nonzero(plain(x))


@method("any")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether any element along `axis` is not 0, as a plain array."""
    return np.any(plain(x), axis=axis, keepdims=keepdims)


@method("all")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements along `axis` are not 0, as a plain array."""
    return np.all(plain(x), axis=axis, keepdims=keepdims)


@implements(np.full_like)
def full_like(x: Any, fill_value: Any) -> Any:
    """A plain array of the shape and type of x, filled with a constant; of a tensor's value make F.broadcast_to."""
    return np.full_like(plain(x), plain(constant(fill_value, "full_like: fill_value")))
