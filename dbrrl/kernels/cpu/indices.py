"""Views, rows and elements of traced arrays by index, read and written."""

from math import prod
from typing import Any

import numpy as np

from dbrrl.kernels.cpu.record import refuse
from dbrrl.kernels.cpu.trace import (
    HANDLERS,
    Traced,
    as_type,
    cast,
    check_own,
    fresh,
    in_one_piece,
    in_order,
    move,
    note,
    traced,
)

_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


def _basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or _is_number(part) or isinstance(part, slice) for part in parts)


def _is_number(part: Any) -> bool:
    return isinstance(part, int | np.integer) and not isinstance(part, bool)


def _with_rest(index: Any) -> tuple[Any, ...]:
    """Return an index that gives a view also where it says the place of a single number."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if any(part is Ellipsis for part in parts) else (*parts, ...)


def getitem(x: Traced, index: Any) -> Any:
    """Return x[index]: a view, rows by their numbers, or one element of each row."""
    if _basic(index):
        return x._view(x.values[_with_rest(index)])
    x, places, shape = _rows_of(x, index)
    rest = x.shape[1:]
    result = fresh(x.values[places.values])
    if result.size:
        row = x.itemsize * prod(rest)
        note("take", "", (result, x, places), (places.size, row, len(x), x.strides[0]))
    return result._view(result.values.reshape((*shape, *rest)))


def _rows_of(x: Traced, index: Any) -> tuple[Traced, Traced, tuple[int, ...]]:
    """Return x as rows that follow one another, the numbers of those that an index of integers names, and its shape."""
    parts = list(index) if isinstance(index, tuple) else [index]
    while parts and isinstance(parts[-1], slice) and parts[-1] == slice(None):
        parts.pop()
    axis = next((i for i, part in enumerate(parts) if not (isinstance(part, slice) and part == slice(None))), 0)
    arrays = [traced(np.asarray(part) if isinstance(part, int | list) else part) for part in parts[axis:]]
    if axis or any(part.dtype.kind not in "iu" for part in arrays):
        raise refuse("an index of this kind")
    sizes, shape = x.shape[: len(arrays)], np.broadcast_shapes(*(part.shape for part in arrays))
    row = Traced(x.values[(0,) * len(arrays)], x.buffer) if all(sizes) else x
    apart = row.values.nbytes if row.ndim else x.itemsize
    steps = [apart * prod(sizes[i + 1 :]) for i in range(len(sizes))]
    spaced = list(x.strides[: len(sizes)]) == steps or (len(sizes) == 1 and x.strides[0] >= apart)
    if not (spaced and in_one_piece(row)):
        x = x.copy()
    total: Any = None
    for part, n in zip(arrays, sizes, strict=True):
        part = part if part.dtype == _INT64 else cast(part, _INT64)
        constant = part.buffer.kind == "fixed" and not part.buffer.array.flags.writeable and part.size
        known = constant and part.values.min() >= 0 and part.values.max() < n
        if len(sizes) > 1 and not known:  # of one axis the step that reads or writes rows looks itself
            check_range(part, -n, n)
            part = traced(np.where(np.less(part, 0), part + n, part))
        total = part if total is None else total * n + part
    total = total if total.shape == shape else total._view(np.broadcast_to(total.values, shape))
    total = total.reshape(-1) if in_one_piece(total) else total.copy().reshape(-1)
    rows = np.lib.stride_tricks.as_strided(
        x.values, (prod(sizes), *x.shape[len(sizes) :]), (x.strides[len(sizes) - 1], *x.strides[len(sizes) :])
    )
    return x._view(rows), total, shape


def check_range(x: Traced, low: int, high: int) -> None:
    """Note that the integers or booleans x are from `low` to `high` - 1: with others the program stops, and the ops,
    which check them too, say what is wrong.
    """
    x = in_order(as_type(x, _INT64))
    note("check", "", (x,), (x.size, low, high))


def setitem(x: Traced, index: Any, value: Any, add: bool = False) -> None:
    """Note x[index] = value, or x[index] += value where places may come twice."""
    check_own(x)
    if _basic(index):
        view = x._view(x.values[_with_rest(index)])
        new = traced(value, x.dtype) if isinstance(value, bool | int | float) else traced(value)
        move(view, view + new if add else new)
        return
    rows, places, shape = _rows_of(x, index)
    if rows.buffer is not x.buffer:
        raise refuse("a write to places of this kind")
    rest = rows.shape[1:]
    new = as_type(value, x.dtype)
    spread = new._view(np.broadcast_to(new.values, (*shape, *rest)))
    apart = in_one_piece(spread) and spread.buffer is not x.buffer  # else it would be read after it was written
    spread = (spread if apart else spread.copy()).reshape((places.size, *rest))
    places = places.copy() if places.buffer is x.buffer else places
    if add and x.dtype.kind != "f":
        raise refuse(f"a sum of {x.dtype} at places")
    if add:
        np.add.at(rows.values, places.values, spread.values)
    else:
        rows.values[places.values] = spread.values
    flags = int(add) | (x.dtype == _FLOAT64) << 1
    row = x.itemsize * prod(rest)
    note("put", "", (rows, spread, places), (places.size, row, len(rows), rows.strides[0], prod(rest)), flags)


HANDLERS["getitem"], HANDLERS["setitem"] = getitem, setitem
