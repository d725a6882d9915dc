"""Reductions over axes: sums, means, extremes and the log-sum-exp family."""

import math
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import replaceable
from dbrrl.errors import DtypeError, ShapeError

Axis = int | tuple[int, ...] | None


def normalize_axes(axis: Axis, ndim: int, name: str) -> tuple[int, ...]:
    """`axis` as non-negative numbers; ShapeError names the function if one is out of range or repeated."""
    if axis is not None and not isinstance(axis, (int, np.integer, tuple, list)):
        raise DtypeError(f"{name}: expected axis None, a whole number or a tuple of them, got {axis!r}: cast it")
    given = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    axes = tuple(a + ndim if a < 0 else a for a in given)
    if any(a < 0 or a >= ndim for a in axes) or len(set(axes)) != len(axes):
        raise ShapeError(
            f"{name}: expected distinct axes in [{-ndim}, {ndim - 1}] for an array of {ndim} axes, got {axis}: "
            "check the shape of the input"
        )
    return axes


LISTS = {list, tuple}


def joined(x: Any) -> Any:
    """The array of a list of numbers, or the tensor of a list of tensors of one shape, along a new first axis."""
    if not any(isinstance(item, Tensor) or type(item) in LISTS for item in x):
        return np.asarray(x)
    return np.stack([joined(item) if type(item) in LISTS else item for item in x])


def count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """The number of elements in each reduction over `axes`."""
    return math.prod([shape[a] for a in axes])


def _keep(g: Any, axes: tuple[int, ...], shape: tuple[int, ...], keepdims: bool) -> Any:
    """`g` with the reduced axes back as ones."""
    return g if keepdims else np.reshape(g, tuple(1 if a in axes else n for a, n in enumerate(shape)))


def spread(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` broadcast to `shape`; for a plain array a fresh one, which is quicker to make than a view."""
    if isinstance(g, Tensor):
        return np.broadcast_to(g, shape)
    y = np.empty(shape, g.dtype)
    y[...] = g
    return y


_total: Any = np.add.reduce


class Sum(Op):
    """y = Σ x over axes; the gradient is spread back."""

    sums = True
    saves_inputs = False
    spread = staticmethod(spread)

    def __init__(self, axes: tuple[int, ...] | None, keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Any) -> Any:
        return _total(x, axis=self.axes, keepdims=self.keepdims)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        if self.axes is not None:
            g = _keep(g, self.axes, x.shape, self.keepdims)
        return self.spread(g, x.shape)


@implements(np.sum)
@method("sum")
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Sum over `axis` (all axes by default)."""
    x = joined(x) if type(x) in LISTS else x
    return Sum(None if axis is None else normalize_axes(axis, x.ndim, "sum"), keepdims)(x)


class Mean(Op):
    """y = Σ x / n over axes."""

    sums = True
    saves_inputs = False
    spread = staticmethod(spread)

    def __init__(self, axes: tuple[int, ...] | None, keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Any) -> Any:
        self.n = x.size if self.axes is None else count(x.shape, self.axes)
        if x.ndim == 1 and not self.keepdims:  # NumPy parses keywords slowly
            return np.add.reduce(x) / self.n
        return _total(x, axis=self.axes, keepdims=self.keepdims) / self.n

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        if self.axes is not None:
            g = _keep(g, self.axes, x.shape, self.keepdims)
        return self.spread(g / self.n, x.shape)


@implements(np.mean)
@method("mean")
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over `axis` (all axes by default).

    Raises:
        ShapeError: no elements to average.
    """
    x = joined(x) if type(x) in LISTS else x
    if axis is None and x.size:
        return Mean(None, keepdims)(x)
    axes = None if axis is None else normalize_axes(axis, x.ndim, "mean")
    if 0 in x.shape and (axes is None or any(x.shape[a] == 0 for a in axes)):
        raise ShapeError(
            f"mean: expected at least one element, got shape {x.shape}, axis {axis}: check for an empty batch"
        )
    return Mean(axes, keepdims)(x)


@replaceable
def extreme(x: Any, ufunc: Any, axis: Axis, keepdims: bool = False) -> Any:
    """The largest or smallest elements of an array over `axis`, for np.maximum or np.minimum as `ufunc`."""
    return ufunc.reduce(x, axis, None, None, keepdims)


class Max(Op):
    """y = max x over axes; equal maxima share the gradient."""

    sums = True
    ufunc: Any = np.maximum

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Any) -> Any:
        return extreme(x, self.ufunc, self.axes, self.keepdims)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        hit = np.equal(x, _keep(y, self.axes, x.shape, self.keepdims))
        share = hit / np.add.reduce(hit, axis=self.axes, keepdims=True, dtype=g.dtype)
        return share * _keep(g, self.axes, x.shape, self.keepdims)


class Min(Max):
    """y = min x over axes; equal minima share the gradient."""

    ufunc = np.minimum


def _extreme(op: type[Max], x: Any, axis: Axis, keepdims: bool) -> Any:
    name = op.__name__.lower()
    x = joined(x) if type(x) in LISTS else x
    axes = normalize_axes(axis, x.ndim, name)
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(
            f"{name}: expected at least one element, got shape {x.shape}, axis {axis}: check for an empty batch"
        )
    return op(axes, keepdims)(x)


@implements(np.max, np.amax)
@method("max")
def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest element over `axis` (all axes by default)."""
    return _extreme(Max, x, axis, keepdims)


@implements(np.min, np.amin)
@method("min")
def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Smallest element over `axis` (all axes by default)."""
    return _extreme(Min, x, axis, keepdims)


class LogSumExp(Op):
    """y = ln Σ e^x over axes, shifted by the maximum; dy = softmax x."""

    sums = True

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: Any) -> Any:
        top = extreme(x, np.maximum, self.axes, True)
        shift = np.where(np.isfinite(top), top, 0)  # all -inf: exp(-inf - -inf) would be nan
        with np.errstate(divide="ignore"):
            y = np.log(np.add.reduce(np.exp(x - shift), axis=self.axes, keepdims=True)) + shift
        return y if self.keepdims else np.squeeze(y, self.axes)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        y = _keep(y, self.axes, x.shape, self.keepdims)
        y = np.maximum(y, -1e30)  # all -inf: exp(-inf - -inf) would be nan
        return _keep(g, self.axes, x.shape, self.keepdims) * np.exp(x - y)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """ln Σ e^x over `axis`, without overflow."""
    x = joined(x) if type(x) in LISTS else x
    return LogSumExp(normalize_axes(axis, x.ndim, "logsumexp"), keepdims)(x)


class LogSoftmax(Op):
    """y = x - ln Σ e^x over one axis; the gradient is g - e^y Σ g."""

    sums = True
    saves_inputs = False

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        if self.axis != x.ndim - 1 or x.ndim == 1:
            z = x - extreme(x, np.maximum, self.axis, True)
            return z - np.log(np.add.reduce(np.exp(z), axis=self.axis, keepdims=True))
        z = np.moveaxis(x, -1, 0) - extreme(x, np.maximum, -1) if x.ndim > 2 else _shifted(x)
        z -= np.log(np.add.reduce(np.exp(z), 0))
        return np.moveaxis(z, 0, -1) if x.ndim > 2 else z.T

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        if not isinstance(g, Tensor) and g.ndim == 2 and self.axis == 1:
            gx = np.exp(y)
            gx *= np.add.reduce(g.T if g.flags.f_contiguous else g.T.copy(), 0)[:, None]
            return np.subtract(g, gx, out=gx)
        return g - np.exp(y) * np.sum(g, axis=self.axis, keepdims=True)


def _shifted(x: Any) -> Any:
    """x minus its row maxima, transposed: NumPy reduces the first axis much faster than a short last one."""
    z = x.T.copy()
    z -= extreme(z, np.maximum, 0)
    return z


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Logarithm of softmax over one axis, without overflow."""
    x = joined(x) if type(x) in LISTS else x
    return LogSoftmax(len(x.shape) - 1 if axis == -1 and x.shape else normalize_axes(axis, x.ndim, "log_softmax")[0])(x)


class Softmax(Op):
    """y = e^x / Σ e^x over one axis; the gradient is y (g - Σ g y)."""

    sums = True
    saves_inputs = False

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        e = np.exp(x - extreme(x, np.maximum, self.axis, True))
        return e / np.add.reduce(e, axis=self.axis, keepdims=True)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return y * (g - np.sum(g * y, axis=self.axis, keepdims=True))


def softmax(x: Any, axis: int = -1) -> Any:
    """e^x / Σ e^x over one axis: probabilities from logits."""
    x = joined(x) if type(x) in LISTS else x
    return Softmax(normalize_axes(axis, x.ndim, "softmax")[0])(x)
