"""Functions of arrays as programs: recorded on some numbers, run on others, and compared with NumPy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension

if extension.module is None:
    pytest.skip(f"no compiled kernels: {extension.reason}", allow_module_level=True)

from dbrrl.kernels.cpu.record import Untraceable
from dbrrl.kernels.cpu.recorder import Recorded, Recorder

Function = Callable[..., Any]
INDEX = "ux"  # how a test says that the numbers of an array are places
TOLERANCE = {"float32": 3e-6, "float64": 1e-13}


def recorded(function: Function, *arrays: Any) -> Recorded:
    """The program of a function that returns one array or a tuple of them."""
    return Recorder.record(lambda *x: named(function(*x)), [np.asarray(x) for x in arrays])


def named(found: Any) -> dict[str, Any]:
    """What a function returned, by name."""
    return {str(i): x for i, x in enumerate(found if isinstance(found, tuple) else (found,))}


def run(program: Recorded, *arrays: Any) -> dict[str, Any]:
    """What a program finds for arrays, which it leaves as they are."""
    before = [np.array(x, order="C") for x in arrays]
    given = [x.copy() for x in before]
    assert program.run(*given)
    for x, y in zip(before, given, strict=True):
        np.testing.assert_array_equal(x, y)
    return program.named(program.packed.tolist(), [x.copy() for x in program.results])


def agree(
    function: Function, *arrays: Any, others: Sequence[Any] = (), scale: float = 1.0, single: bool = False
) -> Recorded:
    """Assert that the program of a function gives what NumPy gives, for the arrays that were traced and for others."""
    program = recorded(function, *(np.array(x) for x in arrays))
    for given in (arrays, others or arrays):
        with np.errstate(all="ignore"):
            right = named(function(*(np.array(x, order="C") for x in given)))
        found = run(program, *given)
        assert sorted(found) == sorted(right)
        for name, value in right.items():
            same(found[name], value, scale, single)
    return program


def same(found: Any, right: Any, scale: float = 1.0, single: bool = False) -> None:
    """Assert that an array is another one to rounding, of the same shape, and of the same type where it has axes.

    Args:
        scale: how many times the usual rounding.
        single: whether float32 was computed with on the way.
    """
    right = np.asarray(right)
    assert np.shape(found) == right.shape
    if right.ndim:
        assert found.dtype == right.dtype
    if right.dtype.kind == "f":
        tolerance = TOLERANCE["float32" if single else right.dtype.name] * scale
        finite = np.abs(right[np.isfinite(right)])
        size = max(float(finite.max()) if finite.size else 0.0, float(scale > 1))  # sums may cancel
        np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * min(size, 1e30))
    else:
        np.testing.assert_array_equal(found, right)


def refused(function: Function, *arrays: Any) -> str:
    """Why a function cannot be a program."""
    with pytest.raises(Untraceable) as error:
        recorded(function, *arrays)
    return str(error.value)
