"""One run of a suite in a process of its own: started anew, or gone on with where it stood."""

import contextlib
import time
import traceback
from pathlib import Path
from typing import Any

from dbrrl.errors import RunError
from dbrrl.experiment import Experiment, Interrupted, Run
from dbrrl.experiment.command import one_line
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import Plan
from dbrrl.experiment.worker import send
from dbrrl.reporting.display import Quiet

from .folder import discard_checkpoints

_LET_GO = 20.0  # seconds a killed benchmark's runs get to end, when it is started again at once


class Relay(Quiet):
    """Tells the parent how far the run is."""

    refresh_every = 0.5

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def start(self, total: int, done: int) -> None:
        """Say where the run begins."""
        self._send(steps=done, steps_per_second=0.0)

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Say how far it is."""
        self._send(steps=steps, steps_per_second=steps_per_second)

    def warn(self, line: str) -> None:
        """Pass a warning on."""
        self._send(warning=line)

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # nobody is left to tell
            send(self.pipe, **message)


def work(plan: Plan, path: Path, pipe: Any) -> None:
    """What the process does: it trains, tells `pipe`, and ends when the run does, or when asked to."""
    shown = Relay(pipe)
    try:
        run = train(plan, path, shown)
        row = {} if run is None else run.scores[-1]
        send(pipe, done={name: row[name] for name in ("mean", "steps", "elapsed") if name in row})
    except Interrupted as stop:
        send(pipe, stopped=str(stop))
    except Exception as error:
        send(pipe, error=one_line(error), traceback="".join(traceback.format_exception(error)))


def train(plan: Plan, path: Path, shown: Quiet) -> Run | None:
    """Bring the run at `path` to its end; None where nothing but tidying up was left to do."""
    directory = RunDirectory(path)
    if path.exists() and not directory.config.exists():  # killed before it began
        directory.sweep()
        path.rmdir()
    if not path.exists():
        run: Run | None = Experiment.from_plan(plan, out=path.parent, name=path.name, shown=shown).run()
    elif _ended(_held(directory)):
        run = None
    else:
        experiment = Experiment.resume(path, agent=plan.settings.agent, env=plan.settings.env)
        experiment.display = shown
        run = experiment.run()
    discard_checkpoints(directory)
    return run


def _held(directory: RunDirectory) -> RunDirectory:
    """The directory, once a process that still writes there has ended."""
    until = time.monotonic() + _LET_GO
    while True:
        try:
            directory.lock()
        except RunError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            directory.release()
            return directory


def _ended(directory: RunDirectory) -> bool:
    if not directory.final.exists():
        return False
    state, _ = directory.load_checkpoint()
    return state is not None and bool(state["loop"]["finished"])
