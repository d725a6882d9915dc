"""Handles errors of an environment's own code, and worker processes that die."""

import contextlib
import time
from multiprocessing import connection
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from .recorder import TRACEBACK, VIOLATION, failure_line
from .validation import Fault

BROKEN = (EOFError, ConnectionError)
"""Errors raised by reading from, or writing to, a process that died."""

CLOSING_TIME = 3.0  # seconds that processes have to close their environments

Vector = VectorEnv[Any, Any, Any]


def reported(env: Vector, info: dict[str, Any]) -> tuple[Fault, BaseException | None]:
    """Return the first violation in `info` and its environment's error.

    An error of another process is replaced by one with its traceback as text.
    """
    row = int(np.flatnonzero(info[f"_{VIOLATION}"])[0])
    fault, text = Fault(row, str(info[VIOLATION][row])), info[TRACEBACK][row] if TRACEBACK in info else None
    if not text:
        return fault, None
    if isinstance(env.unwrapped, SyncVectorEnv):
        return fault, env.unwrapped.envs[row].error  # type: ignore[attr-defined]
    return fault, RuntimeError(f"in the process of environment {row}:\n{text}")


def died(env: Vector, error: Exception) -> Fault:
    """Return which worker process of `env` died, and how; if none did, that `error` was raised."""
    workers = env.unwrapped.processes if isinstance(env.unwrapped, AsyncVectorEnv) else []
    gone = connection.wait([worker.sentinel for worker in workers], timeout=1)
    for row, worker in enumerate(workers):
        if worker.sentinel in gone:
            worker.join(1)  # its pipe closes shortly before its exit code is known
            line = f"its process died (exit code {worker.exitcode}): look for what ended it, such as a lack of memory"
            return Fault(row, line)
    return Fault(0, failure_line("step()", error))


def close(env: Vector, broken_off: bool = False) -> None:
    """Close `env`; a second call does nothing.

    If processes may not answer, because one died or because Ctrl-C interrupted a call, they are asked to close their
    environments, and killed after `CLOSING_TIME` seconds.

    broken_off: whether a call was interrupted, even before Gymnasium has recorded its start.
    """
    base = env.unwrapped
    if not isinstance(base, AsyncVectorEnv) or base.closed:
        env.close()
    elif broken_off or base._state is not AsyncState.DEFAULT or any(w.exitcode is not None for w in base.processes):
        _end(base)
    else:
        env.close()


def _end(base: AsyncVectorEnv[Any, Any]) -> None:
    base._state, base.closed = AsyncState.DEFAULT, True
    pipes = [pipe for pipe in base.parent_pipes if pipe is not None]
    for pipe in pipes:
        with contextlib.suppress(OSError):  # it has ended
            pipe.send(("close", None))
    until = time.monotonic() + CLOSING_TIME
    try:
        for worker in base.processes:
            worker.join(max(until - time.monotonic(), 0))
    finally:
        for worker in base.processes:
            worker.kill()
            worker.join()
        for pipe in pipes:
            pipe.close()
