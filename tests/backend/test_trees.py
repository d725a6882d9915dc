"""Observations as trees: an array, or a dict of arrays by name."""

from collections import OrderedDict

import numpy as np
import pytest

from dbrrl.backend.trees import count, leaves, mapped, tree_of

A, B = np.zeros((3, 2)), np.ones((3, 1, 4, 4))


def test_leaves_are_the_arrays_in_their_order() -> None:
    assert [x is y for x, y in zip(leaves({"b": B, "a": A}), [B, A], strict=True)] == [True, True]
    assert leaves(A)[0] is A and len(leaves(A)) == 1
    assert [x is y for x, y in zip(leaves([A, B]), [A, B], strict=True)] == [True, True]


@pytest.mark.parametrize("tree", [A, {"a": A}, {"b": B, "a": A}], ids=["array", "dict", "two"])
def test_rows_are_counted(tree: object) -> None:
    assert count(tree) == 3


def test_a_tree_is_made_of_names_and_arrays() -> None:
    assert tree_of((), [A]) is A
    named = tree_of(("vector", "camera"), [A, B])
    assert list(named) == ["vector", "camera"] and named["camera"] is B
    assert tree_of(("only",), [A])["only"] is A
    assert list(tree_of((), [A, B])) == ["0", "1"]
    with pytest.raises(ValueError, match="zip"):
        tree_of(("vector",), [A, B])


def test_a_function_is_applied_to_each_array() -> None:
    assert mapped(np.sum, B) == 48
    assert mapped(np.sum, OrderedDict(b=B, a=A)) == {"b": 48, "a": 0}
