"""The arrays of a large buffer, in memory or in a file, made only if there is room for them."""

import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.errors import ConfigError

Layout = Sequence[tuple[tuple[int, ...], Any]]  # shape and dtype of each array

_GROUP, _FILES = Path("/sys/fs/cgroup"), ("max", "current", "stat")
_ALIGNMENT = 64  # bytes; where an array may begin in a file
# A file of its own, gone with the last that has it open where the system can see to that (Windows).
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_TEMPORARY", 0)
LARGE = 1 << 30  # bytes from which the size is announced


def nbytes(layout: Layout) -> int:
    """Bytes of the arrays."""
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layout)


def available_bytes() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:  # a container may be given less than the machine has
        limit, used, detail = ((_GROUP / f"memory.{name}").read_text(encoding="ascii") for name in _FILES)
        entries = dict(line.split() for line in detail.splitlines())
        files = int(entries.get("active_file", 0)) + int(entries.get("inactive_file", 0))  # given back when needed
        return free if limit.strip() == "max" else min(free, max(int(limit) - int(used) + files, 0))
    except (OSError, ValueError):
        return free


_CURE = "give a smaller buffer_size, a buffer_file on a disk, or the frame_stack of stacked images"


def require_memory(size: int, what: str, cure: str = _CURE) -> None:
    """Announce a large buffer of `size` bytes on standard error.

    Raises:
        ConfigError: it cannot fit into the memory that is available.
    """
    free = available_bytes()
    if free is not None and size > free:
        raise ConfigError(
            f"{what}: expected at most the {free / 1e9:.1f} GB of memory available, needs {size / 1e9:.1f} GB: {cure}"
        )
    if size >= LARGE:
        print(f"{what}: {size / 1e9:.1f} GB of memory as it fills", file=sys.stderr, flush=True)


def zeros(layout: Layout) -> list[np.ndarray]:
    """Arrays of zeros in memory, which take none of it before they are written."""
    return [np.zeros(shape, dtype) for shape, dtype in layout]


def zeros_in_file(layout: Layout, path: Path, what: str) -> list[np.ndarray]:
    """Arrays of zeros in a new file, which takes no room on its disk before they are written.

    The file is scratch: its name is gone at once (on Windows, when the arrays are freed), so that the room is given
    back however the process ends.

    Raises:
        ConfigError: there is such a file already, it cannot be made, or its disk has not the room.
    """
    size = sum(_padded(nbytes([entry])) for entry in layout)
    try:
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise ConfigError(
                f"{what}: expected at most the {free / 1e9:.1f} GB free on the disk of {path}, needs {size / 1e9:.1f} "
                "GB: give a smaller buffer_size, or a buffer_file on another disk"
            )
        with os.fdopen(os.open(path, _NEW, 0o600), "r+b") as file:
            if os.name == "posix":
                path.unlink()
            file.truncate(size)
            block = np.memmap(file, np.uint8, "r+", shape=(size,))
    except FileExistsError:
        raise ConfigError(f"buffer_file: {path} exists already, expected the name of a file to make") from None
    except OSError as error:
        raise ConfigError(f"buffer_file: {path} cannot be made: {error.strerror or error}: name another") from error
    if size >= LARGE:
        print(f"{what}: {size / 1e9:.1f} GB of disk at {path} as it fills", file=sys.stderr, flush=True)
    arrays, start = [], 0
    for shape, dtype in layout:
        length = nbytes([(shape, dtype)])
        arrays.append(block[start : start + length].view(np.ndarray).view(dtype).reshape(shape))
        start += _padded(length)
    return arrays


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
