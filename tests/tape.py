"""CUDA graphs for the stand-in: what is computed between begin_capture and end_capture is written down, not done.

As on a GPU, nothing recorded has an effect before the graph is launched, a launch writes into the arrays that the
recording made, plain numbers are part of the record, and what would make the host wait is refused while recording.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class Tape:
    """A record of calls: the arrays that they made, and the former content of those that they changed."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], Any]] = []
        self.before: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def will_change(self, array: np.ndarray) -> None:
        while isinstance(array.base, np.ndarray):
            array = array.base
        self.before.setdefault(id(array), (array, array.copy()))

    def undo(self) -> None:
        for array, values in self.before.values():
            array[...] = values


class Graph:
    """The graph that `end_capture` returns."""

    def __init__(self, tape: Tape) -> None:
        self.calls = tape.calls

    def launch(self, stream: Any = None) -> None:
        for call, made in self.calls:
            for old, new in zip(_leaves(made), _leaves(call()), strict=True):
                if old is not new and not np.may_share_memory(old, new):
                    old[...] = new


class _Own(threading.local):
    """What a thread records: one thread's recording is no other's."""

    recording: Tape | None = None


_own = _Own()


class Stream:
    """`cupy.cuda.Stream`: order is that of the calls; only one may record."""

    ptr = 0

    def __init__(self, non_blocking: bool = False) -> None:
        pass

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_capturing(self) -> bool:
        return _own.recording is not None

    def synchronize(self) -> None:
        synchronizing("synchronize()")

    def record(self) -> "Stream":
        """An event, which is over when all before it is."""
        return self

    def begin_capture(self) -> None:
        _own.recording = Tape()

    def end_capture(self) -> Graph:
        tape, _own.recording = _own.recording, None
        assert tape is not None
        tape.undo()
        return Graph(tape)


def recorded(call: Callable[[], Any], changes: tuple[np.ndarray, ...] = ()) -> Any:
    """`call()`, written down if a stream records; `changes` are the arrays it changes in place."""
    tape = _own.recording
    if tape is None:
        return call()
    for array in changes:
        tape.will_change(array)
    made = call()
    if isinstance(made, np.generic):
        made = np.asarray(made)
    tape.calls.append((call, made))
    return made


def synchronizing(what: str) -> None:
    """Refuse, while a stream records, what makes the host wait for the GPU."""
    if _own.recording is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream records")


def _leaves(made: Any) -> list[Any]:
    if isinstance(made, (tuple, list)):
        return [leaf for part in made for leaf in _leaves(part)]
    return [np.asarray(made)] if isinstance(made, (np.ndarray, np.generic)) else []
