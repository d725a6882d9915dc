"""Memory and a lock that the processes of a run share, and of which nothing is left however they end.

Neither has a name in the system that a kill could leave behind: the memory is a file that is deleted as soon as it is
open, and the lock is a pipe.
"""

import ctypes
import os
from typing import Any

import numpy as np

Block = tuple[Any, tuple[int, ...], str]  # shared bytes, and the shape and dtype of the array in them

_ALIGNMENT = 64  # bytes of a cache line, which no two arrays share


def block(context: Any, array: np.ndarray) -> Block:
    """Shared bytes with the content of `array`; the processes that `context` starts can be given them."""
    made = context.RawArray(ctypes.c_byte, array.nbytes + 2 * _ALIGNMENT), array.shape, array.dtype.str
    view(made)[...] = array
    return made


def view(block: Block) -> np.ndarray:
    """The array in a block, which lasts as long as the array."""
    memory, shape, dtype = block
    offset = -ctypes.addressof(memory) % _ALIGNMENT
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.frombuffer(memory, np.uint8, size, offset).view(dtype).reshape(shape)


def lock(context: Any) -> Any:
    """A lock of the processes that `context` starts, to be used in a `with` block."""
    return context.Lock() if os.name == "nt" else PipeLock(context)


class PipeLock:
    """Held by the process that has taken the one message out of a pipe.

    A semaphore of a process that is spawned has a name, which stays in the system when all of them are killed.
    """

    def __init__(self, context: Any) -> None:
        self.reader, self.writer = context.Pipe(duplex=False)
        self.writer.send_bytes(b"")

    def __enter__(self) -> None:
        self.reader.recv_bytes()

    def __exit__(self, *error: object) -> None:
        self.writer.send_bytes(b"")
