"""The stand-in for CuPy refuses what CuPy refuses, and has nothing that CuPy has not."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.standin import FUNCTIONS, UFUNCS, Array, check_arguments, copies, make_cupy

X = Array(np.arange(6, dtype=np.float32).reshape(2, 3))
HERE = np.ones((2, 3), np.float32)
SPELLED_OTHERWISE = {"arrays", "arr", "shape", "kwargs", "order", "subok"}  # in NumPy, and passed by place

RNG = np.random.default_rng(0)

REFUSED: dict[str, tuple[Any, Callable[[], Any]]] = {
    "a NumPy array on the right": (TypeError, lambda: X + HERE),
    "a NumPy array on the left": (TypeError, lambda: HERE * X),
    "in place": (TypeError, lambda: X.__iadd__(HERE)),
    "a NumPy result": (TypeError, lambda: np.exp(X, out=HERE)),
    "a NumPy index": (TypeError, lambda: X[np.array([0])]),
    "an index in NumPy": (TypeError, lambda: HERE[Array(np.array([0]))]),
    "a NumPy value": (TypeError, lambda: X.__setitem__(0, HERE[0])),
    "as a NumPy value": (TypeError, lambda: HERE.__setitem__(0, X[0])),
    "joined": (TypeError, lambda: np.concatenate([X, HERE])),
    "conversion": (TypeError, lambda: np.asarray(X)),
    "a NumPy scalar": (TypeError, lambda: np.float32(X[0, 0])),
    "as an index": (TypeError, lambda: range(3)[Array(np.array(1))]),
    "maximum.reduce": (NotImplementedError, lambda: np.maximum.reduce(X)),
    "at by way of NumPy": (TypeError, lambda: np.add.at(X, 0, 1.0)),
    "accumulate": (TypeError, lambda: np.add.accumulate(X)),
    "an unknown ufunc": (TypeError, lambda: np.heaviside(X, 1.0)),
    "an unknown function": (TypeError, lambda: np.trapezoid(X)),
    "read-only arrays": (AttributeError, lambda: setattr(X.flags, "writeable", False)),
    "the maximum of nothing": (ValueError, lambda: X[:0].max(axis=-1)),
    "a hash": (TypeError, lambda: hash(X)),
    "a NumPy out of a sum": (TypeError, lambda: np.sum(X, axis=0, out=HERE[0])),
    "a NumPy out of its method": (TypeError, lambda: X.sum(axis=0, out=HERE[0])),
    "its out from NumPy arrays": (TypeError, lambda: np.add(HERE, HERE, out=X)),
    "an out of integers": (TypeError, lambda: np.add(X, X, out=Array(np.zeros((2, 3), np.int32)))),
    "an out of another shape": (ValueError, lambda: np.add(X, X, out=Array(np.zeros((3, 3), np.float32)))),
    "a sum of some": (TypeError, lambda: np.sum(X, where=X > 1)),
    "a method's sum of some": (TypeError, lambda: X.sum(where=X > 1)),
    "a sum from": (TypeError, lambda: np.sum(X, initial=0)),
    "clip by keywords": (TypeError, lambda: np.clip(X, min=0)),
    "a count that keeps axes": (TypeError, lambda: np.count_nonzero(X, axis=0, keepdims=True)),
    "another way to sort": (ValueError, lambda: np.argsort(X, kind="quicksort")),
    "a host condition": (AttributeError, lambda: np.where(True, X, X)),
    "a list as a value": (ValueError, lambda: X.__setitem__(0, [1.0, 2.0, 3.0])),
    "floats as an index": (IndexError, lambda: X[Array(np.array([0.0]))]),
    "text": (ValueError, lambda: make_cupy().asarray(np.array(["a"]))),
    "objects": (ValueError, lambda: make_cupy().asarray(np.array([None]))),
    "long doubles": (ValueError, lambda: make_cupy().asarray(np.zeros(1, np.longdouble))),
    "as an object": (ValueError, lambda: X.astype(object)),
    "booleans subtracted": (TypeError, lambda: (X > 1) - (X > 1)),
    "a generator's mean": (TypeError, lambda: RNG.normal(X)),
    "a generator's choice": (TypeError, lambda: RNG.choice(X[0])),
    "a generator's chances": (TypeError, lambda: RNG.choice(3, p=X[0])),
    "a generator's bound": (TypeError, lambda: RNG.integers(Array(np.array(3)))),
    "a generator's size": (TypeError, lambda: RNG.random(size=Array(np.array(3)))),
    "a generator's out": ((TypeError, ValueError), lambda: RNG.random(out=X)),
    "a permutation": (TypeError, lambda: RNG.permutation(X)),
    "shuffled views": (UserWarning, lambda: RNG.shuffle(X.copy())),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses(what: str) -> None:
    error, call = REFUSED[what]
    with pytest.raises(error):
        call()
    assert X.values.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_results_are_arrays_and_views_share_memory() -> None:
    x = X.copy()
    assert type(x.sum()) is Array and x.sum().shape == () and float(np.add.reduce(x, None)) == 15
    view = x.T[1:]
    view[...] = 0.0
    assert x.sum().item() == 3 and view.base is not None and x.base is None
    x += x
    assert x.sum().item() == 6 and type(x) is Array


COPIES: dict[str, tuple[tuple[int, int, int], Callable[[], Any]]] = {
    "arithmetic": ((0, 0, 0), lambda: np.exp(X * 2 + X).sum(axis=0).max()),
    "an index": ((0, 0, 0), lambda: X[0, 1:] + X[Array(np.array([1])), 0]),
    "there": ((1, 0, 0), lambda: make_cupy().asarray(HERE)),
    "there already": ((0, 0, 0), lambda: make_cupy().asarray(X)),
    "a list as an index": ((1, 0, 0), lambda: X[[0, 1]]),
    "back": ((0, 2, 0), lambda: (X.get(), make_cupy().asnumpy(X))),
    "numbers": ((0, 5, 0), lambda: (bool(X[0, 1]), int(X[0, 1]), float(X[0, 1]), X[0, 1].item(), X.tolist())),
    "a decision": ((0, 1, 0), lambda: 1 if X.any() else 0),
    "text": ((0, 1, 0), lambda: f"{X}"),
    "how many": ((0, 0, 3), lambda: (X[X > 1], np.nonzero(X), np.where(X > 1))),
}


@pytest.mark.parametrize("what", COPIES)
def test_copies_are_counted(what: str) -> None:
    expected, call = COPIES[what]
    with copies() as outer, copies() as inner:
        call()
    call()
    assert (inner.to_device, inner.to_host, inner.waits) == expected and outer == inner


def test_no_argument_is_offered_that_cupy_lacks() -> None:
    cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
    for name in sorted(FUNCTIONS - {"einsum", "pad", "result_type", "size", "sliding_window_view"}):
        theirs = {*inspect.signature(getattr(cupy, name)).parameters}
        for argument in {*inspect.signature(getattr(np, name)).parameters} - theirs - SPELLED_OTHERWISE:
            with pytest.raises(TypeError):
                check_arguments(name, {argument: None})
        for argument in theirs:
            check_arguments(name, {argument: None})


def test_nothing_is_offered_that_cupy_lacks() -> None:
    cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
    offered = {*UFUNCS, *FUNCTIONS, *dir(make_cupy())}
    assert {name for name in offered if not hasattr(cupy, name)} == {"sliding_window_view"}
    assert hasattr(cupy.lib.stride_tricks, "sliding_window_view") and cupy.ndarray.__module__ == Array.__module__
    assert {name for name in dir(Array) if not hasattr(cupy.ndarray, name)} <= {"values", "__weakref__", "__imatmul__"}
