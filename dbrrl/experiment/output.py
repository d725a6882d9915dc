"""Output of long runs: if standard output or error is closed, printing does nothing and the run goes on."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Lossy:
    """Wraps a stream; once it cannot be written to, further text is dropped without an error.

    This happens when the reader of a pipe ends (`train | head -1`), or a terminal closes and its signal is ignored
    (`nohup`).
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name
        self.lost = stream is None  # None: the stream was closed before Python started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write or drop the text; return its length."""
        if not self.lost:
            try:
                self._stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def isatty(self) -> bool:
        """Return whether this is a terminal that is still open."""
        return not self.lost and bool(self._stream.isatty())

    def flush(self) -> None:
        """Write buffered text."""
        if not self.lost:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # for buffered text, which Python flushes at exit
            os.close(nowhere)
        if self._name != "standard error":
            text = f"{self._name} is closed ({error.strerror}): the run goes on and saves as before, Ctrl-C stops it"
            print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lossy() -> Iterator[None]:
    """Inside the context, printing to a closed standard stream is not an error."""
    before = sys.stdout, sys.stderr
    streams: Any = Lossy(before[0], "standard output"), Lossy(before[1], "standard error")
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before
