"""The stand-in for CuPy refuses what CuPy refuses, and has nothing that CuPy has not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.standin import FUNCTIONS, UFUNCS, Array, make_cupy

X = Array(np.arange(6, dtype=np.float32).reshape(2, 3))
HERE = np.ones((2, 3), np.float32)

REFUSED: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
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


def test_nothing_is_offered_that_cupy_lacks() -> None:
    cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
    offered = {*UFUNCS, *FUNCTIONS, *dir(make_cupy())}
    assert {name for name in offered if not hasattr(cupy, name)} == {"sliding_window_view"}
    assert hasattr(cupy.lib.stride_tricks, "sliding_window_view") and cupy.ndarray.__module__ == Array.__module__
    assert {name for name in dir(Array) if not hasattr(cupy.ndarray, name)} <= {"values", "__weakref__", "__imatmul__"}
