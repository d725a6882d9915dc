"""What becomes of an environment's own errors, and of worker processes that die."""

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
"""What reading from, or writing to, a process that died raises."""

LAST_WORDS = 3.0  # seconds that processes have to close their environments

Vector = VectorEnv[Any, Any, Any]


def reported(env: Vector, info: dict[str, Any]) -> tuple[Fault, BaseException | None]:
    """The first violation in `info`, and what its environment raised: the error itself, or one with its
    traceback as text where it comes out of another process.
    """
    row = int(np.flatnonzero(info[f"_{VIOLATION}"])[0])
    fault, text = Fault(row, str(info[VIOLATION][row])), info[TRACEBACK][row] if TRACEBACK in info else None
    if not text:
        return fault, None
    if isinstance(env.unwrapped, SyncVectorEnv):
        return fault, env.unwrapped.envs[row].error  # type: ignore[attr-defined]
    return fault, RuntimeError(f"in the process of environment {row}:\n{text}")


def died(env: Vector, error: Exception) -> Fault:
    """Which worker process of `env` died, and how; that `error` was raised, where none did."""
    workers = env.unwrapped.processes if isinstance(env.unwrapped, AsyncVectorEnv) else []
    gone = connection.wait([worker.sentinel for worker in workers], timeout=1)
    for row, worker in enumerate(workers):
        if worker.sentinel in gone:
            worker.join(1)  # its files close a moment before its exit code is known
            line = f"its process died (exit code {worker.exitcode}): look for what ended it, such as a lack of memory"
            return Fault(row, line)
    return Fault(0, failure_line("step()", error))


def close(env: Vector, broken_off: bool = False) -> None:
    """Close `env`; twice does nothing.

    Processes that may not answer, because one of them died or because a call was broken off (by Ctrl-C, say) whose
    answers are half read, are told to close their environments, and killed where that takes longer than `LAST_WORDS`.

    broken_off: whether a call was left before its end, also where Gymnasium has not noted yet that it began.
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
        with contextlib.suppress(OSError):  # it is gone
            pipe.send(("close", None))
    until = time.monotonic() + LAST_WORDS
    try:
        for worker in base.processes:
            worker.join(max(until - time.monotonic(), 0))
    finally:
        for worker in base.processes:
            worker.kill()
            worker.join()
        for pipe in pipes:
            pipe.close()
