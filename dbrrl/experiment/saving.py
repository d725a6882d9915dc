"""Writes the exact checkpoints of a run: between two steps, and when an error ends it."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dbrrl import checkpoint
from dbrrl.checkpoint import State
from dbrrl.errors import DbrrlError
from dbrrl.learning.agent import Agent
from dbrrl.reporting.table import Table

from .directory import RunDirectory
from .driver import Driver

LONGEST = 300.0  # seconds without a checkpoint; longer if writing one takes more than a twentieth of them


class Saver:
    """Writes the checkpoints of one run, if it has a directory.

    Attributes:
        kept: the state of the loop when the run could last be saved.
    """

    def __init__(
        self,
        directory: RunDirectory | None,
        agent: Agent,
        driver: Driver,
        tables: Sequence[Table],
        counts: Callable[[], State],
    ) -> None:
        self.directory, self.agent, self.driver, self.tables, self.counts = directory, agent, driver, tables, counts
        self.kept: State = {}
        self._on_disk: State | None = None  # `kept` of the last written checkpoint
        self._busy = False
        self._written, self._took = time.perf_counter(), 0.0

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint was made too long ago."""
        return time.perf_counter() - self._written > max(LONGEST, 20 * self._took)

    def mark(self) -> None:
        """Keep the loop's state; call it between two steps, when agent and environments can be saved."""
        if self.directory is not None:
            self.kept = self.counts()

    def write(self) -> None:
        """Write the checkpoint of the last `mark`; CheckpointError if it cannot be written."""
        if self.directory is None:
            return
        started, self._busy = time.perf_counter(), True
        for table in self.tables:
            table.sync()
        with checkpoint.borrowed():
            parts = {"agent": self.agent.record(), "environments": self.driver.state_dict(), "loop": self.kept}
            self.directory.save_checkpoint(self.kept["steps"], parts)
        self._on_disk, self._busy = self.kept, False
        self._written, self._took = time.perf_counter(), time.perf_counter() - started

    def rescue(self) -> bool:
        """After an error, write the last state that can be saved, unless it is on the disk; return whether it is.

        It cannot be saved if the agent failed while acting or learning, or if writing failed. The checkpoint is from
        before a log, an evaluation or a callback that failed: a resumed run repeats it.
        """
        if self.directory is None or not self.kept or self._busy:
            return False
        if self.kept is not self._on_disk and self.driver.consistent and not has_nan(self.agent.state_dict()):
            with contextlib.suppress(DbrrlError, OSError):
                self.write()
        return self.kept is self._on_disk

    def error_note(self, again: str) -> str:
        """Return what was saved of a run that an error ended, after `rescue`; `again`: the command that resumes it."""
        files = [] if self.directory is None else self.directory.checkpoint_files()
        if not files:
            return f"nothing of the run is saved yet, start it again with: {again}"
        if self.kept is not self._on_disk:
            step = int(files[0].stem.removeprefix("step-"))
            return f"what came after its newest checkpoint, step {step:,}, could not be saved; resume with: {again}"
        if self.kept["finished"]:
            return f"the run itself is finished and saved in {files[0].parents[1]}"
        return f"saved at step {self.kept['steps']:,}; resume with: {again}"

    def stopped(self) -> str:
        """Return the message for a run that Ctrl-C ended."""
        return f"stopped and saved at step {self.kept['steps']:,}"


def has_nan(state: Any) -> bool:
    """Return whether an array in the state has a NaN, which makes a checkpoint useless."""
    if isinstance(state, np.ndarray):
        return state.dtype.kind in "fc" and bool(np.isnan(state).any())
    entries = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return any(has_nan(entry) for entry in entries)
