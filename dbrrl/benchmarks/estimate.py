"""Estimates how long the runs of a suite take: from finished runs of the same cell, or by timing a short part."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection

from dbrrl.errors import DbrrlError
from dbrrl.experiment import Experiment
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import Plan
from dbrrl.experiment.worker import receive, send
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.reporting import table
from dbrrl.reporting.display import Quiet

from .process import launch

_MOMENT = 1.0  # seconds of a run that are timed
_BEFORE = 500  # most steps before the first update in it


class _EnoughError(Exception):
    """Ends a run that has been timed for long enough."""


class _Stopwatch(Quiet):
    """Times the second half of the first moment of a run; the first half fills buffers and caches."""

    refresh_every = _MOMENT / 20

    def __init__(self) -> None:
        self.began = self.now = self.half = 0.0
        self.steps = self.steps_at_half = 0

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Note the time, and end the run once it has been timed for long enough."""
        if not self.steps:
            self.began = time.perf_counter()
        self.now, self.steps = time.perf_counter(), steps
        if self.now - self.began < _MOMENT / 2:
            self.half, self.steps_at_half = self.now, steps
        elif self.now - self.began > _MOMENT:
            raise _EnoughError

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step in the second half."""
        return (self.now - self.half) / max(self.steps - self.steps_at_half, 1)


def measure(plans: Mapping[str, Plan]) -> dict[str, float]:
    """Time a short part of each plan; return seconds per step by name, without plans that fail."""
    process, pipe = launch("timing", _work, list(plans.values()))
    found: dict[str, float] = {}
    try:
        for name in plans:
            seconds = receive(pipe)["seconds"]
            if seconds is not None:
                found[name] = seconds
    except (EOFError, OSError):
        pass  # the run itself will report the cause
    finally:
        process.kill()
        process.join()
        pipe.close()
    return found


def _work(plans: Sequence[Plan], pipe: Connection) -> None:
    for plan in plans:
        send(pipe, seconds=_calibrate(plan))


def _calibrate(plan: Plan) -> float | None:
    """Return the seconds per step of a short part of the run; None if it fails."""
    config = plan.config
    if isinstance(config, OffPolicyConfig):  # else the moment may be over before it learns
        config = config.replace(learning_starts=min(config.learning_starts, _BEFORE))
    settings = plan.settings.replace(eval_interval=plan.settings.steps)
    short = dataclasses.replace(plan, settings=settings, config=config)
    watch = _Stopwatch()
    began = time.perf_counter()
    try:
        Experiment.from_plan(short, out=None, name=None, shown=watch).run()
    except _EnoughError:
        return watch.seconds_per_step
    except Exception:  # the run itself will report the error
        return None
    return (time.perf_counter() - began) / plan.settings.steps


def recorded(directories: Iterable[RunDirectory]) -> float | None:
    """Return the seconds per step of finished runs; None if there are none."""
    rows = []
    for directory in directories:
        try:
            rows.append(table.read(directory.scores)[-1])
        except (DbrrlError, IndexError):
            continue
    steps = sum(row["steps"] for row in rows)
    return sum(row["elapsed"] for row in rows) / steps if steps else None
