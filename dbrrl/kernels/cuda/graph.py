"""Whole functions of arrays as CUDA graphs: recorded once, launched with one call while shapes stay the same."""

import contextlib
from collections.abc import Callable
from typing import Any

from dbrrl import backend
from dbrrl.autodiff.recording import observing
from dbrrl.backend import array_module, replaces
from dbrrl.backend.capture import Direct, capture
from dbrrl.backend.precision import tf32

MOST = 32  # graphs of one function: each holds memory of its own, and shapes that change all the time gain nothing


class Captured(Direct):
    """A function of arrays on a GPU, replayed as one CUDA graph.

    The first call with arguments of some shapes runs the function as it is, the second records it, later ones replay
    the record. So the function must do the same each time: what changes between calls are its array arguments, which
    are copied into the graph's own, and arrays that it keeps and changes in place (parameters, moments, states).
    Arguments that are no arrays are part of what is recorded: each value has a graph of its own, and so has TF32. What
    it does in Python besides computing (counting, for instance) happens only while it is run or recorded.

    Results are the graph's own arrays: the next call overwrites them. Where a function cannot be recorded, it is run as
    it is from then on, and `refused` says why. While a tool for debugging looks on, it is run as it is, too.

    Args:
        function: of arrays and plain values, returning arrays, alone or in tuples, lists or dicts.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._known: set[Any] = set()
        self._graphs: dict[Any, _Graph] = {}

    def __call__(self, *arguments: Any, fixed: Any = ()) -> Any:
        """`function(*arguments, *fixed)`; `fixed` is copied only when another sequence comes than the last time."""
        if self.refused or observing:
            return self.function(*arguments, *fixed)
        shapes = ((x.shape, x.dtype.char) if hasattr(x, "shape") else x for x in (*arguments, *fixed))
        key = (tf32.on, *shapes)
        graph = self._graphs.get(key)
        if graph is None:
            if key not in self._known:
                if len(self._known) >= 8 * MOST:
                    self._known.clear()
                self._known.add(key)
                return self.function(*arguments, *fixed)
            if len(self._graphs) >= MOST:
                del self._graphs[next(iter(self._graphs))]  # the oldest
            try:
                graph = self._graphs[key] = _Graph(self.function, arguments, fixed)
            except Exception as error:  # what CUDA and CuPy refuse comes in many types
                self.refused = f"{type(error).__name__}: {error}"
                return self.function(*arguments, *fixed)
        return graph.launch(arguments, fixed)

    def forget(self) -> None:
        """Drop what was recorded: for when arrays that the function keeps were replaced by others."""
        self._known.clear()
        self._graphs.clear()
        self.refused = ""


@replaces(capture, "cuda")
def _capture(device: str, function: Callable[..., Any]) -> Captured:
    return Captured(function)


class _Graph:
    """One recording: its inputs, its results, the memory between them."""

    def __init__(self, function: Callable[..., Any], arguments: Any, fixed: Any) -> None:
        values = (*arguments, *fixed)
        cupy = array_module(next(x for x in values if hasattr(x, "shape")))
        self.inputs = [x.copy() if hasattr(x, "shape") else x for x in values]
        self.fixed = fixed
        self.memory = cupy.cuda.MemoryPool()  # of its own: what it frees in passing is used again by replays alone
        stream = cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(self.memory.malloc), stream:
            stream.begin_capture()
            try:
                with backend.recording():
                    self.results = function(*self.inputs)
            except BaseException:
                with contextlib.suppress(Exception):  # its only message is that the recording is void
                    stream.end_capture()
                raise
            self.graph = stream.end_capture()
        self.current = cupy.cuda.get_current_stream

    def launch(self, arguments: Any, fixed: Any) -> Any:
        for own, x in zip(self.inputs, arguments, strict=False):
            if hasattr(own, "shape"):
                own[...] = x
        if fixed is not self.fixed:
            for own, x in zip(self.inputs[len(arguments) :], fixed, strict=True):
                if hasattr(own, "shape"):
                    own[...] = x
            self.fixed = fixed
        self.graph.launch(self.current())
        return self.results
