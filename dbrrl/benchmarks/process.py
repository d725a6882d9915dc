"""Processes of a benchmark: one BLAS thread each, not reached by the terminal's Ctrl-C, ended with their parent."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from dbrrl.experiment.interruption import ignored_by_children
from dbrrl.experiment.worker import end_with_parent

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def launch(name: str, target: Callable[..., None], *arguments: Any) -> tuple[SpawnProcess, Connection]:
    """Start `target(*arguments, pipe)` in a new process; return the process and the parent's end of the pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    # Not a daemon, which could not start the processes of asynchronous agents; it ends with its parent all the same.
    process = context.Process(target=_guarded, args=(target, *arguments, theirs), name=name)
    with ignored_by_children(), _one_thread():
        process.start()
    theirs.close()
    return process, ours


def _guarded(target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a terminal's Ctrl-C reaches only the parent, which asks each run to save
    target(*arguments)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started in the context have one BLAS thread, with any BLAS."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
