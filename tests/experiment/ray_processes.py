"""The processes of Ray that a test has started: which there are, and one that is killed."""

import os
import signal
import subprocess
import time

from dbrrl.experiment import Callback
from dbrrl.experiment.loop import Loop


def alive() -> dict[int, int]:
    """The parent of each process that has not ended, whether or not somebody has asked how it ended."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,stat"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()[1:]]
    return {int(pid): int(parent) for pid, parent, state in rows if state[0] != "Z"}


def below(pid: int) -> set[int]:
    """A process, its children, and theirs."""
    parents, found = alive(), {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def members(kind: str = "Member") -> list[int]:
    """The processes of workers that this process has started, by number."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = below(os.getpid())
    return sorted(ours & {int(line.split()[0]) for line in found if f"ray::{kind}" in line})


def left(kind: str = "Member") -> list[int]:
    """The processes of workers that have not ended after 20 seconds, by number."""
    deadline = time.monotonic() + 20
    while (found := members(kind)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


class Kill(Callback):
    """Kills one worker, once, when the run has come so far; in the midst of its next steps, if it can."""

    def __init__(self, step: int, index: int, kind: str = "Member") -> None:
        self.interval, self.index, self.kind, self.done = step, index, kind, False

    def on_interval(self, loop: Loop) -> None:
        if not self.done:
            self.done = True
            os.kill(members(self.kind)[self.index], signal.SIGKILL)
