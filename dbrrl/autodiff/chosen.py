"""Huber loss of Q(s, a) for the actions taken: of one element of each row."""

from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import constant_like
from dbrrl.autodiff.index import Chosen, Scatter, zeros
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, kept, plain
from dbrrl.backend import to_device_of
from dbrrl.errors import ShapeError


def choices(name: str, x: Any, index: Any) -> Any:
    """Integers (n,) for x (n, k), as an array on the device of x."""
    array = plain(x)
    index = to_device_of(array, kept(index))
    shape = array.shape
    if len(shape) != 2 or index.shape != shape[:1] or index.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: expected an array (n, k) and integers (n,), got {shape} and {index.dtype} {index.shape}: "
            "give one choice per row"
        )
    return index


class PickedHuber(Chosen, Op):
    """y[i] = h(d[i]), d[i] = x[i, k[i]] - b[i], Huber's h with delta 1; dx[i, k[i]] = clip(d, ±1).

    `forward` leaves |d| in `error`.
    """

    def forward(self, x: Any, b: Any) -> Any:
        self.d = self.chosen(x) - b
        error = self.error = np.abs(self.d)
        inside = self.inside = np.minimum(error, constant_like(error, 1))
        return inside * (error - 0.5 * inside)

    def backward(self, g: Any, y: Any, x: Any, b: Any) -> Any:
        if isinstance(g, Tensor):
            gd = g * np.clip(x[self.place] - b, -1, 1)
            return Scatter(self.place, x.shape)(gd), -gd
        gd = np.copysign(self.inside, self.d)
        gd *= g
        gx = zeros(x.shape, x)
        gx[self.place] = gd
        return gx, -gd if self.needs(1) else None


def picked_huber_loss(x: Any, index: Any, target: Any) -> tuple[Any, Any]:
    """`huber_loss` of x[i, index[i]], such as Q(s, a), for each row i, in one op; and the absolute errors.

    Args:
        x: (n, k).
        index: integers (n,).
        target: (n,).

    Returns:
        The losses (n,), and |x[i, index[i]] - target[i]|, a plain array (n,).
    """
    index = choices("picked_huber_loss", x, index)
    if target.shape != index.shape:
        raise ShapeError(f"picked_huber_loss: expected target {index.shape}, got {target.shape}: give one per row")
    op = PickedHuber(index, "picked_huber_loss")
    return op(x, target), op.error
