"""In-place changes of values handed out (`Tensor.data`, `Flat.values`), noticed before they make a gradient wrong."""

import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

watched: "dict[int, weakref.ref[Any]]" = {}  # arrays that were handed out and are still alive


def fingerprint(array: Any) -> int:
    """A checksum of the values; of those on a GPU, which would have to be fetched each time, none."""
    if not isinstance(array, (np.ndarray, np.generic)):
        return 0
    return zlib.crc32(np.ascontiguousarray(array).data)


def hand_out(array: Any, owners: Sequence[Any]) -> Any:
    """`array` to look at and to change: watched until it and all views of it are gone.

    Args:
        array: the memory in which the values of `owners` lie; handed out unwatched if it is on a GPU.
        owners: leaf tensors.
    """
    if not isinstance(array, np.ndarray) or not array.size:
        return np.asarray(array) if isinstance(array, np.generic) else array
    for x in owners:
        if x.handed_out:
            notice_changes((x,))
        else:
            x.fingerprint = fingerprint(x.array)
        x.handed_out += 1
    given = np.asarray(memoryview(array))  # type: ignore[arg-type]  # over a buffer: its views keep it alive
    key, references = id(given), [weakref.ref(x) for x in owners]

    def gone(_: Any) -> None:
        watched.pop(key, None)
        alive = [x for x in (reference() for reference in references) if x is not None]
        notice_changes(alive)
        for x in alive:
            x.handed_out -= 1

    watched[key] = weakref.ref(given, gone)
    return given


def notice_changes(inputs: Sequence[Any]) -> None:
    """Count a change that was made through an array that was handed out."""
    for x in inputs:
        if getattr(x, "handed_out", 0):
            now = fingerprint(x.array)
            if now != x.fingerprint:
                x.fingerprint = now
                x.version += 1
