"""Memory and a lock for the processes of a run, which the system removes however the processes end.

Neither has a name that a kill could leave behind: the memory is a file that is deleted while open, the lock a pipe.
"""

import ctypes
import os
from contextlib import AbstractContextManager
from multiprocessing.context import SpawnContext
from typing import Any, TypeAlias

import numpy as np

Block: TypeAlias = tuple[Any, tuple[int, ...], str]  # shared bytes, and the shape and dtype of the array in them

Lock: TypeAlias = AbstractContextManager[Any]

_ALIGNMENT = 64  # bytes of a cache line, which no two arrays share


def block(context: SpawnContext, array: np.ndarray) -> Block:
    """Copy `array` into shared memory, which can be passed to processes that `context` starts."""
    made = context.RawArray(ctypes.c_byte, array.nbytes + 2 * _ALIGNMENT), array.shape, array.dtype.str
    view(made)[...] = array
    return made


def view(block: Block) -> np.ndarray:
    """Return the array in a block; the memory is freed after the array."""
    memory, shape, dtype = block
    offset = -ctypes.addressof(memory) % _ALIGNMENT
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.frombuffer(memory, np.uint8, size, offset).view(dtype).reshape(shape)


def lock(context: SpawnContext) -> Lock:
    """Return a lock for processes that `context` starts, to be used in a `with` block."""
    return context.Lock() if os.name == "nt" else PipeLock(context)


class PipeLock:
    """A lock held by the process that has taken the only message out of a pipe.

    A semaphore for spawned processes has a name, which would stay in the system if all of them were killed.
    """

    def __init__(self, context: SpawnContext) -> None:
        self.reader, self.writer = context.Pipe(duplex=False)
        self.writer.send_bytes(b"")

    def __enter__(self) -> None:
        self.reader.recv_bytes()

    def __exit__(self, *error: object) -> None:
        self.writer.send_bytes(b"")
