"""NumPy's ufuncs on traced arrays: the numbers by NumPy itself, and the loops that compute them again."""

from typing import Any

import numpy as np

from dbrrl.kernels.cpu.indices import setitem
from dbrrl.kernels.cpu.names import NAMES
from dbrrl.kernels.cpu.products import matmul
from dbrrl.kernels.cpu.record import now, refuse
from dbrrl.kernels.cpu.reductions import reduce
from dbrrl.kernels.cpu.trace import CODES, HANDLERS, Traced, as_type, check_own, fresh, loop, move, plain, traced

_SAME = {  # ufuncs that are one loop, by the type that they compute in
    "negative", "square", "absolute", "exp", "log", "tanh", "sqrt", "sin", "cos", "expm1", "log1p", "arctanh", "floor",
    "ceil", "rint", "sign", "isnan", "isfinite", "add", "subtract", "multiply", "divide", "maximum", "minimum", "power",
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_not",
    "copysign",
}  # fmt: skip
_LOGICAL = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not"}


_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)


def ufunc(which: Any, method: str, inputs: tuple[Any, ...], out: Any, options: dict[str, Any]) -> Any:
    """Return what NumPy's ufunc gives for traced arrays."""
    name = which.__name__
    if method == "reduce":
        return reduce(which, inputs[0], out=out, **options)
    if method == "at":
        if name != "add" or not all(type(x) is Traced for x in inputs[:1]):
            raise refuse(f"numpy.{name}.at of this kind")
        array, index, value = inputs
        setitem(array, index, value, add=True)
        return None
    if method != "__call__" or {name for name, value in options.items() if value is not None}:
        raise refuse(f"numpy.{name}.{method} with {sorted(options)}")
    if name == "matmul":
        result = matmul(*map(traced, inputs))
    elif name == "power" and np.ndim(inputs[1]) == 0 and not isinstance(inputs[1], Traced):
        result = _power(traced(inputs[0]), float(inputs[1]))
    else:
        result = _elementwise(name, which, inputs)
    if out is None:
        return result
    (to,) = out
    if type(to) is not Traced:
        raise refuse("a write into an array that is not traced")
    check_own(to)
    _redirect(result, to)
    return to


def _redirect(result: Traced, to: Traced) -> None:
    """Let the result of the latest step be written into `to`, whose shape and type it has; else copy it there."""
    steps = now().steps
    last = steps[-1] if steps else None
    fits = (
        last is not None and last.kind == "loop" and last.operands[0].buffer is result.buffer and to.size
        and result.shape == to.shape and result.dtype == to.dtype and to.buffer.kind == "own"
        and all(_aligned(x, to) for x in last.operands[1:] if x.buffer is to.buffer)
    )  # fmt: skip
    if not fits:
        move(to, result)
        return
    assert last is not None
    to.values[...] = result.values
    last.operands = (to.operand, *last.operands[1:])


def _aligned(x: Any, to: Traced) -> bool:
    """Whether an operand in the buffer of `to` is `to` itself, or has nothing in common with it."""
    own = to.operand
    if x.offset == own.offset and x.shape == own.shape and x.strides == own.strides:
        return True
    return bool(x.offset + x.extent <= own.offset or own.offset + own.extent <= x.offset)


def _elementwise(name: str, which: Any, inputs: tuple[Any, ...]) -> Traced:
    numbers = [plain(x) for x in inputs]
    with np.errstate(all="ignore"):
        values = which(*numbers)
    name = _LOGICAL.get(name, name) if np.asarray(values).dtype == _BOOL else name
    if name == "reciprocal" and np.asarray(values).dtype.kind == "f":
        name, inputs, numbers = "divide", (1.0, *inputs), [1.0, *numbers]
        which = np.divide
    if name not in _SAME:
        raise refuse(f"numpy.{which.__name__}")
    kinds: list[Any] = [type(x) if type(x) in (int, float) else np.asarray(x).dtype for x in numbers]
    if name.startswith("logical") or (_BOOL in kinds and len(set(kinds)) == 1):
        dtype = _BOOL
    else:
        dtype = which.resolve_dtypes((*kinds, None))[0]
    if dtype not in CODES or f"{name}_{CODES[dtype]}" not in NAMES:
        raise refuse(f"numpy.{which.__name__} of {dtype}")
    arrays = [as_type(x, dtype) for x in inputs]
    return loop(f"{name}_{CODES[dtype]}", fresh(values), *arrays)


def _power(x: Traced, exponent: float) -> Any:
    if exponent == 2:
        return np.square(x)
    if exponent == 0.5:
        return np.sqrt(x)
    if exponent == 1:
        return x.copy()
    if x.dtype.kind != "f":
        raise refuse(f"numpy.power of {x.dtype}")
    values = np.power(plain(x), exponent)
    return loop(f"power_{CODES[x.dtype]}", fresh(values), x, traced(exponent, x.dtype))


def where(condition: Any, a: Any, b: Any) -> Traced:
    """`numpy.where` of three arguments."""
    values = np.where(plain(condition), plain(a), plain(b))
    dtype = values.dtype
    if dtype not in CODES or f"where_{CODES[dtype]}" not in NAMES:
        raise refuse(f"numpy.where of {dtype}")
    mask = as_type(condition, _BOOL)
    return loop(f"where_{CODES[dtype]}", fresh(values), mask, as_type(a, dtype), as_type(b, dtype))


HANDLERS["ufunc"] = ufunc
