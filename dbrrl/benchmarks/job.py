"""One run of a suite in a process of its own, started or resumed."""

import contextlib
import time
import traceback
from multiprocessing.connection import Connection
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

_PATIENCE = 20.0  # seconds that runs of a killed benchmark have to end when it is restarted at once


class Relay(Quiet):
    """Sends progress and warnings to the parent process."""

    refresh_every = 0.5

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def start(self, total: int, done: int) -> None:
        """Send the step at which the run starts."""
        self._send(steps=done, steps_per_second=0.0)

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Send the current step."""
        self._send(steps=steps, steps_per_second=steps_per_second)

    def warn(self, line: str) -> None:
        """Send a warning."""
        self._send(warning=line)

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent has ended
            send(self.pipe, **message)


def work(plan: Plan, path: Path, pipe: Connection) -> None:
    """Main function of the process: train, send the outcome through `pipe`, and end."""
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
    """Start, resume or complete the run at `path`; None if it had finished and only files were removed."""
    directory = RunDirectory(path)
    if path.exists() and not directory.config.exists():  # killed before it started
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
    """Wait until no other process uses the directory, then return it."""
    until = time.monotonic() + _PATIENCE
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
