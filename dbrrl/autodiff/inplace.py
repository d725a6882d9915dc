"""x += y and its kin: a leaf changes in place, where that is safe; the name of a computed tensor is bound anew."""

from typing import Any

import numpy as np

from dbrrl.autodiff.register import method
from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import to_device_of
from dbrrl.errors import DtypeError, ShapeError


def _change(x: Tensor, ufunc: Any, other: Any) -> Any:
    """Put ufunc(x, other) into the memory of x; a computed tensor, whose values a graph needs, leaves it to Python.

    Raises:
        GraphError: x takes part in a graph, or `other` requires gradients, and that is recorded.
        ShapeError, DtypeError: the result has another shape, or x would have to be of another kind to hold it.
    """
    if x.op is not None:
        return NotImplemented  # x = x + other is recorded
    x.refuse_in_place(other)
    array = x.array
    value = ufunc(array, to_device_of(array, plain(other)))
    if value.shape != array.shape:
        raise ShapeError(
            f"in-place change of shape {array.shape}: expected a result of that shape, got {value.shape}: "
            "write x = x + ... for a new tensor"
        )
    if not np.can_cast(value.dtype, array.dtype, "same_kind"):
        raise DtypeError(
            f"in-place change of {array.dtype}: expected a result of that kind, got {value.dtype}: "
            "write x = x + ... for a new tensor"
        )
    array[...] = value
    x.changed()
    return x


def _attach(name: str, ufunc: Any) -> None:
    """Make `tensor <op>= other` a change in place."""

    @method(f"__i{name}__")
    def change(x: Tensor, other: Any) -> Any:
        return _change(x, ufunc, other)


_attach("add", np.add)
_attach("sub", np.subtract)
_attach("mul", np.multiply)
_attach("truediv", np.divide)
_attach("floordiv", np.floor_divide)
_attach("pow", np.power)
_attach("matmul", np.matmul)
