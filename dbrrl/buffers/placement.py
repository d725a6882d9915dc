"""The memory of a replay buffer's observations: the host's, a file, a GPU's, or memory that a GPU reads by itself."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.backend import module_on, parse_device
from dbrrl.buffers import memory
from dbrrl.buffers.memory import Layout
from dbrrl.errors import ConfigError

Pair = tuple[Any, Any]  # an array as it is written, and as it is read


def arrays(layout: Layout, what: str, file: str | os.PathLike[str] | None, device: str, pinned: bool) -> list[Pair]:
    """Arrays of zeros as `Ring` wants them.

    Raises:
        ConfigError: there is no room for them, or a file is asked for together with a GPU.
    """
    if parse_device(device)[0] == "cpu":
        made = memory.zeros(layout) if file is None else memory.zeros_in_file(layout, Path(file), what)
        return [(array, array) for array in made]
    if file is not None:
        raise ConfigError(f"buffer_file: {file} cannot hold what is on {device}: leave it out, or buffer_device")
    return [_pinned(shape, dtype, device) for shape, dtype in layout] if pinned else _resident(layout, what, device)


def _resident(layout: Layout, what: str, device: str) -> list[Pair]:
    """Arrays in a GPU's memory, all of which is taken at once."""
    cupy, size = module_on(device), memory.nbytes(layout)
    free = int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())
    if size > free:
        raise ConfigError(
            f"{what}: expected at most the {free / 1e9:.1f} GB free on {device}, needs {size / 1e9:.1f} GB: give a "
            'smaller buffer_size, or buffer_device "pinned" or "host"'
        )
    made = [cupy.zeros(shape, dtype) for shape, dtype in layout]
    return [(array, array) for array in made]


def _pinned(shape: tuple[int, ...], dtype: Any, device: str) -> Pair:
    """An array in page-locked memory of the host, and the same memory as the GPU sees it."""
    cupy, index = module_on(device), parse_device(device)[1]
    size = max(memory.nbytes([(shape, dtype)]), 1)
    block = cupy.cuda.PinnedMemory(size)
    host = np.frombuffer(cupy.cuda.PinnedMemoryPointer(block, 0), np.uint8, size)
    host[:] = 0
    there = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(block.ptr, size, block, index), 0)
    count = size // np.dtype(dtype).itemsize
    return host[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape), cupy.ndarray(shape, dtype, there)
