"""Checkpoints: a safetensors file of arrays, all else as JSON in its metadata; reading one runs nothing."""

import contextlib
import contextvars
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.checkpoint import files
from dbrrl.errors import CheckpointError

State = dict[str, Any]

FORMAT = 1
# One key only: safetensors keeps no order among several, and equal states must give equal files.
_METADATA = "dbrrl"
_DTYPES = {
    np.dtype(ours): theirs
    for ours, theirs in zip(
        ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"),
        ("BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "F32", "F64", "C64"),
        strict=True,
    )
}  # and their names in a safetensors file
# From here on arrays of a file stay there until they are read, and two of a size are never in memory for one.
_LARGE = 1 << 26  # bytes
_lending = contextvars.ContextVar("lending", default=False)
_ROWS = 1 << 16  # of an array without entries
# What reading a file that is cut, altered or of another kind can raise, beside safetensors' own.
_DAMAGE = (ValueError, TypeError, LookupError, RecursionError, MemoryError)


def save(path: str | os.PathLike[str], state: State, *, kind: str) -> None:
    """Write `state` to `path`: written beside its place, synced to the disk and renamed into it.

    `state`: nested dicts (text keys) and lists of arrays, int of any size, float (also inf and nan), str,
    bool and None; tuples come back as lists, NumPy scalars as Python's. `kind` names what the file holds
    ("agent", "run") and is checked by `load`. Equal states give equal bytes. Raises CheckpointError where
    something else is in the state, or the file cannot be written.
    """
    files.write(path, _chunks(state, kind))


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Within it, states that are asked for may hold views of what is large: write them, and let them go.

    Example:
        with checkpoint.borrowed():
            checkpoint.save(path, agent.record(), kind="agent")
    """
    token = _lending.set(True)
    try:
        yield
    finally:
        _lending.reset(token)


def lending() -> bool:
    """Whether a state may hold views, as within `borrowed`."""
    return _lending.get()


def copied(state: Any) -> Any:
    """A state with copies of its arrays."""
    if isinstance(state, np.ndarray):
        return state.copy()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list | tuple) else state


def same(one: Any, other: Any) -> bool:
    """Whether two states hold equal values; lists and tuples are one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def load(path: str | os.PathLike[str], *, kind: str) -> State:
    """The state saved at `path`; arrays keep dtype and shape and are writable.

    Raises CheckpointError for a file that is missing, damaged, foreign, or of another kind.
    """
    try:
        return _read(Path(path), kind)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (*_DAMAGE, _safetensors().SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged, or not a dbrrl checkpoint ({type(error).__name__})") from error


def encode(state: State, *, kind: str) -> bytes:
    """The bytes of the file that `save` writes."""
    return b"".join(_chunks(state, kind))


def decode(content: bytes, *, kind: str) -> State:
    """The state in what `encode` gave; for messages between processes of one run, which nothing damages."""
    arrays = _safetensors().numpy.load(content)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_METADATA])
    if header["kind"] != kind:
        raise CheckpointError(f"expected a message of kind {kind!r}, got {header['kind']!r}")
    state: State = _restore(header["state"], arrays)
    return state


def _safetensors() -> Any:
    """The library that reads files, loaded with the first: learning alone needs none."""
    import safetensors.numpy

    return safetensors


def _read(path: Path, kind: str) -> State:
    files.size(path)
    with _safetensors().safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if _METADATA not in metadata:
            raise CheckpointError("a safetensors file, but not a dbrrl checkpoint")
        arrays = _arrays(path, file)
    header = json.loads(metadata[_METADATA])
    if header["format"] != FORMAT:
        raise CheckpointError(f"made in format {header['format']!r}, this version reads format {FORMAT}")
    if header["crc32"] != _checksum(header["state"], arrays):
        raise CheckpointError("damaged: its checksum does not match")
    if header["kind"] != kind:
        raise CheckpointError(f"holds a checkpoint of kind {header['kind']!r}, expected {kind!r}")
    state = _restore(header["state"], arrays)
    if not isinstance(state, dict):
        raise CheckpointError("damaged: its state is not a table")
    return state


def _chunks(state: State, kind: str) -> Iterator[Any]:
    """The pieces of a safetensors file: length of its header, header, and the bytes of the arrays."""
    arrays: dict[str, np.ndarray] = {}
    tree = _flatten(state, (), arrays)
    about = {"format": FORMAT, "kind": kind, "crc32": _checksum(tree, arrays), "state": tree}
    header: dict[str, Any] = {"__metadata__": {_METADATA: json.dumps(about, separators=(",", ":"))}}
    names, start = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)), 0  # so that each is aligned
    for name in names:
        array, stop = arrays[name], start + arrays[name].nbytes
        header[name] = {"dtype": _DTYPES[array.dtype], "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield _bytes(arrays[name])


def _arrays(path: Path, file: Any) -> dict[str, np.ndarray]:
    """The arrays of an open safetensors file, by name; large ones stay in the file, and what is written stays here."""
    with open(path, "rb") as plain:
        size = int.from_bytes(plain.read(8), "little")
        header = json.loads(plain.read(size))
    arrays, dtypes = {}, {word: dtype for dtype, word in _DTYPES.items()}
    for name in file.keys():  # noqa: SIM118 (not a dict)
        start, stop = header[name]["data_offsets"]
        if stop - start < _LARGE:
            arrays[name] = file.get_tensor(name)
        else:
            dtype, shape = dtypes[header[name]["dtype"]], tuple(header[name]["shape"])
            arrays[name] = np.memmap(path, dtype, "c", 8 + size + start, shape).view(np.ndarray)
    for name, array in arrays.items():  # one without entries takes no room in the file, however many rows it claims
        rows = math.prod(array.shape[: array.shape.index(0)]) if not array.size else 0
        if rows > os.path.getsize(path) + _ROWS:
            raise CheckpointError(f"damaged: the array {name!r} has {rows:,} rows and no entries")
    return arrays


def _checksum(tree: Any, arrays: dict[str, np.ndarray]) -> int:
    crc = zlib.crc32(json.dumps(tree, separators=(",", ":")).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode(), crc)
        crc = zlib.crc32(_bytes(arrays[name]), crc)
    return crc


def _bytes(array: np.ndarray) -> Any:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _flatten(value: Any, place: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    """`value` as strict JSON: {"$array": name} for an array, {"$float": "nan"} for what JSON lacks."""
    if isinstance(value, np.ndarray):
        return {"$array": _store(value, place, arrays)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {_escaped(key, place): _flatten(entry, (*place, key), arrays) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_flatten(entry, (*place, str(index)), arrays) for index, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{'/'.join(place)}: expected arrays, numbers, texts, lists and dicts, got {type(value).__name__}"
    )


def _store(array: np.ndarray, place: tuple[str, ...], arrays: dict[str, np.ndarray]) -> str:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype not in _DTYPES:
        raise CheckpointError(f"{'/'.join(place)}: expected an array of numbers, got dtype {array.dtype}")
    name = "/".join(place)
    while name in arrays or name == "__metadata__":
        name += "~"
    # safetensors copies the memory in its order, so that a transposed view would come back scrambled.
    arrays[name] = np.asarray(native, order="C")
    return name


def _escaped(key: Any, place: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"{'/'.join(place)}: the keys of a checkpoint are texts, got {key!r}")
    return f"${key}" if key.startswith("$") else key


def _restore(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_restore(entry, arrays) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$float" in tree:
        return _FLOATS[tree["$float"]]
    return {key.removeprefix("$"): _restore(entry, arrays) for key, entry in tree.items()}


_FLOATS = {repr(value): value for value in (math.nan, math.inf, -math.inf)}
