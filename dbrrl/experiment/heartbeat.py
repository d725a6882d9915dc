"""The sign of life of a process that trains a run: a file whose time is renewed every few seconds."""

import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import Self

INTERVAL = 2.0  # seconds between two renewals
STALE = 15.0  # seconds without one after which the process is taken for dead

_FLAGS = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)


def beats(path: Path, now: float) -> bool:
    """Return whether the file was renewed lately, at `now` seconds since 1970."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and abs(now - status.st_mtime) < STALE


class Heartbeat:
    """Inside a `with` block, a thread renews the time of the file; at the end the file is removed.

    Others tell by it, also on another machine that shares the disk, whether a run is going on. What cannot be written
    is left out: a run does not end for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dbrrl heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._renew(os.O_CREAT)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._renew()

    def _renew(self, create: int = 0) -> None:
        """Write a byte, which renews the time, also on a disk that is shared; a file that was removed stays removed."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, _FLAGS | create, 0o666)
            try:
                os.write(descriptor, b"\n")
            finally:
                os.close(descriptor)
