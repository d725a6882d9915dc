"""Indexing ops: slices, integer arrays, masks and gathers; repeated indices add up in the gradient."""

import functools
from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.reduce import normalize_axes
from dbrrl.autodiff.register import implements, method
from dbrrl.autodiff.tensor import Tensor, kept, plain
from dbrrl.backend import array_module, replaceable, to_device_of
from dbrrl.errors import DtypeError, ShapeError


def _single(index: Any) -> bool:
    """Whether `index` is sure to name no place twice: it holds no integer array."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(i, (int, np.integer, slice, type(None), type(Ellipsis))) or _mask(i) for i in parts)


def _mask(index: Any) -> bool:
    return getattr(index, "dtype", None) == np.bool_


class GetItem(Op):
    """y = x[index]; the gradient goes back to the places it came from."""

    saves_inputs = False

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x: Any) -> Any:
        try:
            return x[self.index]
        except IndexError as error:
            raise ShapeError(f"index: {error} (input shape {x.shape}): expected an index inside the shape") from None

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return Scatter(self.index, x.shape)(g)


class Scatter(Op):
    """y = 0 but for y[index] += g: the transpose of GetItem, and GetItem is its own transpose."""

    sums = True
    saves_inputs = False

    def __init__(self, index: Any, shape: tuple[int, ...]) -> None:
        self.index, self.shape = index, shape

    def forward(self, g: Any) -> Any:
        y = np.zeros_like(g, shape=self.shape)
        if _single(self.index):
            y[self.index] = g
        else:
            array_module(y).add.at(y, self.index, g)
        return y

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return g[self.index]


def _plain_index(index: Any, x: Any) -> Any:
    """`index` without tensors and lists, its arrays on the device of `x`."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i, x) for i in index)
    if isinstance(index, Tensor):
        index = kept(index)
    if isinstance(index, list):
        index = np.asarray(index, dtype=np.intp if not index else None)
    if getattr(index, "dtype", None) is None:
        return index
    if index.dtype.kind not in "iub":
        raise DtypeError(f"index: expected integers, booleans or slices, got {index.dtype}: convert with .astype(int)")
    return to_device_of(plain(x), index)


@method("__getitem__")
def getitem(x: Any, index: Any) -> Any:
    """x[index] by NumPy's rules: slices, integers, integer arrays (repeats allowed), boolean masks, None, Ellipsis.

    On a GPU integer arrays are not checked: CuPy takes what is out of range modulo the size.
    """
    simple = type(index) is int or type(index) is slice  # the usual case
    return GetItem(index if simple else _plain_index(index, x))(x)


class TakeAlongAxis(Op):
    """y[..., i, ...] = x[..., index[..., i, ...], ...] along one axis."""

    saves_inputs = False

    def __init__(self, index: Any, axis: int) -> None:
        self.index, self.axis = index, axis

    def place(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """The full integer index that is equivalent to `take_along_axis`."""
        return tuple(
            self.index if a == self.axis else numbers(self.index, n).reshape((-1,) + (1,) * (len(shape) - a - 1))
            for a, n in enumerate(shape)
        )

    def forward(self, x: Any) -> Any:
        return x[self.place(x.shape)]

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        place = self.place(x.shape)
        if not isinstance(g, Tensor) and self.index.shape[self.axis] == 1:  # no place is written twice
            gx = zeros(x.shape, g)
            gx[place] = g
            return gx
        return Scatter(place, x.shape)(g)


@implements(np.take_along_axis)
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    """Pick along `axis` by an integer array of as many axes as x, equal (or 1) in the others: Q(s, a) from Q(s, ·)."""
    index = _plain_index(indices, x)
    axis = normalize_axes(axis, x.ndim, "take_along_axis")[0]
    if index.dtype.kind == "b":
        raise DtypeError("take_along_axis: expected integer indices, got bool: use x[mask] instead")
    if index.ndim != x.ndim or any(a != axis and index.shape[a] != n for a, n in enumerate(x.shape)):
        raise ShapeError(
            f"take_along_axis: expected indices of shape {x.shape} but for axis {axis}, got {index.shape}: "
            "add an axis, for example actions[:, None]"
        )
    if index.size and (index.min() < -x.shape[axis] or index.max() >= x.shape[axis]):
        raise ShapeError(f"take_along_axis: expected indices below {x.shape[axis]}, got up to {index.max()}")
    return TakeAlongAxis(index, axis)(x)


class Chosen:
    """Base of the ops that take one element of each row of x: x[i, index[i]].

    Args:
        index: integers (n,).
        name: of the function, for errors.
    """

    place: Any  # row and column numbers of the chosen elements

    def __init__(self, index: Any, name: str) -> None:
        self.index, self.name = index, name

    def chosen(self, x: Any) -> Any:
        """The chosen elements of x; ShapeError as by `check_classes`."""
        index = self.index
        if index.size and index.item(index.argmin()) < 0:
            check_classes(index, x.shape[1], self.name)
        self.place = _numbers(len(index)), index
        try:
            return x[self.place]
        except IndexError:
            check_classes(index, x.shape[1], self.name)
            raise


class Pick(Chosen, Op):
    """y[i] = x[i, index[i]], one element (or row, ...) of each row; the gradient goes back to it."""

    saves_inputs = False

    def forward(self, x: Any) -> Any:
        return self.chosen(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        if isinstance(g, Tensor):
            return Scatter(self.place, x.shape)(g)
        gx = zeros(x.shape, g)
        gx[self.place] = g
        return gx


def zeros(shape: tuple[int, ...], like: Any) -> Any:
    """Zeros of the type and on the device of `like`: a tenth of the time of np.zeros_like."""
    return array_module(like).zeros(shape, like.dtype)


@replaceable
def numbers(like: Any, n: int) -> Any:
    """0 ... n - 1, read-only, on the device of the array `like`: the row numbers for an index of columns."""
    return _numbers(n)


@functools.lru_cache(maxsize=64)
def _numbers(n: int) -> np.ndarray:
    array = np.arange(n)
    array.flags.writeable = False
    return array


@replaceable
def check_classes(index: Any, k: int, name: str) -> None:
    """See that integers (n,) or (..., ) are from 0 to k - 1: NumPy would count negative ones from the end.

    On a GPU they are not looked at, for it would have to be waited for.

    Raises:
        ShapeError: names the first row with another one.
    """
    if not index.size:
        return
    if index.item(index.argmin()) >= 0 and index.item(index.argmax()) < k:
        return
    row = np.argwhere((index < 0) | (index >= k))[0].tolist()
    raise ShapeError(
        f"{name}: expected integers from 0 to {k - 1}, got {index[tuple(row)]} in row {', '.join(map(str, row))}: "
        "count from 0, and leave out rows without a choice"
    )


def pick(x: Any, index: Any) -> Any:
    """x[i, index[i]] for each i: x (n, k, ...) and integers (n,) from 0 to k - 1 give (n, ...), as Q(s, a) of Q(s, ·).

    Raises:
        ShapeError: other shapes, or an integer out of range, on the CPU (on a GPU CuPy takes it modulo k).
    """
    array = plain(x)
    if type(index) is not type(array):
        index = _plain_index(index, x)
    if array.ndim < 2 or index.shape != array.shape[:1] or index.dtype.kind not in "iu":
        raise ShapeError(
            f"pick: expected x (n, k, ...) and integers (n,), got {x.shape} and {index.dtype} {index.shape}"
        )
    return Pick(index, "pick")(x)


@implements(np.take)
@method("take")
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """x[..., indices, ...] along `axis`; on the flattened x by default."""
    if axis is None:
        return getitem(np.reshape(x, -1), indices)
    return getitem(x, (slice(None),) * normalize_axes(axis, x.ndim, "take")[0] + (_plain_index(indices, x),))


def embedding(indices: Any, weight: Any) -> Any:
    """Rows of `weight` (number, features) at integer `indices` (...): shape (..., features)."""
    index = _plain_index(indices if hasattr(indices, "dtype") else np.asarray(indices), weight)
    check_classes(index, weight.shape[0], "embedding")
    return getitem(weight, index)


def one_hot(indices: Any, num_classes: int, dtype: Any = np.float32) -> Any:
    """Plain array (..., num_classes): 1 at the index, 0 elsewhere."""
    index = plain(indices) if hasattr(indices, "dtype") else np.asarray(indices)
    if index.dtype.kind not in "iu":
        raise ShapeError(f"one_hot: expected integers from 0 to {num_classes - 1}, got {index.dtype}: cast them")
    check_classes(index, num_classes, "one_hot")
    return (index[..., None] == numbers(index, num_classes)).astype(dtype)
