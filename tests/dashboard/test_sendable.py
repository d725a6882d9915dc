"""Values of files as ones that can be sent."""

import json
import os

import msgspec
import pytest

from dbrrl.dashboard import sendable


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [
        (3, 3.0, 3),
        (-2.5, -2.5, None),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        (float("nan"), None, None),
        (float("-inf"), None, None),
        (10**400, None, None),
        (2**53, 2.0**53, None),
        (2**53 - 1, 2.0**53, 2**53 - 1),
        ([1], None, None),
    ],
)
def test_only_numbers_that_every_reader_has_are_numbers(value: object, number: float | None, whole: int | None) -> None:
    assert sendable.number(value) == pytest.approx(number, abs=2) and sendable.whole(value) == whole


def test_texts_have_whole_characters_and_a_bounded_length() -> None:
    assert sendable.text("a\udcff\n") == "a\\udcff\n" and sendable.text("x" * 9, 4) == "xxxx"
    assert sendable.text(3) == sendable.text(None) == ""
    assert sendable.path(os.fsdecode(b"run-\xff/\xc3\xa9")) == "run-\\xff/é"


def test_data_can_always_be_written() -> None:
    odd = {"a": [1, 2.5, True, None, 10**400, -(10**20)], "\udc80": {"b": "\udc81"}, "nan": float("nan"), "c": object}
    found = sendable.data(odd)
    assert found["a"] == [1, 2.5, True, None, "a number that is too large", "-1e+20"] and found["\\udc80"] == {
        "b": "\\udc81"
    }
    written = json.loads(msgspec.json.encode(found))
    assert written["nan"] is None and "object" in written["c"]
