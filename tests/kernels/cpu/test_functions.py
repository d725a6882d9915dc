"""Elementary functions and matrix products of the kernels' own."""

from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension
from tests.kernels.cpu.conftest import using

FUNCTIONS = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def units(ours: np.ndarray, right: np.ndarray) -> float:
    """The largest error in units in the last place of float32, of numbers that are not below its normal ones."""
    usual = np.abs(right) > np.finfo(np.float32).tiny
    spacing = np.spacing(np.abs(right[usual]).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(ours[usual] - right[usual]) / spacing))


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_function_is_right_to_two_or_three_units_in_the_last_place(c: Any, name: str) -> None:
    rng = np.random.default_rng(0)
    tiny = 10.0 ** -np.arange(0.0, 37)
    x = np.concatenate([np.linspace(-88, 88, 200_003), rng.normal(size=100_000), tiny, -tiny]).astype(np.float32)
    y = np.empty_like(x)
    assert c.apply(name, x, y) is None
    assert units(y.astype(np.float64), FUNCTIONS[name](x.astype(np.float64))) < 2.5


def test_functions_at_their_limits(c: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 89, -110, 1e30, -1e30], np.float32)
    expected = {
        "exp": [np.nan, np.inf, 0, 1, 1, np.inf, 0, np.inf, 0],
        "tanh": [np.nan, 1, -1, 0, 0, 1, -1, 1, -1],
        "sigmoid": [np.nan, 1, 0, 0.5, 0.5, 1, 0, 1, 0],
    }
    for name, right in expected.items():
        y = np.empty_like(x)
        c.apply(name, x, y)
        np.testing.assert_array_equal(y, np.array(right, np.float32))
    c.apply("tanh", x, y)
    assert np.signbit(y[4]) and not np.signbit(y[3])
    assert c.apply("sine", x, y) is c.apply("exp", x[::2], y[::2]) is c.apply("exp", x, y[:3]) is NotImplemented


def test_every_level_gives_the_same_bits() -> None:
    if extension.module is None:
        pytest.skip(extension.reason)
    before = extension.module.level()
    x = np.random.default_rng(1).normal(0, 20, 10_007).astype(np.float32)
    found = set()
    for level in extension.module.levels():
        extension.module.use_level(level)
        y = [np.empty_like(x) for _ in FUNCTIONS]
        for name, out in zip(FUNCTIONS, y, strict=True):
            extension.module.apply(name, x, out)
        found.add(b"".join(out.tobytes() for out in (*y, extension.module.standardized(x))))
    extension.module.use_level(before)
    assert len(found) == 1


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes",
    [
        (1, 1, 1),
        (4, 32, 5),
        (7, 33, 64),
        (65, 31, 130),
        (32, 64, 300),
        (33, 17, 257),
        (47, 96, 1),
        (13, 100, 600),
        (256, 40, 70),
    ],
)
def test_products_are_those_of_numpy(c: Any, sizes: tuple[int, int, int], dtype: Any, own: bool) -> None:
    rng = np.random.default_rng(2)
    m, n, k = sizes
    if own:
        c.set_blas(0, 0, 0, False)
    try:
        for turn_a in (False, True):
            for turn_b in (False, True):
                a = rng.normal(size=(k, m) if turn_a else (m, k)).astype(dtype)
                b = rng.normal(size=(n, k) if turn_b else (k, n)).astype(dtype)
                for beta in (0.0, 0.5, 1.0):
                    y = np.full((m, n), np.nan if beta == 0 else 1, dtype)
                    wide = a.astype(np.float64), b.astype(np.float64)
                    right = (wide[0].T if turn_a else wide[0]) @ (wide[1].T if turn_b else wide[1]) + beta
                    assert c.product(a, b, y, turn_a, turn_b, beta) is None
                    np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-4 if dtype == np.float32 else 1e-12)
    finally:
        extension._give_blas(c)
    assert c.blas() == extension.module.blas()


@pytest.mark.parametrize("level", ["plain", "avx2", "avx512"])
def test_a_product_writes_its_own_numbers_alone_and_keeps_what_is_not_finite(c: Any, level: str) -> None:
    if level not in extension.module.levels():
        pytest.skip(f"this processor has no {level}")
    room = np.full((50, 90), 7, np.float32)
    a, b = np.ones((40, 20), np.float32), np.ones((20, 90), np.float32)
    a[3, 2], b[4, 5] = np.nan, np.inf
    y = room[5:45]
    with using(level):
        assert c.product(a, b, y, False, False, 0.0) is None
        assert (room[:5] == 7).all() and (room[45:] == 7).all()
        assert np.isnan(y[3]).all() and np.isinf(np.delete(y[:, 5], 3)).all()
        rest = np.delete(np.delete(y, 3, 0), 5, 1)
        assert (rest == 20).all()


def test_other_products_are_left_to_numpy(c: Any) -> None:
    a, b, y = np.ones((2, 3)), np.ones((3, 4)), np.ones((2, 4))
    narrow = a.astype(np.float32)
    for wrong in ((a.T, b, y), (a, b[:2], y), (a, b, y.T), (a, b, y[:, :3]), (narrow, b, y), (a, b, a), (a, 1, y)):
        assert c.product(*wrong, False, False, 0.0) is NotImplemented
    assert c.product(a, b, y, 0, 0, 0.0) is c.product(a, b, y, False, False, None) is NotImplemented
    assert c.product(np.ones((0, 3)), b, np.ones((0, 4)), False, False, 0.0) is NotImplemented
