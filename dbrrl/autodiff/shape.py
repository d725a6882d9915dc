"""Ops that move elements without changing them: reshaping, transposing, joining and splitting."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.reduce import Axis, normalize_axes
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import Tensor, plain, wants_gradients, wrap
from dbrrl.backend import device_name, to_device
from dbrrl.errors import ShapeError


class Reshape(Op):
    """The same elements in another shape."""

    saves_inputs = False

    def __init__(self, shape: Any) -> None:
        self.shape = shape

    def forward(self, x: Any) -> Any:
        try:
            return x.reshape(self.shape)
        except ValueError:
            raise ShapeError(
                f"reshape: expected a shape of {x.size} elements for an input of shape {x.shape}, got {self.shape}: "
                "use -1 for one axis to have it worked out"
            ) from None

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g.reshape(x.shape)


@implements(np.reshape)
@method("reshape")
def reshape(x: Any, *shape: Any) -> Any:
    """The same elements in `shape`: one tuple or separate numbers, at most one of them -1."""
    return Reshape(shape[0] if len(shape) == 1 else shape)(x)


class Transpose(Op):
    """Axes in another order."""

    saves_inputs = False

    def __init__(self, axes: tuple[int, ...] | None) -> None:
        self.axes = axes

    def forward(self, x: Any) -> Any:
        return np.transpose(x, self.axes)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return np.transpose(g, None if self.axes is None else tuple(int(i) for i in np.argsort(self.axes)))


@implements(np.transpose)
@method("transpose")
def transpose(x: Any, *axes: Any) -> Any:
    """Axes in the given order (one tuple or separate numbers); reversed by default."""
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    if given is not None:
        if len(given) != x.ndim:
            raise ShapeError(
                f"transpose: expected {x.ndim} axes for shape {x.shape}, got {tuple(given)}: name every axis"
            )
        given = normalize_axes(tuple(given), x.ndim, "transpose")
    return Transpose(given)(x)


@implements(np.swapaxes)
@method("swapaxes")
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    first, second = (normalize_axes(a, x.ndim, "swapaxes")[0] for a in (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return Transpose(tuple(order))(x)


class BroadcastTo(Op):
    """Repeat along axes of size 1 and new leading axes; the engine sums the gradient back."""

    saves_inputs = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Any) -> Any:
        try:
            return np.broadcast_to(x, self.shape)
        except ValueError:
            raise ShapeError(
                f"broadcast_to: expected a shape that {np.shape(x)} can be broadcast to, got {self.shape}: "
                "each axis must be equal, or 1 in the input"
            ) from None

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g


@implements(np.broadcast_to)
def broadcast_to(x: Any, shape: int | tuple[int, ...]) -> Any:
    """Repeat x to `shape` by NumPy's broadcasting rules."""
    return BroadcastTo((shape,) if isinstance(shape, int) else tuple(shape))(x)


@implements(np.squeeze)
@method("squeeze")
def squeeze(x: Any, axis: Axis = None) -> Any:
    """Drop axes of size 1: all of them, or those in `axis`."""
    axes = (
        tuple(a for a, n in enumerate(x.shape) if n == 1) if axis is None else normalize_axes(axis, x.ndim, "squeeze")
    )
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: expected axes of size 1, got axis {axis} of shape {x.shape}: index it instead")
    return Reshape(tuple(n for a, n in enumerate(x.shape) if a not in axes))(x)


@implements(np.expand_dims)
def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Any:
    """Insert axes of size 1 at the positions `axis` of the result."""
    given = (axis,) if isinstance(axis, int) else axis
    axes = normalize_axes(given, x.ndim + len(given), "expand_dims")
    sizes = iter(x.shape)
    return Reshape(tuple(1 if a in axes else next(sizes) for a in range(x.ndim + len(axes))))(x)


class Concatenate(Op):
    """Join along an axis; each input takes back its own slice of the gradient."""

    saves_inputs = False

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *xs: Any) -> Any:
        return np.concatenate(xs, self.axis)

    def backward(self, g: Any, y: Any, *xs: Any) -> Any:
        gradients, start = [], 0
        for i, x in enumerate(xs):
            stop = start + x.shape[self.axis]
            gradients.append(g[(slice(None),) * self.axis + (slice(start, stop),)] if self.needs(i) else None)
            start = stop
        return tuple(gradients)


@implements(np.concatenate)
def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors of equal shape but for `axis` along it."""
    shapes = [np.shape(x) if not hasattr(x, "shape") else x.shape for x in xs]
    if not shapes:
        raise ShapeError("concatenate: expected at least one array, got none: check the list")
    axis = normalize_axes(axis, len(shapes[0]), "concatenate")[0]
    rest = {s[:axis] + s[axis + 1 :] if len(s) == len(shapes[0]) else s for s in shapes}
    if len(rest) > 1:
        raise ShapeError(f"concatenate: expected shapes equal but for axis {axis}, got {shapes}: reshape them first")
    return Concatenate(axis)(*xs)


@implements(np.stack)
def stack(xs: Sequence[Any], axis: int = 0) -> Any:
    """Join tensors of one shape along a new axis at position `axis`."""
    shapes = [np.shape(x) if not hasattr(x, "shape") else x.shape for x in xs]
    if not shapes or len(set(shapes)) > 1:
        raise ShapeError(f"stack: expected at least one array, all of one shape, got {shapes}: reshape them first")
    axis = normalize_axes(axis, len(shapes[0]) + 1, "stack")[0]
    return concatenate([expand_dims(x, axis) for x in map(_as_array, xs)], axis)


def _as_array(x: Any) -> Any:
    return x if hasattr(x, "ndim") else np.asarray(x)


@implements(np.split)
def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Cut along `axis` into `sections` equal parts, or before the given indices."""
    axis = normalize_axes(axis, x.ndim, "split")[0]
    n = x.shape[axis]
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or n % sections:
            raise ShapeError(
                f"split: expected a divisor of {n} (axis {axis} of shape {x.shape}), got {sections}: give indices"
            )
        cuts = [n // int(sections) * i for i in range(int(sections) + 1)]
    else:
        cuts = [0, *sections, n]
    return [x[(slice(None),) * axis + (slice(a, b),)] for a, b in pairwise(cuts)]


class AsType(Op):
    """The same values in another floating-point type."""

    saves_inputs = False

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)

    def forward(self, x: Any) -> Any:
        return x.astype(self.dtype)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g.astype(x.dtype)


@method("astype")
def astype(x: Any, dtype: Any) -> Any:
    """The same values as `dtype`; a floating-point one keeps the graph, any other gives a plain array."""
    return AsType(dtype)(x) if np.dtype(dtype).kind == "f" else getattr(x, "array", x).astype(dtype)


class ToDevice(Op):
    """The same values in the memory of another device; the gradient goes back to where they came from."""

    saves_inputs = False

    def __init__(self, device: str) -> None:
        self.device = device

    def forward(self, x: Any) -> Any:
        return to_device(x, self.device)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        source = device_name(plain(x))
        return ToDevice(source)(g) if isinstance(g, Tensor) else to_device(g, source)


@method("to")
def to(x: Tensor, device: str) -> Tensor:
    """The same values on `device` ("cpu", "cuda", "cuda:1"); itself if it is on that device.

    Of a leaf a new leaf, which asks for gradients as that does; of a computed tensor one that hands its gradient back.
    """
    moved = to_device(x.array, device)
    if moved is x.array:
        return x
    if x.op is not None and wants_gradients(x):
        return ToDevice(device)(x)  # type: ignore[no-any-return]
    return wrap(moved).requires_grad_(x.requires_grad)
