"""`Op`: one differentiable operation, which records itself when it meets a tensor that wants gradients."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from dbrrl.autodiff.memory import clock
from dbrrl.autodiff.recording import tracing
from dbrrl.autodiff.tensor import Tensor, observing, state, wrap
from dbrrl.backend import device_name, replacement, to_device_of
from dbrrl.errors import DbrrlError, DeviceError, DtypeError, GraphError, ShapeError, undefined


class Op:
    """One differentiable operation: `forward` on arrays; `backward` on arrays or, for second derivatives, on tensors.

    A subclass writes both with NumPy functions and operators, which dispatch to the recording ops where they meet a
    tensor. `backward(g, y, *inputs)` returns one gradient per input in the shape of the broadcast output (the engine
    sums it back to the input's shape), or None. `cached` values of `forward` may serve when `g` is an array.

    For another kind of array than NumPy's, a subclass registered with `backend.replaces(TheOp, "cuda")` takes the place
    of the op when it is called. It may hand what it does not serve, and the gradients of gradients, to `super()`.
    """

    sums: ClassVar[bool] = False  # whether it adds up many elements: float16 is then computed in float32
    saves_inputs: ClassVar[bool] = True  # whether backward reads the inputs
    takes_integers: ClassVar[bool] = False  # whether forward takes arrays of integers; else they are made floating
    inputs: "tuple[Any, ...] | None" = None
    output: Any = None
    gradient: Any = None  # what has arrived so far while a walk is under way
    order: int = 0  # the time of the call
    trace: str = ""  # the user's source line, kept by detect_anomaly
    saved: Any = None  # checksums of what backward reads, kept by detect_anomaly

    def forward(self, *arrays: Any) -> Any:
        """Compute the output array."""
        raise undefined(self, "forward")

    def backward(self, g: Any, y: Any, *inputs: Any) -> Any:
        """Gradient for each input, given that of the output `y`."""
        raise undefined(self, "backward")

    def needs(self, i: int) -> bool:
        """Whether input `i` wants a gradient."""
        x = self.inputs[i]  # type: ignore[index]
        return isinstance(x, Tensor) and x.requires_grad

    @classmethod
    def serving(cls, x: Any) -> type[Self]:
        """The op for arrays of the kind of `x`: its replacement, if there is one."""
        return replacement(cls, x) or cls

    def __call__(self, *inputs: Any) -> Any:
        """Apply to tensors and arrays: a Tensor if any input is one, else the plain array."""
        track = tensors = foreign = False
        arrays = []
        for x in inputs:
            if isinstance(x, Tensor):
                tensors = True
                if x.requires_grad:
                    track = True
                elif x.array.dtype.kind != "f":
                    foreign = True
                arrays.append(x.array)
            else:
                arrays.append(x)
                if (kind := type(x)) is not float and kind is not int:
                    foreign = True
        if foreign:
            inputs = _align(inputs, arrays, self.takes_integers)
        if self.sums and arrays[0].dtype.char == "e":
            return self._in_float32(inputs)
        if tracing:
            arrays = tracing[-1](arrays)
        if type(arrays[0]) is not _ndarray:
            self.__class__ = replacement(type(self), arrays[0]) or type(self)
        try:
            if observing and state.observer is not None:
                y = state.observer.forward(self, arrays)
            else:
                y = self.forward(*arrays)
        except (ValueError, IndexError, TypeError) as error:
            raise _explained(self, arrays, error) from None
        if not tensors:
            return y
        tensor = _new(Tensor)
        tensor.array = y
        if type(y) is not _ndarray and not hasattr(y, "base"):
            raise _no_array(self, y)
        if y.base is not None or y is arrays[0] or y is arrays[-1]:
            share_memory(tensor, inputs)
        if track and state.recording:
            if self.inputs is not None:
                raise GraphError(
                    f"{type(self).__name__} was called twice: expected one op object per call, which remembers its "
                    "inputs; make a new one each time"
                )
            if type(y) is _ndarray and y is not arrays[0] and y is not arrays[-1]:
                y.setflags(False)  # type: ignore[call-arg]  # no writing: backward may read it; a keyword takes longer
            self.inputs = inputs
            self.output = y
            self.order = next(clock)
            tensor.op = self
            tensor.requires_grad = True
        return tensor

    def _in_float32(self, inputs: tuple[Any, ...]) -> Any:
        """Compute in float32 for float16, in which a sum overflows at 65,504 and integers above 2,048 are rounded."""
        narrow = all(is_half(x) for x in inputs if hasattr(x, "dtype"))
        y = self(*(x.astype(np.float32) if is_half(x) else x for x in inputs))
        return y.astype(np.float16) if narrow else y


def share_memory(tensor: Tensor, inputs: Sequence[Any]) -> None:
    """Give `tensor` the memory of the one of `inputs` whose values it shows, if there is one."""
    y = tensor.array
    base = y if y.base is None else y.base  # the same for all views of one array
    for x in inputs:
        if not isinstance(x, Tensor):
            continue
        a = x.array
        # The parameters of a network are views of one vector: only where they meet they are the same memory.
        if a is y or a is base or (a.base is base and np.may_share_memory(a, y)):
            tensor.memory = x.share()
            return


def is_half(x: Any) -> bool:
    """Whether `x`, a tensor, an array or a number, is of type float16."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.char == "e"


_new: Any = object.__new__
_ndarray = np.ndarray


def _no_array(op: Op, y: Any) -> DtypeError:
    """The error for what the `forward` of an op returned in place of an array."""
    kind = type(y).__name__
    cure = "compute with its arrays alone" if isinstance(y, Tensor) else "return an array"
    return DtypeError(f"{type(op).__name__}.forward: expected an array, got {kind}: {cure}")


def one_each(op: Op, inputs: Sequence[Any], found: Any) -> tuple[Any, ...]:
    """Return what the `backward` of an op returned as one gradient, or None, for each of its inputs.

    Raises:
        GraphError: there are fewer, or more that are not None.
    """
    gradients = tuple(found) if isinstance(found, tuple | list) else (found,)
    n = len(inputs)
    if len(gradients) < n or any(g is not None for g in gradients[n:]):
        raise GraphError(
            f"{type(op).__name__}.backward: expected a gradient for each of {n} inputs, got {len(gradients)}: return "
            "None for an input that needs none"
        )
    return gradients[:n]


def shape_of(op: Op, g: Any) -> tuple[int, ...]:
    """Return the shape of a gradient that the `backward` of an op returned; GraphError if it is no array."""
    if not hasattr(g, "shape"):
        raise GraphError(
            f"{type(op).__name__}.backward: expected arrays of the shape of the output, or None, got "
            f"{type(g).__name__}: compute with the gradient that it is given"
        )
    return g.shape  # type: ignore[no-any-return]


def _explained(op: Op, arrays: list[Any], error: Exception) -> Exception:
    """A complaint about an index, broadcasting or devices, with the name of the op; any other error as it is."""
    devices = sorted({device_name(a) for a in arrays if hasattr(a, "shape")})
    if len(devices) > 1:
        return DeviceError(
            f"{type(op).__name__.lower()}: expected tensors on one device, got {' and '.join(devices)}: "
            "move one with .to(device)"
        )
    if isinstance(error, IndexError):
        return ShapeError(f"{type(op).__name__.lower()}: expected an index inside the shape: {error}: check its range")
    if isinstance(error, DbrrlError) or "broadcast" not in str(error):
        return error
    shapes = " and ".join(str(a.shape) for a in arrays if hasattr(a, "shape"))
    return ShapeError(
        f"{type(op).__name__.lower()}: expected shapes that broadcast together, got {shapes} ({error}): "
        "reshape one, or add an axis with x[:, None]"
    )


def _align(inputs: tuple[Any, ...], arrays: list[Any], integers: bool) -> tuple[Any, ...]:
    """Cast plain arrays and integer tensors to the floating type of the tensors that they meet, and move NumPy's
    arrays to the GPU of those they meet; NumPy's scalars become Python's, which are of any type. Changes `arrays`;
    returns the inputs to record.
    """
    dtype = arrays[0].dtype if type(arrays[0]) is np.ndarray else None
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype is not dtype or not a.ndim:
            break
    else:
        return inputs  # the usual case: arrays of one type
    dtype, tensors, place = None, False, None
    for x, a in zip(inputs, arrays, strict=True):
        if hasattr(a, "dtype") and not isinstance(a, (np.ndarray, np.generic)):
            place = a  # on a GPU
        if isinstance(x, Tensor):
            tensors = True
            if a.dtype.kind == "f" and (dtype is None or a.dtype.itemsize > dtype.itemsize):
                dtype = a.dtype
    aligned = list(inputs)
    for i, (x, a) in enumerate(zip(inputs, arrays, strict=True)):
        if isinstance(a, (list, tuple)):
            arrays[i] = aligned[i] = a = np.asarray(a)
        if tensors and not isinstance(a, (int, float)) and not hasattr(a, "dtype"):
            got = f"a dict with the keys {list(a)}" if isinstance(a, dict) else f"{a!r:.60}"
            raise DtypeError(f"expected a number or an array with a Tensor, got {got}: convert it first")
        if place is not None and not isinstance(x, Tensor):
            arrays[i] = aligned[i] = a = to_device_of(place, a)
        if not tensors or not hasattr(a, "dtype") or (isinstance(x, Tensor) and a.dtype.kind == "f"):
            continue
        if a.dtype.kind not in "fiub":
            raise DtypeError(f"expected numbers with a Tensor, got an array of {a.dtype}: convert it first")
        if a.ndim == 0 and isinstance(a, (np.ndarray, np.generic)) and not isinstance(x, Tensor):
            arrays[i] = aligned[i] = a.item()
        elif dtype is not None and a.dtype != dtype and not (integers and a.dtype.kind in "iu"):
            arrays[i] = a.astype(dtype)
            aligned[i] = wrap(arrays[i]) if isinstance(x, Tensor) else arrays[i]
    return tuple(aligned)
