"""Ctrl-C and termination asked for politely: the run finishes its step and saves."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal after saving; the message says how to go on."""


class Interruption:
    """Inside a `with` block, the first SIGINT or SIGTERM only sets `requested`; the second acts as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        # Python lets the main thread alone set handlers; elsewhere signals stay with whoever has them.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def ignored_by_children() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C: a terminal sends it to all, and the run needs them to save."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mask: Any = getattr(signal, "pthread_sigmask", None)  # children inherit it, and here the signal only waits
    before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before) if mask else signal.signal(signal.SIGINT, before)
