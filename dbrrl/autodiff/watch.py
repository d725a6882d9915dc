"""In-place changes of values that `Tensor.data` handed out: noticed before they can make a gradient wrong."""

import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

watched: "dict[int, weakref.ref[Any]]" = {}  # arrays that `data` handed out and that are still alive


def fingerprint(array: Any) -> int:
    """A checksum of the values; of those on a GPU, which would have to be fetched each time, none."""
    if not isinstance(array, (np.ndarray, np.generic)):
        return 0
    return zlib.crc32(np.ascontiguousarray(array).data)


def hand_out(tensor: Any) -> Any:
    """The values of a leaf to look at and to change: watched until the array and all views of it are gone.

    Those on a GPU are handed out unwatched.
    """
    if not isinstance(tensor.array, np.ndarray) or not tensor.array.size:
        return np.asarray(tensor.array) if isinstance(tensor.array, np.generic) else tensor.array
    tensor.fingerprint = fingerprint(tensor.array)
    tensor.handed_out += 1
    values: Any = tensor.array
    array = np.asarray(memoryview(values))  # over a buffer: views of it keep it alive, not what lies below
    key, owner = id(array), weakref.ref(tensor)

    def gone(_: Any) -> None:
        watched.pop(key, None)
        if (alive := owner()) is not None:
            notice_changes((alive,))
            alive.handed_out -= 1

    watched[key] = weakref.ref(array, gone)
    return array


def notice_changes(inputs: Sequence[Any]) -> None:
    """Count a change that was made through an array that `data` handed out."""
    for x in inputs:
        if getattr(x, "handed_out", 0):
            now = fingerprint(x.array)
            if now != x.fingerprint:
                x.fingerprint = now
                x.version += 1
