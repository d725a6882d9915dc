"""Ops that reorder or repeat elements: flip, roll, tile, pad, join and sort."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.index import getitem, take, take_along_axis
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.reduce import Axis, normalize_axes
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.shape import Transpose, broadcast_to, concatenate, reshape
from dbrrl.autodiff.tensor import constant, plain
from dbrrl.errors import ConfigError, ShapeError


@implements(np.ravel)
@method("ravel")
def ravel(x: Any) -> Any:
    """All elements in one axis."""
    return reshape(x, -1)


@method("flatten")
def flatten(x: Any) -> Any:
    """A copy of all elements in one axis."""
    return copy(reshape(x, -1))


class Copy(Op):
    """y = x in memory of its own."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return x.copy()

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g


@implements(np.copy)
@method("copy")
def copy(x: Any) -> Any:
    """The same values in memory of their own, with the gradient handed on."""
    return Copy()(x)


@implements(np.moveaxis)
def moveaxis(x: Any, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Any:
    """The axes `source` moved to the places `destination`; the others keep their order."""
    start, end = (normalize_axes(axis, x.ndim, "moveaxis") for axis in (source, destination))
    if len(start) != len(end):
        raise ShapeError(f"moveaxis: expected as many places as axes, got {destination} for {source}: pair them")
    order = [a for a in range(x.ndim) if a not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return Transpose(tuple(order))(x)


@implements(np.flip)
def flip(x: Any, axis: Axis = None) -> Any:
    """The order of elements turned round along `axis` (all axes by default)."""
    axes = normalize_axes(axis, x.ndim, "flip")
    return getitem(x, tuple(slice(None, None, -1) if a in axes else slice(None) for a in range(x.ndim)))


@implements(np.roll)
def roll(x: Any, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    """Elements moved on by `shift` places along `axis` (of the flattened x by default); the last become the first."""
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = tuple(int(s) for s in np.ravel(shift))
    if len(shifts) not in (1, len(axes)):
        raise ShapeError(f"roll: expected one shift, or one for each axis, got {shift} for {axis}: pair them")
    for a, s in zip(axes, shifts * (len(axes) if len(shifts) == 1 else 1), strict=True):
        place = normalize_axes(a, x.ndim, "roll")[0]
        n, before = x.shape[place], (slice(None),) * place
        if n and s % n:
            x = concatenate([x[(*before, slice(-(s % n), None))], x[(*before, slice(None, -(s % n)))]], place)
    return x


@implements(np.repeat)
@method("repeat")
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element along `axis` (of the flattened x by default) so many times in a row; one number or one for each."""
    x, axis = (ravel(x), 0) if axis is None else (x, normalize_axes(axis, x.ndim, "repeat")[0])
    try:
        index = np.repeat(np.arange(x.shape[axis]), repeats)
    except ValueError:
        raise ShapeError(
            f"repeat: expected one count, or {x.shape[axis]} of them (axis {axis} of shape {x.shape}), 0 or more, "
            f"got {repeats!r}: give one for each element"
        ) from None
    return take(x, index, axis)


@implements(np.tile)
def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """The array side by side `reps` times along each of the last axes; more numbers than axes add axes in front."""
    counts = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    ndim = max(len(counts), x.ndim)
    counts, sizes = (1,) * (ndim - len(counts)) + counts, (1,) * (ndim - x.ndim) + x.shape
    pairs = [n for pair in zip(counts, sizes, strict=True) for n in pair]
    y = broadcast_to(reshape(x, tuple(n for size in sizes for n in (1, size))), tuple(pairs))
    return reshape(y, tuple(c * n for c, n in zip(counts, sizes, strict=True)))


class Pad(Op):
    """y = x with numbers around it; x takes back its part of the gradient."""

    saves_inputs = False

    def __init__(self, widths: Any, values: Any) -> None:
        self.widths, self.values = widths, values

    def forward(self, x: Any) -> Any:
        return np.pad(x, self.widths, constant_values=self.values)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g[tuple(slice(b, b + n) for (b, _), n in zip(self.widths, x.shape, strict=True))]


FOLLOWING = ("edge", "reflect", "symmetric", "wrap")


@implements(np.pad)
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """x with `pad_width` more elements around it.

    Args:
        pad_width: one number, (before, after) of every axis, or one such pair for each axis.
        mode: "constant", or "edge", "reflect", "symmetric", "wrap", which repeat elements of x as NumPy does.
        constant_values: numbers to fill with.
    """
    try:
        widths = [(int(b), int(a)) for b, a in np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))]
    except (ValueError, TypeError):
        raise ShapeError(
            f"pad: expected a number, (before, after) or {x.ndim} such pairs for shape {x.shape}, got {pad_width!r}"
        ) from None
    if mode == "constant":
        return Pad(widths, constant(constant_values, "pad: constant_values"))(x)
    if mode not in FOLLOWING:
        raise ConfigError(f"pad: expected mode 'constant', {', '.join(map(repr, FOLLOWING))}, got {mode!r}")
    for axis, width in enumerate(widths):
        if any(width):
            x = take(x, np.pad(np.arange(x.shape[axis]), width, mode), axis)  # type: ignore[call-overload]
    return x


def _as_array(x: Any) -> Any:
    return x if hasattr(x, "ndim") else np.asarray(x)


def _at_least(x: Any, axes: int) -> Any:
    """x with axes of size 1 before it, and a third one after it, as in NumPy's atleast_2d and atleast_3d."""
    x = _as_array(x)
    flat = x if x.ndim >= min(axes, 2) else reshape(x, (1,) * (min(axes, 2) - x.ndim) + x.shape)
    return reshape(flat, (*flat.shape, 1)) if axes == 3 and flat.ndim == 2 else flat


@implements(np.hstack)
def hstack(xs: Sequence[Any]) -> Any:
    """Join along the second axis; vectors along their only one."""
    arrays = [_at_least(x, 1) for x in xs]
    return concatenate(arrays, 0 if arrays and arrays[0].ndim == 1 else 1)


@implements(np.vstack)
def vstack(xs: Sequence[Any]) -> Any:
    """Join along the first axis; vectors are rows."""
    return concatenate([_at_least(x, 2) for x in xs], 0)


@implements(np.dstack)
def dstack(xs: Sequence[Any]) -> Any:
    """Join along the third axis, which vectors and matrices get."""
    return concatenate([_at_least(x, 3) for x in xs], 2)


@implements(np.sort)
def sort(x: Any, axis: int | None = -1) -> Any:
    """Elements in ascending order along `axis` (of the flattened x if None), nan last."""
    x, axis = (ravel(x), 0) if axis is None else (x, axis)
    return take_along_axis(x, np.argsort(plain(x), axis=axis, kind="stable"), axis)


@method("sort")
def _sort(x: Any, axis: int = -1) -> Any:
    raise TypeError("Tensor.sort: expected np.sort(x), which gives a new tensor: NumPy's method sorts in place")


@implements(np.median)
def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The middle of the sorted elements along `axis` (all by default), the mean of the middle two of an even number."""
    shape = x.shape
    ordered = sort(x, axis)
    place = 0 if axis is None else normalize_axes(axis, x.ndim, "median")[0]
    n = ordered.shape[place]
    if not n:
        raise ShapeError(f"median: expected at least one element, got shape {shape}: check for an empty batch")
    before = (slice(None),) * place
    low, high = ordered[(*before, (n - 1) // 2)], ordered[(*before, n // 2)]
    spoiled = np.isnan(plain(ordered)[(*before, n - 1)])  # nan is sorted last, and there is no middle with it
    y = np.where(spoiled, np.nan, low + (high - low) * 0.5)
    return reshape(y, tuple(1 if axis is None or a == place else k for a, k in enumerate(shape))) if keepdims else y
