"""Matrix products of traced arrays."""

import numpy as np

from dbrrl.kernels.cpu.record import refuse
from dbrrl.kernels.cpu.trace import Traced, cast, fresh, note

_FEW = 8  # matrices that are multiplied one by one rather than copied into one
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def matmul(a: Traced, b: Traced) -> Traced:
    """`numpy.matmul`."""
    dtype = np.result_type(a.values, b.values)
    if dtype not in (_FLOAT32, _FLOAT64):
        raise refuse(f"a matrix product of {dtype}")
    a, b = (x if x.dtype == dtype else cast(x, dtype) for x in (a, b))
    with np.errstate(all="ignore"):
        result = fresh(np.matmul(a.values, b.values))
    if not result.size:
        return result
    if not a.shape[-1]:
        raise refuse("a matrix product over no elements")
    if b.ndim <= 2 and a.ndim > 2 and (_flat(a) or a.size > _FEW * a.shape[-1] * a.shape[-2]):
        rows, matrix = a.reshape(-1, a.shape[-1]), b if b.ndim == 2 else b._view(b.values[:, None])
        _gemm(result._view(result.values.reshape(len(rows), -1)), rows, matrix)
        return result
    left = a if a.ndim > 1 else a._view(a.values[None])
    right = b if b.ndim > 1 else b._view(b.values[:, None])
    to = result.values
    to = to[..., None, :] if a.ndim == 1 and b.ndim > 1 else to
    to = to[..., None] if b.ndim == 1 else to
    to = to.reshape(1, 1) if a.ndim == b.ndim == 1 else to
    batch = to.shape[:-2]
    lefts, rights = (np.broadcast_to(x.values, (*batch, *x.shape[-2:])) for x in (left, right))
    for at in np.ndindex(*batch):
        _gemm(result._view(to[at]), left._view(lefts[at]), right._view(rights[at]))
    return result


def _flat(x: Traced) -> bool:
    """Return whether all rows of x are those of one matrix, without a copy."""
    return bool(np.may_share_memory(x.values.reshape(-1, x.shape[-1]), x.values))


def _gemm(to: Traced, a: Traced, b: Traced) -> None:
    """Note the product of two matrices, each as it is in memory or transposed."""
    (m, k), n, size = a.shape, b.shape[1], a.itemsize
    a, b = (x if _turned(x) is not None else x.copy() for x in (a, b))
    turned = [bool(_turned(x)) for x in (a, b)]
    leading = [
        max(x.strides[1] // size if turn else x.strides[0] // size, x.shape[0] if turn else x.shape[1], 1)
        for x, turn in ((a, turned[0]), (b, turned[1]))
    ]
    flags = turned[0] | turned[1] << 1 | (to.dtype == _FLOAT64) << 3
    note("gemm", "", (to, a, b), (m, n, k, *leading, max(to.strides[0] // size if m > 1 else n, n, 1)), flags)


def _turned(x: Traced) -> bool | None:
    """Return whether a matrix is in memory as its transpose, row after row; None where it is neither way."""
    size, (rows, columns), (down, right) = x.itemsize, x.shape, x.strides
    if (right == size or columns == 1) and (rows == 1 or (down >= size * columns and down % size == 0)):
        return False
    if (down == size or rows == 1) and (columns == 1 or (right >= size * rows and right % size == 0)):
        return True
    return None
