"""Whether this thread records a graph, and who looks on: `no_grad`, and the observers of the debugging tools."""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _State(threading.local):
    recording = True
    observer: Any = None  # while debugging: calls an op's forward and backward in the engine's place


state = _State()
observing: list[Any] = []  # the observers of all threads: quicker to find empty than a thread's own


tracing: list[Any] = []  # of what records programs: functions that make traced arrays of constants beside these


class no_grad:
    """Context manager and decorator: ops inside compute without recording a graph (this thread only).

    Raises:
        TypeError: it was given something, as by `@no_grad` without brackets, or it decorates a generator function.
    """

    before: Any = ()  # (recording or not, the same one level further out): one object may be entered again inside

    def __init__(self, *given: Any) -> None:
        if given:
            raise TypeError(f"no_grad: expected no arguments, got {given[0]!r}: write @no_grad() with brackets")

    def __enter__(self) -> None:
        self.before = state.recording, self.before
        state.recording = False

    def __exit__(self, *_: object) -> None:
        state.recording, self.before = self.before

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with recording switched off inside."""
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"no_grad: expected a function, got the generator function {function.__name__}, whose body runs later: "
                "write `with no_grad():` inside it, around the code between two yields"
            )

        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with no_grad():
                return function(*args, **kwargs)

        return inside
