"""What a long run prints, and what it does when nobody can read it any more: it trains on."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Lossy:
    """A stream like the one it is made of, but for errors: once nothing can be written, what comes is dropped.

    So it is where the reader of a pipe has ended (`train | head -1`), and where the terminal is closed and its signal
    ignored (`nohup`).
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name
        self.lost = stream is None  # Python's own sign of a stream that was closed before it began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it; its length."""
        if not self.lost:
            try:
                self._stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def isatty(self) -> bool:
        """Whether somebody may be looking at it."""
        return not self.lost and bool(self._stream.isatty())

    def flush(self) -> None:
        """Write what waits."""
        if not self.lost:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is still in its buffer, and what Python flushes at its end
            os.close(nowhere)
        if self._name != "standard error":
            text = f"{self._name} is closed ({error.strerror}): the run goes on and saves as before, Ctrl-C stops it"
            print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lossy() -> Iterator[None]:
    """Within it, printing to a standard stream that is closed is no error."""
    before = sys.stdout, sys.stderr
    streams: Any = Lossy(before[0], "standard output"), Lossy(before[1], "standard error")
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before
