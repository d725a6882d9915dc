"""Steps of optimizers: the bits of NumPy's formula, and no step for arguments that do not fit."""

from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension
from dbrrl.nn import target
from dbrrl.optim import adam, rmsprop, sgd
from tests.kernels.cpu.conftest import using

BETAS = (0.9, 0.999)


def vectors(n: int, dtype: Any, seed: int = 0) -> list[np.ndarray]:
    """Values, gradient, first and second moment, and scratch."""
    rng = np.random.default_rng(seed)
    values, g, first, second = (rng.normal(size=n).astype(dtype) for _ in range(4))
    return [values, g, first, second**2, np.empty_like(values)]


def formula(*arguments: Any) -> None:
    adam.adam_step.__wrapped__(*arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 7, 64, 1037, 70_001])
def test_a_step_of_adam_has_the_bits_of_the_formula(c: Any, n: int, dtype: Any) -> None:
    ours, right = vectors(n, dtype), vectors(n, dtype)
    for step in (1, 2, 1000):
        assert c.adam_step(*ours, 3e-4, step, BETAS, 1e-5) is None
        formula(*right, 3e-4, step, BETAS, 1e-5)
    for a, b in zip(ours[:4], right[:4], strict=True):
        assert a.tobytes() == b.tobytes()


def test_what_is_not_finite_stays_so_in_its_place(c: Any) -> None:
    ours, right = vectors(40, np.float32), vectors(40, np.float32)
    for arrays in (ours, right):
        arrays[1][3:6] = np.nan, np.inf, -np.inf
        arrays[3][8] = -100
    with np.errstate(all="ignore"):
        c.adam_step(*ours, 3e-4, 5, BETAS, 1e-5)
        formula(*right, 3e-4, 5, BETAS, 1e-5)
    np.testing.assert_array_equal(ours[0], right[0])
    assert np.isnan(ours[0]).sum() == 4


def test_what_does_not_fit_is_left_to_numpy_unchanged(c: Any) -> None:
    for position in range(4):
        for wrong in (
            np.ones((8, 2), np.float32)[:, 0], np.ones(8), np.ones(8, np.float16), np.ones(8, ">f4"),
            np.ones(7, np.float32), np.ones((8, 1), np.float32),
            [1.0] * 8, 1.0, None, np.ones(8, np.int32), np.float32(1), np.ones(8, object),
        ):  # fmt: skip
            given: list[Any] = vectors(8, np.float32)
            given[position] = wrong
            assert c.adam_step(*given, 1e-3, 1, BETAS, 1e-8) is NotImplemented
    given = vectors(8, np.float32)
    before = [x.copy() for x in given[:4]]
    for arguments in (
        (None, 1, BETAS, 1e-8), (1e-3, "1", BETAS, 1e-8), (1e-3, 0, BETAS, 1e-8), (1e-3, 1, [0.9, 0.999], 1e-8),
        (1e-3, 1, (0.9,), 1e-8), (1e-3, 1, BETAS, None), (1e-3, 1, (1.0, 0.9), 1e-8), (1e-3, 10**400, BETAS, 1e-8),
        (1e-3, 1, BETAS), (1e-3, np.ones(2), BETAS, 1e-8),
    ):  # fmt: skip
        assert c.adam_step(*given, *arguments) is NotImplemented
    for position in (0, 2, 3):
        read_only = list(given)
        read_only[position] = given[position].copy()
        read_only[position].setflags(write=False)
        assert c.adam_step(*read_only, 1e-3, 1, BETAS, 1e-8) is NotImplemented
    memory = np.ones(12, np.float32)
    assert c.adam_step(memory[:8], given[1], memory[4:], *given[3:], 1e-3, 1, BETAS, 1e-8) is NotImplemented
    for a, b in zip(given, before, strict=False):
        assert a.tobytes() == b.tobytes()


def test_the_optimizer_takes_the_kernel(c: Any) -> None:
    ours, right = vectors(8, np.float32), vectors(8, np.float32)
    ours[4][:] = 7  # the kernel leaves the scratch memory as it is
    adam.adam_step(*ours, 1e-3, 1, BETAS, 1e-8)
    formula(*right, 1e-3, 1, BETAS, 1e-8)
    assert ours[0].tobytes() == right[0].tobytes() and (ours[4] == 7).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("centered", "momentum"), [(False, 0.0), (True, 0.0), (False, 0.9), (True, 0.9)])
@pytest.mark.parametrize("inside", [False, True])
def test_a_step_of_rmsprop_has_the_bits_of_the_formula(
    c: Any, centered: bool, momentum: float, inside: bool, dtype: Any
) -> None:
    ours, right = (_rmsprop(1037, dtype, centered, bool(momentum)) for _ in range(2))
    for _ in range(3):
        assert c.rmsprop_step(*ours, 1e-2, 0.99, 1e-5, inside, momentum) is None
        rmsprop.rmsprop_step.__wrapped__(*right, 1e-2, 0.99, 1e-5, inside, momentum)
    for a, b in zip(ours[:5], right[:5], strict=True):
        assert a is b is None or a.tobytes() == b.tobytes()


def _rmsprop(n: int, dtype: Any, centered: bool, momentum: bool) -> list[Any]:
    """Values, gradient, mean square, mean, velocity and scratch."""
    values, g, mean, square, scratch = vectors(n, dtype)
    g[:5], square[:5], mean[:5] = 0, 0, 1  # a variance below 0, which is cut off
    g[7] = np.nan
    return [values, g, square, mean if centered else None, mean.copy() if momentum else None, scratch]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_a_step_of_sgd_has_the_bits_of_the_formula(c: Any, momentum: float, nesterov: bool, dtype: Any) -> None:
    ours, right = vectors(1037, dtype), vectors(1037, dtype)
    for values, g, velocity, _, scratch in (ours, right):
        step = c.sgd_step if values is ours[0] else sgd.sgd_step.__wrapped__
        for _ in range(3):
            assert step(values, g, velocity if momentum else None, scratch, 0.1, momentum, nesterov) is None
    for a, b in zip(ours[:3], right[:3], strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tau", [0.005, 0.3])
def test_a_target_approaches_with_the_bits_of_the_formula(c: Any, tau: float, dtype: Any) -> None:
    (ours, goal, *_), (right, *_) = vectors(1037, dtype), vectors(1037, dtype)
    goal[3:6] = np.nan, np.inf, -0.0
    before = goal.tobytes()
    for _ in range(3):
        assert c.approach(ours, goal, tau) is None
        target.approach.__wrapped__(right, goal, tau)
    assert ours.tobytes() == right.tobytes() and goal.tobytes() == before
    for others in ((ours, ours), (ours, goal[::-1]), (ours, goal[:-1]), (ours[:, None], goal[:, None])):
        assert c.approach(*others, tau) is NotImplemented
    assert c.approach(ours, goal.astype(np.float16), tau) is NotImplemented


def test_moments_that_do_not_fit_the_settings_are_left_to_numpy(c: Any) -> None:
    values, g, square, mean, scratch = vectors(8, np.float32)
    rest = scratch, 1e-2, 0.99, 1e-5, False
    for given in ((square, mean, mean, *rest, 0.9), (None, None, None, *rest, 0.0), (square, None, None, *rest, 0.9)):
        assert c.rmsprop_step(values, g, *given) is NotImplemented
    assert c.rmsprop_step(values, g, square, None, None, scratch, 1e-2, 0.99, 1e-5, 0, 0.0) is NotImplemented
    assert c.sgd_step(values, g, None, scratch, 1e-2, 0.9, False) is NotImplemented
    assert c.sgd_step(values, g, square, scratch, 1e-2, 0.9, None) is NotImplemented
    assert c.sgd_step(values, g[::-1], square, scratch, 1e-2, 0.9, False) is NotImplemented


def test_all_levels_refuse_when_numpy_is_chosen() -> None:
    if extension.module is None:
        pytest.skip(extension.reason)
    with using("numpy") as module:
        assert module.adam_step(*vectors(8, np.float32), 1e-3, 1, BETAS, 1e-8) is NotImplemented
        assert module.level() == "numpy"
