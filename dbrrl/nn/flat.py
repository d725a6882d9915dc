"""One contiguous vector for all parameters of a model, and one for their gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module
from dbrrl.errors import DtypeError, GraphError


class Flat:
    """Vectors `values` and `grads` (n,) that the parameters' arrays and gradients are views into.

    An optimizer step is a handful of array operations on them, the global norm one dot product, a target network one
    axpy, a checkpoint one array.
    """

    def __init__(self, parameters: Sequence[Any], values: Any, grads: Any) -> None:
        self.parameters = list(parameters)
        self.values = values
        self.grads = grads
        self.views = []
        start = 0
        for p in self.parameters:
            stop = start + p.size
            p.array = values[start:stop].reshape(p.shape)
            p.grad = grads[start:stop].reshape(p.shape)
            self.views.append(p.grad)
            start = stop

    def gather(self) -> Any:
        """`grads`, after taking in any gradient that was set from outside the vector."""
        for p, view in zip(self.parameters, self.views, strict=True):
            if p.grad is not view:
                if p.flat is not self:
                    raise GraphError(
                        "these parameters were moved into another flat vector (a second optimizer, or .to(device)): "
                        "expected the newest optimizer to be used; make this one again from the module"
                    )
                view[...] = 0 if p.grad is None else p.grad.array if isinstance(p.grad, Tensor) else p.grad
                p.grad = view
        return self.grads

    def changed(self) -> None:
        """Say that `values` was changed: a graph recorded before refuses to go backward."""
        for p in self.parameters:
            p.version += 1


def flatten(parameters: Sequence[Any]) -> Flat:
    """Move `parameters` into one vector each for values and gradients, unless they already stand there in this order.

    Raises:
        DtypeError: the parameters do not share one dtype.
    """
    if not parameters:
        raise GraphError("flatten: expected at least one parameter, got none: assign Parameters or Modules as attributes")
    current = parameters[0].flat
    if current is not None and len(current.parameters) == len(parameters):
        if all(a is b and a.flat is current for a, b in zip(current.parameters, parameters, strict=True)):
            return current  # type: ignore[no-any-return]
    dtypes = {p.dtype for p in parameters}
    if len(dtypes) > 1:
        raise DtypeError(f"flatten: expected parameters of one dtype, got {sorted(map(str, dtypes))}: convert them first")
    xp = array_module(parameters[0].array)
    values = xp.concatenate([p.array.reshape(-1) for p in parameters])
    grads = xp.zeros_like(values)
    start = 0
    for p in parameters:
        if p.grad is not None:
            grads[start : start + p.size] = np.reshape(getattr(p.grad, "array", p.grad), -1)
        start += p.size
    flat = Flat(parameters, values, grads)
    for p in parameters:
        p.flat = flat
    return flat
