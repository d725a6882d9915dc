"""Steps of optimizers: the bits of NumPy's formula, and no step for arguments that do not fit."""

from typing import Any

import numpy as np
import pytest

from dbrrl.optim import adam

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
