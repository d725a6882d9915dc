"""Steps of environments: the bits of the page, and what is left to it."""

import math
from typing import Any

import numpy as np
import pytest

from dbrrl.envs import cartpole
from dbrrl.kernels import environments

PAGE = cartpole.euler_step.__wrapped__  # type: ignore[attr-defined]


def step(c: Any, state: np.ndarray, action: Any) -> Any:
    return c.cartpole(state, action, np.cos, np.sin, environments._CONSTANTS)


@pytest.mark.parametrize("copies", [1, 6, 7, 33, 200])
def test_a_step_of_cartpole_has_the_bits_of_the_page(c: Any, copies: int) -> None:
    rng = np.random.default_rng(copies)
    ours = rng.normal(size=(4, copies)) * [[2.0], [1.0], [0.2], [1.0]]
    theirs, ends = ours.copy(), 0
    for _ in range(200):
        action = rng.integers(0, 2, copies)
        ended = step(c, ours, action)
        np.testing.assert_array_equal(ended, PAGE(theirs, action))
        assert ours.tobytes() == theirs.tobytes() and ended.dtype == np.bool_
        ends += int(ended.sum())
        for state in (ours, theirs):
            state[:, ended] = 0.01
    assert ends
    ours[:, 0] = np.nan
    assert not step(c, ours, action)[0] and np.isnan(ours[:, 0]).all()


def test_actions_and_states_of_other_kinds_are_left_to_the_page(c: Any) -> None:
    action = np.array([0, 1, 1])
    for state in (
        np.zeros((4, 3), np.float32), np.zeros((3, 3)), np.zeros((8, 3))[::2], np.zeros((3, 4)).T, np.zeros(12),
    ):  # fmt: skip
        assert step(c, state, action) is NotImplemented
    state = np.zeros((4, 3))
    state.flags.writeable = False
    assert step(c, state, action) is NotImplemented
    state = np.zeros((4, 3))
    for wrong in (
        action.astype(np.int32),
        [0, 1, 1],
        action[:2],
        action[None],
        np.array([0, 1, 2]),
        np.array([0, 1, -1]),
    ):
        assert step(c, state, wrong) is NotImplemented
    for wrong in (np.add, np.frexp, np.bitwise_count, math.cos, np.ones(3), None):
        assert c.cartpole(state, action, wrong, np.sin, environments._CONSTANTS) is NotImplemented
        assert c.cartpole(state, action, np.cos, wrong, environments._CONSTANTS) is NotImplemented
    assert not state.any()


def test_a_step_of_the_library_is_a_kernel_and_the_page_serves_the_rest(c: Any) -> None:
    state = np.zeros((4, 3))
    with pytest.raises(IndexError):
        cartpole.euler_step(state, np.array([0, 1, 2]))
    ours, theirs = np.full((4, 3), 0.1), np.full((4, 3), 0.1)
    small = np.array([0, 1, 1], np.int8)
    np.testing.assert_array_equal(cartpole.euler_step(ours, small), PAGE(theirs, small))
    np.testing.assert_array_equal(ours, theirs)
