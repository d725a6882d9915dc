"""Products that sum over chosen axes, and lengths of vectors."""

import string
from typing import Any

import numpy as np

from dbrrl.autodiff.diagonal import diagonal
from dbrrl.autodiff.elementwise import abs
from dbrrl.autodiff.linalg import matmul
from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import Axis, max, min, normalize_axes, sum
from dbrrl.autodiff.register import implements
from dbrrl.autodiff.shape import reshape, transpose
from dbrrl.autodiff.variance import Deviation
from dbrrl.errors import ConfigError, ShapeError


def _array(x: Any) -> Any:
    return x if hasattr(x, "ndim") else np.asarray(x)


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    """All products of an element of a and one of b, both flattened: (n, m)."""
    return reshape(_array(a), (-1, 1)) * reshape(_array(b), (1, -1))


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axis of both."""
    a, b = _array(a), _array(b)
    return a * b if not a.ndim or not b.ndim else tensordot(a, b, (-1, -1))


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum of products over the last `axes` axes of a and the first of b, or over the two lists of axes given."""
    a, b = _array(a), _array(b)
    if isinstance(axes, (int, np.integer)):
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    left, right = (normalize_axes(axis, x.ndim, "tensordot") for axis, x in zip(axes, (a, b), strict=True))
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ShapeError(f"tensordot: expected axes of equal sizes, got {axes} of {a.shape} and {b.shape}: pair them")
    rows, columns = [i for i in range(a.ndim) if i not in left], [i for i in range(b.ndim) if i not in right]
    kept = tuple(a.shape[i] for i in rows) + tuple(b.shape[i] for i in columns)
    size = int(np.prod([a.shape[i] for i in left], dtype=int))
    n, m = (int(np.prod([x.shape[i] for i in part], dtype=int)) for x, part in ((a, rows), (b, columns)))
    a = reshape(transpose(a, [*rows, *left]), (n, size))
    return reshape(matmul(a, reshape(transpose(b, [*right, *columns]), (size, m))), kept)


class Einsum(Op):
    """Sum of products by names of axes; each gradient is such a sum of g and the other inputs.

    No name comes twice in one input, and each is in the output or in another input.
    """

    sums = True

    def __init__(self, names: list[str], result: str) -> None:
        self.names, self.result = names, result

    def forward(self, *xs: Any) -> Any:
        return np.einsum(f"{','.join(self.names)}->{self.result}", *xs, optimize=len(xs) > 1)

    def backward(self, g: Any, y: Any, *xs: Any) -> Any:
        gradients = []
        for i, own in enumerate(self.names):
            others = [self.result, *self.names[:i], *self.names[i + 1 :]]
            given = (g, *xs[:i], *xs[i + 1 :])
            gradients.append(np.einsum(f"{','.join(others)}->{own}", *given) if self.needs(i) else None)
        return tuple(gradients)


def _names(subscripts: Any, xs: list[Any]) -> tuple[list[str], str]:
    """A letter for each axis of each input and of the result, `...` written out; ShapeError where they do not fit."""
    if not isinstance(subscripts, str):
        raise ConfigError(
            f"einsum: expected subscripts as in 'ij,jk->ik', got {type(subscripts).__name__}: write a string"
        )
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise ShapeError(f"einsum: expected {len(terms)} arrays for {subscripts!r}, got {len(xs)}")
    free = [c for c in string.ascii_letters if c not in subscripts]
    extra = [x.ndim - len(term.replace("...", "")) for x, term in zip(xs, terms, strict=True)]
    if any(n and ("..." not in term or n < 0) for n, term in zip(extra, terms, strict=True)):
        raise ShapeError(f"einsum: expected a letter for each axis, got {subscripts!r} for {[x.shape for x in xs]}")
    most = np.max(extra, initial=0)
    spread = "".join(free[:most])
    names = [term.replace("...", spread[most - n :]) for n, term in zip(extra, terms, strict=True)]
    if not arrow:
        letters = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(letters)
    return names, right.replace("...", spread)


@implements(np.einsum)
def einsum(subscripts: str, *xs: Any, optimize: Any = None) -> Any:
    """Sum of products by names of axes, such as 'bij,bjk->bik'; `...` are axes that broadcast.

    Args:
        optimize: taken for NumPy's sake; the products are always done in a good order.
    """
    arrays = [_array(x) for x in xs]
    names, result = _names(subscripts, arrays)
    for i, own in enumerate(names):
        for letter in sorted(set(own)):
            while own.count(letter) > 1:  # a diagonal
                first = own.index(letter)
                second = own.index(letter, first + 1)
                arrays[i] = diagonal(arrays[i], 0, first, second)
                own = own[:first] + own[first + 1 : second] + own[second + 1 :] + letter
        others = result + "".join(names[:i] + names[i + 1 :])
        alone = tuple(k for k, letter in enumerate(own) if letter not in others)
        if alone:
            arrays[i] = sum(arrays[i], alone)
        names[i] = "".join(letter for letter in own if letter in others)
    return Einsum(names, result)(*arrays)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Length of the vectors along `axis`, of all elements by default; its gradient is 0 where all are 0.

    Args:
        ord: None or 2 for √Σ x², 1 for Σ |x|, inf and -inf for the largest and smallest |x|, p for (Σ |x|^p)^(1/p). For
            matrices (two axes) None or "fro" for √Σ x².

    Raises:
        ConfigError: another `ord` of matrices, which NumPy computes from singular values or sums of rows.
    """
    if is_half(x):
        return norm(x.astype(np.float32), ord, axis, keepdims).astype(np.float16)
    axes = normalize_axes(axis, x.ndim, "norm")
    if ord is None or (ord == "fro" and len(axes) == 2) or (len(axes) == 1 and ord == 2):
        return Deviation()(sum(x * x, axes, keepdims))
    if len(axes) != 1 or isinstance(ord, str) or ord == 0:
        raise ConfigError(
            f"norm: expected ord None, or 1, 2, inf, -inf or p of vectors along one axis, got {ord!r} along {axes}: "
            "reduce np.abs(x) step by step"
        )
    size = abs(x)
    if ord == 1:
        return sum(size, axes, keepdims)
    if ord in (np.inf, -np.inf):
        return (max if ord > 0 else min)(size, axes, keepdims)
    return sum(size**ord, axes, keepdims) ** (1 / ord)
