"""Checkpoints: exact round trips, whole files only, and nothing in a file is trusted."""

import errno
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from dbrrl import checkpoint
from dbrrl.checkpoint import format
from dbrrl.errors import CheckpointError

ARRAYS = [
    np.arange(6.0).reshape(2, 3).T,
    np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1, ::2],
    np.array(3, np.uint8),
    np.zeros((0, 3), np.float16),
    np.array([True, False]),
    np.array([2**64 - 1], np.uint64),
    np.array([np.nan, -0.0, np.inf], np.float32),
    np.array([1 + 2j], np.complex64),
]


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
    else:
        assert one == other and repr(one) == repr(other)


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    state = {
        "arrays": ARRAYS,
        "numbers": [0, -1, 2**200, 1e-320, -0.0, math.pi, math.nan, math.inf, -math.inf],
        "others": {
            "none": None,
            "yes": True,
            "no": False,
            "text": 'é"\\\n\x00\U0001f600',
            "": {},
            "list": [],
        },
        "$array": {"$float": "mine", "$$": 1},
        "a/b": np.ones(1),
        "a": {"b": np.zeros(2)},
    }
    checkpoint.save(tmp_path / "x", state, kind="run")
    loaded = checkpoint.load(tmp_path / "x", kind="run")
    assert_same(loaded, state)
    assert all(array.flags.writeable for array in loaded["arrays"])


def test_large_arrays_stay_in_the_file_and_are_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / "x", {"arrays": ARRAYS}, kind="run")
    before = (tmp_path / "x").read_bytes()
    monkeypatch.setattr(format, "_LARGE", 1)
    loaded = checkpoint.load(tmp_path / "x", kind="run")
    assert_same(loaded, {"arrays": ARRAYS})
    assert isinstance(loaded["arrays"][0].base, np.memmap)
    loaded["arrays"][0][:] = 7  # writable, and the file is not what is written to
    assert loaded["arrays"][0].sum() == 42 and (tmp_path / "x").read_bytes() == before
    damaged = bytearray(before)
    damaged[-1] ^= 1
    (tmp_path / "x").write_bytes(damaged)
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(tmp_path / "x", kind="run")


def test_copies_are_made_unless_views_will_do() -> None:
    state = {"a": [np.zeros(2)], "n": 1}
    copy = checkpoint.copied(state)
    copy["a"][0][:] = 1
    assert_same(state, {"a": [np.zeros(2)], "n": 1})
    assert not checkpoint.lending()
    with checkpoint.borrowed():
        assert checkpoint.lending()
    assert not checkpoint.lending()


def test_equal_states_give_equal_bytes() -> None:
    def state() -> dict[str, Any]:
        return {name: np.full(3, index) for index, name in enumerate("hgfedcba")} | {"n": 1.5}

    assert checkpoint.encode(state(), kind="run") == checkpoint.encode(state(), kind="run")


def test_other_byte_orders_and_numpy_scalars_become_plain(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {"big": np.array([1.5], ">f8"), "s": np.float64(2), "t": (1,)}, kind="run")
    assert_same(checkpoint.load(tmp_path / "x", kind="run"), {"big": np.array([1.5]), "s": 2.0, "t": [1]})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, {1: 2}, np.array([object()]), np.array(["a"]), b"x", 1j, np.longdouble(1)]
)
def test_what_cannot_be_saved_is_named_by_its_place(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match="outer/inner"):
        checkpoint.save(tmp_path / "x", {"outer": {"inner": value}}, kind="run")
    assert not list(tmp_path.iterdir())


def test_every_cut_and_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x"
    whole = checkpoint.encode({"a": np.arange(50.0), "n": [1, 2.5, "text"]}, kind="run")
    draw = random.Random(0)
    for length in [0, 1, 7, 8, 9, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(40))]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(path, kind="run")
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(path, kind="run")
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def forged(tree: Any, arrays: dict[str, np.ndarray] | None = None, **changes: Any) -> bytes:
    """A file whose checksum is right, and whose content need not be."""
    arrays = arrays or {}
    header = {"format": 1, "kind": "run", "crc32": format._checksum(tree, arrays), "state": tree}
    return safetensors.numpy.save(arrays, {"dbrrl": json.dumps(header | changes)})


@pytest.mark.parametrize(
    "content",
    [
        forged({"a": {"$array": "missing"}}),
        forged({"a": {"$array": ["x"]}}),
        forged({"a": {"$float": "import os"}}),
        forged({"a": {"$float": {}}}),
        forged([1, 2]),
        forged("text"),
        forged({}, format=2),
        forged({}, kind=["run"]),
        forged({}, state={"other": 1}),
        safetensors.numpy.save({}, {"dbrrl": "[" * 100_000}),
        safetensors.numpy.save({}, {"dbrrl": "null"}),
        safetensors.numpy.save({}, {"dbrrl": '{"format": 1, "n": ' + "9" * 10_000 + "}"}),
        safetensors.numpy.save({"x": np.ones(3)}, {"other": "file"}),
        safetensors.numpy.save({"x": np.ones(3)}),
        b"\x80\x04\x95cos\nsystem\n(S'echo hacked'\ntR.",
        (2**62).to_bytes(8, "little") + b"{}",
        b"",
    ],
)
def test_hostile_and_foreign_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path, kind="run")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_folders_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        checkpoint.load(tmp_path / "x", kind="run")
    with pytest.raises(CheckpointError, match="is a folder"):
        checkpoint.load(tmp_path, kind="run")
    checkpoint.save(tmp_path / "x", {}, kind="run")
    with pytest.raises(CheckpointError, match="of kind 'run', expected 'agent'"):
        checkpoint.load(tmp_path / "x", kind="agent")


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    checkpoint.save(path, {"n": 1}, kind="run")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device; files saved earlier are intact"):
        checkpoint.save(path, {"n": 2}, kind="run")
    assert checkpoint.load(path, kind="run") == {"n": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_renamed_into_place_only_when_it_is_whole_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), sync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names))[1])
    checkpoint.save(tmp_path / "x", {}, kind="run")
    assert order == ["sync", "rename", "sync"]


def test_a_message_comes_back_as_it_was_and_only_as_its_kind() -> None:
    state = {"vector": np.arange(3.0), "none": None, "nested": [{"big": 2**80, "empty": np.zeros((0, 2))}]}
    content = checkpoint.encode(state, kind="message")
    assert checkpoint.encode(checkpoint.decode(content, kind="message"), kind="message") == content
    with pytest.raises(CheckpointError, match="expected a message of kind 'agent', got 'message'"):
        checkpoint.decode(content, kind="agent")
