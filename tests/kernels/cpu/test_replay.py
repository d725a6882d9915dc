"""Rows by number, n-step returns and trees of sums against NumPy's own functions and plain loops."""

from typing import Any

import numpy as np
import pytest

from dbrrl.buffers.batch import Batch
from dbrrl.buffers.prioritized import SumTree
from dbrrl.buffers.replay import ReplayBuffer

DTYPES = [np.uint8, np.bool_, np.float16, np.int32, np.float32, np.int64, np.float64, np.complex128]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 5), (0,)])
def test_rows_are_those_that_numpy_takes(c: Any, shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (9, *shape)).astype(dtype)
    for index in (rng.integers(-30, 30, 50), rng.integers(0, 9, (4, 3)), np.zeros(0, np.int64), np.zeros((), np.int64)):
        y = c.take_wrapped(x, index)
        right = x.take(index, 0, None, "wrap")
        assert y.dtype == right.dtype and y.shape == right.shape and y.tobytes() == right.tobytes()
    index = rng.integers(-9, 9, 50)
    found = c.take_columns({"x": x, "nothing": None, "inner": {"y": x}}, index)
    assert found["x"].tobytes() == x[index].tobytes() == found["inner"]["y"].tobytes() and found["nothing"] is None


def test_other_rows_are_left_to_numpy(c: Any) -> None:
    x, index = np.arange(12.0).reshape(4, 3), np.array([1, 2])
    swapped, objects = x.astype(">f8"), np.array([1, None])
    for wrong in (x.T, x[:, ::2], objects, np.zeros((0, 3)), np.float64(1), np.ones(()), [1, 2], swapped):
        assert c.take_wrapped(wrong, index) is NotImplemented
        assert c.take_columns({"x": x, "y": wrong}, index) is NotImplemented
    for wrong in (index.astype(np.int32), index.astype(float), np.arange(4)[::2], [1], 1, None, np.ones(4, bool)):
        assert c.take_wrapped(x, wrong) is c.take_columns({"x": x}, wrong) is NotImplemented
    for wrong in (np.array([4]), np.array([-5]), np.array([2**62])):
        assert c.take_columns({"x": x}, wrong) is NotImplemented
        with pytest.raises(IndexError):
            _ = Batch(x=x)[wrong].x
    assert Batch(x=x.T)[index].x.tolist() == x.T[index].tolist()


def filled(num_envs: int, capacity: int = 60, steps: int = 50) -> ReplayBuffer:
    """A buffer that has gone round, with ends of all kinds."""
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(capacity, num_envs, [(2,)], [np.float32])
    for _ in range(steps):
        buffer.add_action(rng.normal(size=(num_envs, 2)).astype(np.float32), rng.integers(0, 3, num_envs))
        ends, invalid = rng.random((2, num_envs)) < 0.1, rng.random(num_envs) < 0.1
        following, reward = rng.normal(size=(num_envs, 2)).astype(np.float32), rng.normal(size=num_envs)
        buffer.add_outcome(following, reward, *ends, valid=~invalid)
    return buffer


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 5, 25])
@pytest.mark.parametrize("steps", [7, 50])
def test_returns_of_n_steps_are_those_of_the_formula(c: Any, num_envs: int, n_steps: int, steps: int) -> None:
    buffer = filled(num_envs, steps=steps)
    index = np.flatnonzero(buffer.valid)
    rows = index // num_envs
    index = index[(buffer.head - 1 - rows) % buffer._ring < buffer.size]
    last, ends, reward, discount = buffer._returns(index, 0.9, n_steps)
    c.use_level("numpy")
    right = buffer._returns(index, 0.9, n_steps)
    assert last.tolist() == right[0].tolist() and ends.tolist() == right[1].tolist()
    np.testing.assert_allclose(reward, right[2], rtol=1e-5, atol=1e-6)
    assert discount.tolist() == right[3].tolist()
    assert [x.dtype for x in (last, ends, reward, discount)] == [x.dtype for x in right]


def test_what_is_no_ring_is_left_to_numpy(c: Any) -> None:
    rewards, ends, index = np.zeros(12, np.float32), np.zeros(12, np.uint8), np.array([0, 11])
    assert len(c.n_step(rewards, ends, index, 3, 2, 0.9, 3)) == 4
    for wrong in (
        (rewards[:11], ends, index, 3, 2, 0.9, 3), (rewards.astype(float), ends, index, 3, 2, 0.9, 3),
        (rewards, ends.astype(bool), index, 3, 2, 0.9, 3), (rewards, ends, np.array([12]), 3, 2, 0.9, 3),
        (rewards, ends, np.array([-1]), 3, 2, 0.9, 3), (rewards, ends, index, 6, 2, 0.9, 3),
        (rewards, ends, index, 3, 5, 0.9, 3), (rewards, ends, index, 3, 0, 0.9, 3),
        (rewards, ends, index, 3, 2, 0.9, 0), (rewards, ends, index, 3, 2, 0.9, 65),
        (rewards, ends, index, 3, 2, None, 3),
        (rewards, ends, index, 3, 2, 0.9),
    ):  # fmt: skip
        assert c.n_step(*wrong) is NotImplemented


@pytest.mark.parametrize("size", [1, 2, 3, 500, 5000, 20_000])
def test_a_tree_set_by_the_kernel_is_that_of_the_formula(c: Any, size: int) -> None:
    rng = np.random.default_rng(2)
    ours, right = SumTree(size), SumTree(size)
    for count in (size, 1, 7, 64, 64):
        index, values = rng.integers(0, size, count), rng.random(count) * (rng.random(count) < 0.7)
        ours[index] = values
        c.use_level("numpy")
        right[index] = values
        c.use_level(c.levels()[0])
        assert ours.nodes.tobytes() == right.nodes.tobytes()
    shares = np.concatenate([rng.random(300), [0, np.nextafter(1, 0)], rng.random(3) * 1e-300])
    if right.total:
        found = ours.find(shares)
        assert found.dtype == np.int64 and (right[found] > 0).all()
        c.use_level("numpy")
        assert found.tolist() == right.find(shares).tolist()


def test_a_search_ends_where_the_cumulative_sum_passes_the_share(c: Any) -> None:
    tree = SumTree(1000)
    values = np.random.default_rng(3).integers(0, 4, 1000).astype(float)  # sums are exact
    tree[np.arange(1000)] = values
    sums = values.cumsum()
    shares = np.arange(0, sums[-1]) / sums[-1]
    right = np.searchsorted(sums, shares * sums[-1], side="right")
    assert c.tree_find(tree.nodes, tree.leaves, tree.roots, shares).tolist() == right.tolist()


def test_what_is_no_tree_is_left_to_numpy(c: Any) -> None:
    tree, index, values = SumTree(8), np.array([1]), np.array([2.0])
    for wrong in (
        (tree.nodes[:-1], 8, 8), (tree.nodes, 6, 2), (tree.nodes, 8, 3), (tree.nodes, 8, 0), (tree.nodes, 8, 16),
        (tree.nodes.astype("f4"), 8, 8), (tree.nodes, 8.0, 8), (None, 8, 8), (tree.nodes, 2**61, 8),
    ):  # fmt: skip
        assert c.tree_set(*wrong, index, values) is c.tree_find(*wrong, values) is NotImplemented
    for places, numbers in (
        (np.array([8]), values), (np.array([-1]), values), (index, np.ones(2)), (index, None), ([1], values),
        (index, np.ones(1, "f4")), (index[None], values),
    ):  # fmt: skip
        assert c.tree_set(tree.nodes, 8, 8, places, numbers) is NotImplemented
    assert c.tree_find(tree.nodes, 8, 8, [0.5]) is NotImplemented
    assert not tree.nodes.any()
    tree.nodes[:] = np.nan
    assert ((c.tree_find(tree.nodes, 8, 8, np.array([0.5, np.nan])) + 8) < 16).all()
    tree[index] = 3.0
    assert tree[index] == [3.0]
