"""Every ufunc that a trace takes against NumPy's, for all kinds of arrays, and elementary functions of float32."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension
from tests.kernels.cpu.conftest import using
from tests.kernels.cpu.programs import agree, recorded, refused, run

SPECIAL = np.array(
    [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 1e-45, 1.2e-38, 3.4e38, -3.4e38, 1.5, -2.5, 0.5, -1, 1,
     88.7, -104], np.float32,
)  # fmt: skip
SHAPES = [(), (1,), (0,), (7,), (40,), (3, 5), (5, 1), (1, 33), (2, 3, 4), (0, 4), (2, 2, 3, 9)]
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1] if x.ndim else x,
    "every other": lambda x: x[..., ::2] if x.ndim else x,
    "part": lambda x: x[..., 1:4] if x.ndim else x,
    "spread": lambda x: np.broadcast_to(x, (3, *x.shape)) if x.ndim < 4 else x,
    "one row": lambda x: x[:1] if x.ndim else x,
}
UNARY = [
    np.negative, np.square, np.absolute, np.exp, np.log, np.tanh, np.sqrt, np.sin, np.cos, np.expm1, np.log1p,
    np.arctanh, np.floor, np.ceil, np.rint, np.sign, np.isnan, np.isfinite, np.reciprocal,
]  # fmt: skip
BINARY = [
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.power, np.copysign, np.less, np.less_equal,
    np.greater, np.greater_equal, np.equal, np.not_equal,
]  # fmt: skip
LOGICAL = [np.logical_and, np.logical_or, np.bitwise_and, np.bitwise_or, np.equal, np.not_equal]
OF_INTEGERS = [np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.less, np.less_equal, np.greater, np.equal]


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape)


@pytest.mark.parametrize("ufunc", UNARY)
def test_a_function_of_one_array(ufunc: Any) -> None:
    for dtype in (np.float32, np.float64):
        agree(ufunc, SPECIAL.astype(dtype), others=[SPECIAL[::-1].astype(dtype)])
        for shape in SHAPES:
            x = numbers(shape).astype(dtype)
            agree(lambda x: tuple(ufunc(view(x)) for view in VIEWS.values()), x, others=[x[::-1] if x.ndim else -x])


@pytest.mark.parametrize("ufunc", BINARY)
def test_a_function_of_two_arrays(ufunc: Any) -> None:
    for dtype in (np.float32, np.float64):
        left, right = (x.ravel().astype(dtype) for x in np.meshgrid(SPECIAL, SPECIAL))
        agree(ufunc, left, right)
        for shape in SHAPES:
            x, y = (numbers(shape, seed).astype(dtype) for seed in range(2))
            both = agree_all(ufunc)
            agree(both, x, y, others=[y, x])


def agree_all(ufunc: Any) -> Callable[..., Any]:
    """The function on views of two arrays, on broadcast ones and on Python's numbers."""

    def found(x: Any, y: Any) -> Any:
        results = [ufunc(view(x), view(y)) for view in VIEWS.values()]
        if x.ndim:
            results += [ufunc(x, y[:1]), ufunc(x[..., :1], y), ufunc(x[:, None], y) if x.ndim == 1 else x + y]
        return (*results, ufunc(x, 2), ufunc(0.5, y), ufunc(np.float64(1.5), y), ufunc(x, np.array(3.0, np.float32)))

    return found


@pytest.mark.parametrize("ufunc", LOGICAL)
def test_a_function_of_booleans(ufunc: Any) -> None:
    for shape in SHAPES:
        x, y = (numbers(shape, seed) > 0 for seed in range(2))
        agree(lambda x, y: tuple(ufunc(v(x), v(y)) for v in VIEWS.values()), x, y, others=[y, x])
    agree(lambda x: (~x, np.logical_not(x), x & True, x | False, x == True), x, others=[~x])  # noqa: E712


@pytest.mark.parametrize("ufunc", OF_INTEGERS)
def test_a_function_of_integers(ufunc: Any) -> None:
    for shape in SHAPES:
        x, y = (np.random.default_rng(seed).integers(-9, 9, shape) for seed in range(2))
        both = lambda x, y: (ufunc(x, y), ufunc(x.T, y.T), ufunc(x, 3), ufunc(x, 2.5), ufunc(x, y / 2))  # noqa: E731
        agree(both, x, y, others=[y, x])


def test_types_are_joined_as_numpy_does() -> None:
    kinds = [np.float32, np.float64, np.int64, np.int32, np.int8, np.bool_, np.uint8]
    x = np.array([[0, 1, 2], [3, 0, 1]])
    joined = 0
    for one in kinds:
        for two in kinds:
            if not {one, two} & {np.float32, np.float64}:
                continue
            given = x.astype(one), x.astype(two)
            agree(lambda x, y: (x * y, x + y, x - y, x < y, x / y, np.maximum(x, y), np.where(y, x, y)), *given)
            joined += 1
    assert joined == 24


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.float16, np.int16, np.complex64])
def test_sums_of_a_type_without_loops_are_refused(dtype: Any) -> None:
    assert np.dtype(dtype).name in refused(lambda x: x + x, np.ones(3, dtype))


def test_every_cast() -> None:
    x = np.array([[0.0, 1, 2], [-3, 100, 1.75]])
    kinds = [np.float32, np.float64, np.int64, np.int32, np.int8, np.bool_]
    for one in (*kinds, np.uint8):
        given = np.abs(x).astype(one)
        agree(lambda x: tuple(x.astype(two) for two in kinds), given, others=[given[::-1]])
        agree(lambda x: tuple(x.T[::2].astype(two) for two in kinds), given, others=[given[::-1]])
    agree(lambda x: x.astype(np.bool_).astype(np.float32).sum(axis=0), np.array([[2, 0, 7]], np.uint8))
    agree(lambda x: (x.astype(np.bool_), x.astype(np.float32)), SPECIAL)


def test_powers() -> None:
    x = np.abs(numbers((4, 9))).astype(np.float32)
    agree(lambda x: (x**2, x**0.5, x**1, x**3, x**-1, x**-0.5, 2.0**x, x**x, x ** x[0]), x, others=[x + 1], scale=4)
    agree(lambda x: (x**2, x**1), np.arange(5))
    assert "power" in refused(lambda x: x**3, np.arange(5))


# ---- writing into arrays ----


def into_part(x: Any, y: Any) -> Any:
    z = x.copy()
    np.multiply(x[1:], y[1:], out=z[:-1])
    np.exp(z[:, ::2], out=z[:, ::2])
    np.add(z, 1, out=z)
    np.subtract(1, z.T, out=z.T)
    return z


def into_itself_shifted(x: Any, y: Any) -> Any:
    z = x.copy()
    np.add(z[:-1], z[1:], out=z[1:])
    np.add(z[::-1], z, out=z)
    np.maximum(z[:, 1:], y[:, 1:], out=z[:, :-1])
    return z


def into_another_type(x: Any, y: Any) -> Any:
    z = np.zeros_like(x, np.float64)
    np.multiply(x, y, out=z)
    np.add(x[0], 1, out=z)
    flags = np.zeros_like(x, np.bool_)
    np.less(x, y, out=flags)
    return z, flags


def augmented(x: Any, y: Any) -> Any:
    z = x.copy()
    z += y
    z[1:] *= z[:-1]
    z -= z[0]
    z /= 2
    view = z.T[::-1]
    view += 1
    z[0, 0] += 5
    return z, view


def overlapping_copies(x: Any, y: Any) -> Any:
    z, w = x.copy(), y.copy()
    z[1:] = z[:-1]
    z[:] = z[::-1]
    w[:, 1:] = w[:, :-1]
    w[...] = w[:, ::-1]
    square = z[:, :3].copy()
    square[...] = square.T
    return z, w, square


def filled(x: Any, y: Any) -> Any:
    z = np.empty_like(x)
    z.fill(2)
    z[1] = y[0]
    z[:, 2] = 7
    z[0, 1] = y[2, 2]
    z[..., None][2:] = y[2:, :, None]
    return z, np.full_like(x, 3.5), np.full_like(x, fill_value=2, dtype=np.int64), np.ones_like(y), np.zeros_like(y)


def a_copy_is_apart(x: Any, y: Any) -> Any:
    z = x + 1
    a, b, c, d, e = z.copy(), z.flatten(), np.clip(z, None, None), z.astype(np.float32), z.T.reshape(-1)
    z *= 0
    return z, a, b, c, d, e


def a_view_is_not(x: Any, y: Any) -> Any:
    z = x + 1
    a, b, c, d = z.reshape(-1), z.T, z[1], z.astype(np.float32, copy=False)
    z += y
    b[0] = 9
    return z, a, b, c, d


@pytest.mark.parametrize(
    "function",
    [into_part, into_itself_shifted, into_another_type, augmented, overlapping_copies, filled, a_copy_is_apart,
     a_view_is_not],
)  # fmt: skip
def test_writes(function: Any) -> None:
    x, y = (numbers((3, 5), seed).astype(np.float32) for seed in range(2))
    agree(function, x, y, others=[y, x])


# ---- elementary functions of float32 ----


def ulps(found: np.ndarray, right: np.ndarray) -> float:
    """The largest error in units in the last place of float32, subnormal numbers included."""
    fit = np.isfinite(right) & (np.abs(right) < 3.4028e38)
    spacing = np.spacing(np.abs(right[fit]).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(found[fit] - right[fit]) / spacing))


@pytest.mark.parametrize("level", ["plain", "avx2", "avx512"])
@pytest.mark.parametrize(("name", "most"), [("exp", 2.0), ("log", 2.0), ("tanh", 6.0)])
def test_a_function_of_float32_is_right_over_its_whole_range(level: str, name: str, most: float) -> None:
    if level not in extension.module.levels():
        pytest.skip(f"this processor has no {level}")
    every = np.arange(0, 2**32, 4097, dtype=np.uint32).view(np.float32)  # a million of all that there are
    near = np.linspace(-20, 20, 200_001, dtype=np.float32)
    x = np.concatenate([every[np.isfinite(every)], near, SPECIAL])
    x = np.append(x, np.zeros(-len(x) % 8, np.float32))
    function = getattr(np, name)
    with using(level), np.errstate(all="ignore"):
        found = run(recorded(function, x), x)["0"]
        right = function(x.astype(np.float64))
        usual = function(x)
    assert ulps(found.astype(np.float64), right) <= most
    np.testing.assert_array_equal(np.isnan(found), np.isnan(usual))
    infinite = np.isinf(usual) | np.isinf(found)
    np.testing.assert_array_equal(found[infinite], usual[infinite])
    zero = (x == 0) & (usual == 0)
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(usual[zero]))
