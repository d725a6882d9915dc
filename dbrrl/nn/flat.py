"""Parameters as views into one contiguous vector: what an optimizer works on."""

from collections.abc import Sequence
from typing import Any

from dbrrl.autodiff.memory import change
from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import array_module, device_name, to_device_of
from dbrrl.errors import DeviceError, DtypeError, GraphError
from dbrrl.types import Array

Guests = list[tuple[Any, Any]]  # parameters whose values are in other vectors than ours, each with its place in ours


class Flat:
    """The vectors `values` and `grads` (n,) of an optimizer, which its parameters' arrays and gradients are views into.

    So a step is a handful of array operations, the global norm one dot product and a target network one axpy, whatever
    the number of layers. Parameters that are neighbors in a vector already stay in it; all others are moved. Where a
    newer optimizer moved some of them, this one goes on with copies of these (`pull`, `push`).

    Args:
        parameters: leaf tensors of one dtype on one device; one that comes twice counts once.

    Raises:
        GraphError: there is no parameter, or something that is no leaf tensor.
        DtypeError, DeviceError: the parameters differ in dtype or device.
    """

    values: Any  # whoever changes it calls `changed`
    grads: Any

    def __init__(self, parameters: Sequence[Any]) -> None:
        self.parameters: list[Any] = list({id(p): p for p in parameters}.values())
        _check(self.parameters)
        values = consecutive(self.parameters)
        self.values = join(self.parameters) if values is None else values
        self.grads = array_module(self.values).zeros_like(self.values)
        own_grads = _views(self.grads, self.parameters)
        self.places = [(p, p.array, own_grad) for p, own_grad in zip(self.parameters, own_grads, strict=True)]
        self.gather()

    def zero(self) -> None:
        """Set all gradients to zero."""
        self.grads.fill(0)
        for p, own, own_grad in self.places:
            if p.grad is not own_grad:
                _check_place(p, own)
                p.grad = own_grad

    def ready(self) -> bool:
        """Prepare for a program that computes all gradients and changes the values; False where parameters are frozen
        or in other vectors.
        """
        now = change()
        for p, own, own_grad in self.places:
            if p.array is not own or not p.requires_grad:
                return False
            p.grad, p.memory.changed = own_grad, now
        return True

    def gather(self) -> Any:
        """`grads`, after taking in gradients that were set from outside the vector."""
        for p, own, own_grad in self.places:
            if p.grad is not own_grad:
                _check_place(p, own)
                own_grad[...] = 0 if p.grad is None else to_device_of(own_grad, plain(p.grad))
                p.grad = own_grad
        return self.grads

    def pull(self) -> Guests:
        """Copy in the values of parameters that were moved to other vectors; returns these, for `push`."""
        guests = [(p, own) for p, own, _ in self.places if p.array is not own]
        for p, own in guests:
            _check_place(p, own)
            own[...] = p.array
        return guests

    def push(self, guests: Guests) -> None:
        """Copy `values` out to the parameters that `pull` returned, and declare all parameters changed."""
        for p, own in guests:
            p.array[...] = own
        self.changed()

    def frozen(self) -> list[tuple[Any, Any]]:
        """The arrays of parameters that were frozen after this was made, each with a copy to restore it from."""
        return [(p.array, p.array.copy()) for p in self.parameters if not p.requires_grad]

    def changed(self) -> None:
        """Declare that `values` changed: a graph recorded before refuses to go backward."""
        now = change()
        for p in self.parameters:
            p.memory.changed = now

    def share(self, values: Array) -> None:
        """Make the parameters views into `values` (n,), whose content they have from now on."""
        self.values = values
        views = _views(values, self.parameters)
        self.places = [(p, view, own_grad) for (p, _, own_grad), view in zip(self.places, views, strict=True)]
        for p, view, _ in self.places:
            p.move(view)
        _place(self.parameters, values)
        self.changed()

    def __reduce__(self) -> Any:
        return Flat, (self.parameters,)  # a copy's parameters are views into vectors of the copy


def join(parameters: Sequence[Any]) -> Any:
    """Move the values of `parameters` into one new vector (n,), which they become views into; returns the vector."""
    vector = array_module(parameters[0].array).concatenate([p.array.reshape(-1) for p in parameters])
    for p, view in zip(parameters, _views(vector, parameters), strict=True):
        p.move(view)
    _place(parameters, vector)
    return vector


def consecutive(parameters: Sequence[Any]) -> Any:
    """The piece of a vector (n,) that holds the values of `parameters` one after another; None if there is none."""
    vector: Any = getattr(parameters[0], "vector", None)
    if vector is None:
        return None
    stop = start = parameters[0].start
    for p in parameters:
        if getattr(p, "vector", None) is not vector or p.start != stop:
            return None
        stop += p.size
    return vector[start:stop]


def _place(parameters: Sequence[Any], vector: Any) -> None:
    """Note in `parameters` where in `vector` their values are, one after another."""
    start = 0
    for p in parameters:
        p.vector, p.start, start = vector, start, start + p.size


def _views(vector: Any, parameters: Sequence[Any]) -> list[Any]:
    """A vector (n,) in pieces of the parameters' shapes."""
    views, start = [], 0
    for p in parameters:
        views.append(vector[start : start + p.size].reshape(p.shape))
        start += p.size
    return views


def _check(parameters: Sequence[Any]) -> None:
    if not parameters:
        raise GraphError("optimizer: expected a parameter that wants gradients, got none: assign some as attributes")
    for i, p in enumerate(parameters):
        if not isinstance(p, Tensor) or p.op is not None:
            raise GraphError(
                f"optimizer: expected Parameters or other leaf tensors, got {type(p).__name__} at {i}: pass a list"
            )
    dtypes, devices = {str(p.dtype) for p in parameters}, {device_name(p.array) for p in parameters}
    if len(dtypes) > 1:
        raise DtypeError(
            f"optimizer: expected parameters of one dtype, got {sorted(dtypes)}: convert them with module.astype"
        )
    if len(devices) > 1:
        raise DeviceError(
            f"optimizer: expected parameters on one device, got {sorted(devices)}: move them with module.to"
        )


def _check_place(p: Any, own: Any) -> None:
    """GraphError for a parameter that was converted to another dtype or device than its array `own` is of."""
    if p.array is not own and (p.dtype != own.dtype or device_name(p.array) != device_name(own)):
        raise GraphError(
            f"optimizer: expected parameters of dtype {own.dtype} on {device_name(own)!r}, got {p.dtype} on "
            f"{device_name(p.array)!r}: they were converted (to, astype) since: make the optimizer again"
        )
