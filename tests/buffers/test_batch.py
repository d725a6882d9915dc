"""Batches: rows of named columns, minibatches, and columns that are dicts or None."""

from typing import Any

import numpy as np
import pytest

from dbrrl import backend
from dbrrl.buffers import Batch
from tests import standin

N = 10


def batch() -> Batch:
    """Ten transitions: a column of rows, a dict of two columns, a vector, and one that is not needed."""
    rows = np.arange(N, dtype=np.float32)
    observation = {"vector": np.stack([rows, -rows], axis=1), "image": np.arange(N, dtype=np.uint8).reshape(N, 1, 1)}
    return Batch(observation=observation, action=rows.astype(np.int64), reward=10 * rows, weight=None)


def check(found: Batch, rows: Any) -> None:
    """Assert that a batch holds these rows of `batch()`, in this order."""
    rows = np.asarray(rows)
    assert len(found) == len(rows)
    np.testing.assert_array_equal(found.action, rows)
    np.testing.assert_array_equal(found.reward, 10.0 * rows)
    np.testing.assert_array_equal(found.observation["vector"], np.stack([rows, -rows], axis=1))
    np.testing.assert_array_equal(found.observation["image"].reshape(-1), rows)
    assert found.weight is None and list(found.observation) == ["vector", "image"]


def test_a_batch_has_its_columns_as_attributes() -> None:
    check(batch(), range(N))
    assert repr(batch()) == "Batch of 10 transitions: observation, action, reward, weight"


@pytest.mark.parametrize("rows", [[3], [7, 2, 2, 9], [], range(N)])
def test_rows_are_picked_from_every_column(rows: Any) -> None:
    check(batch()[np.array(rows, np.int64)], rows)


def test_rows_may_be_booleans() -> None:
    whole = batch()
    some = whole[whole.reward > 45]
    check(some, range(5, 10))
    check(some[some.reward < 75], [5, 6, 7])
    check(whole[np.zeros(N, bool)], [])


def test_rows_of_rows_are_picked_from_the_whole() -> None:
    some = batch()[np.array([1, 3, 5, 7])]
    check(some[np.array([3, 0])], [7, 1])
    columns, rows = some[np.array([3, 0])].split()
    assert len(columns["action"]) == N and rows.tolist() == [7, 1]
    assert batch().split()[1] is None


def test_a_changed_copy_leaves_the_batch_as_it_was() -> None:
    whole = batch()
    some = whole[np.array([4, 2])]
    more = some.add(reward=np.zeros(2), advantage=np.ones(2))
    assert more.reward.tolist() == [0, 0] and more.advantage.tolist() == [1, 1] and more.action.tolist() == [4, 2]
    check(some, [4, 2])
    check(whole, range(N))
    assert "advantage" not in some.columns and set(more.columns) == {*some.columns, "advantage"}


@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 10), (3, [3, 3, 3, 1]), (5, [5, 5]), (9, [9, 1])])
def test_minibatches_hold_every_row_once_in_random_order(size: int, sizes: list[int]) -> None:
    rng, orders = np.random.default_rng(0), set()
    for _ in range(5):
        found = list(batch().minibatches(size, rng))
        assert [len(part) for part in found] == sizes
        order = np.concatenate([part.action for part in found])
        for part in found:
            check(part, part.action)
        assert sorted(order) == list(range(N))
        orders.add(tuple(order))
    assert len(orders) == 5


@pytest.mark.parametrize("size", [10, 1000])
def test_a_minibatch_of_all_rows_is_the_batch_itself_and_nothing_is_drawn(size: int) -> None:
    whole, rng = batch(), np.random.default_rng(0)
    before = rng.bit_generator.state
    (only,) = whole.minibatches(size, rng)
    assert only is whole and rng.bit_generator.state == before


def test_an_unknown_column_is_named_with_those_that_there_are() -> None:
    for one in (batch(), batch()[np.array([1])]):
        with pytest.raises(AttributeError, match="no 'advantage': expected one of observation, action, reward, weight"):
            _ = one.advantage
    assert not hasattr(batch(), "_hidden")


@pytest.mark.parametrize("observation", ["dict", "array"])
def test_the_lists_of_earlier_versions_warn(observation: str) -> None:
    vector, image = np.ones((2, 3)), np.zeros((2, 1, 4, 4))
    column = {"vector": vector, "image": image} if observation == "dict" else vector
    old = Batch(observation=column, next_observation=column)
    with pytest.warns(DeprecationWarning, match=r"batch\.parts is batch\.observation now"):
        parts = old.parts
    with pytest.warns(DeprecationWarning, match=r"batch\.next_parts is batch\.next_observation now"):
        following = old.next_parts
    expected = [vector, image] if observation == "dict" else [vector]
    assert all(a is b is c for a, b, c in zip(parts, following, expected, strict=True))


def test_a_batch_moves_to_a_gpu_with_all_its_columns() -> None:
    with standin.installed():
        there = batch().to("cuda")
        arrays = [*there.observation.values(), there.action, there.reward]
        assert all(backend.device_name(array) == "cuda:0" for array in arrays) and there.weight is None
        some = there[backend.to_device(np.array([4, 2]), "cuda")]
        assert backend.device_name(some.reward) == "cuda:0"
        assert backend.to_numpy(some.reward).tolist() == [40, 20] and len(some) == 2
        drawn = list(there.minibatches(4, np.random.default_rng(0)))
        assert [len(part) for part in drawn] == [4, 4, 2]
    whole = batch()
    assert whole.to("cpu") is whole
