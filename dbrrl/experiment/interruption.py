"""Signals that stop a run (Ctrl-C, SIGTERM, a closed terminal): it finishes its step and saves."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

PATIENCE = 10.0  # seconds
_HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # Windows has none


class Interrupted(KeyboardInterrupt):
    """A signal stopped a run, which has been saved; the message has the command that resumes it."""


class Interruption:
    """Inside a `with` block, the first SIGINT, SIGTERM or SIGHUP only sets `requested`; a second Ctrl-C acts as usual.

    SIGHUP, sent by a terminal that closes, stays ignored if it was (`nohup`). If the run has not stopped PATIENCE
    seconds after the first signal, a line on standard error mentions the second Ctrl-C.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}
        self._reminder = threading.Timer(PATIENCE, _remind)
        self._reminder.daemon = True

    def __enter__(self) -> "Interruption":
        # Only the main thread may set handlers; in other threads signals keep theirs.
        if threading.current_thread() is threading.main_thread():
            hangups = [number for number in _HANGUP if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, *hangups)}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._reminder.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            self._reminder.start()
        elif number not in _HANGUP:  # a closing terminal may send several
            raise KeyboardInterrupt


def _remind() -> None:
    with contextlib.suppress(OSError, ValueError):
        print(
            "still stopping: a step, an evaluation or the saving takes long; Ctrl-C once more ends it at once",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def ignored_by_children() -> Iterator[None]:
    """Processes started in the context ignore Ctrl-C and SIGHUP, which a terminal sends to all: saving needs them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mask: Any = getattr(signal, "pthread_sigmask", None)  # children inherit it; here it delays the signal
    if mask:  # Python's resource tracker clears the mask when it starts: start it before
        resource_tracker.ensure_running()
    before = mask(signal.SIG_BLOCK, {signal.SIGINT, *_HANGUP}) if mask else signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before) if mask else signal.signal(signal.SIGINT, before)
