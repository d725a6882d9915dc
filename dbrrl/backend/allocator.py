"""The setting of the C library that keeps freed memory in the process."""

import ctypes
import os
import sys


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks for the next step instead of giving them back to the system.

    Every training step allocates and frees the same arrays. By default glibc returns them each time, and each step then
    pays about a hundred page faults (at batch 256 they double its time). Other systems' allocators are left alone, and
    so is one that the user set through MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return
    mallopt(_M_TRIM_THRESHOLD, 256 * 2**20)
    mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest glibc takes


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
