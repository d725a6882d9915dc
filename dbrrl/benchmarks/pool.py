"""Runs many runs side by side, each in a process of its own with one BLAS thread."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path

from dbrrl.experiment.interruption import Interruption
from dbrrl.experiment.settings import Plan
from dbrrl.experiment.worker import receive
from dbrrl.reporting.display import Quiet

from .job import work
from .process import launch

_POLL = 0.3  # seconds between checks for a signal


@dataclasses.dataclass(frozen=True)
class Task:
    """A run to do: its name, plan and folder, and the expected seconds per step."""

    name: str
    plan: Plan
    path: Path
    seconds_per_step: float

    @property
    def processes(self) -> int:
        """Number of computing processes: one, or one per environment of an asynchronous agent."""
        return self.plan.settings.num_envs if self.plan.agent_class.asynchronous else 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of a run: a score, an error, or neither if it was stopped."""

    task: Task
    score: dict[str, float] | None = None
    error: str | None = None
    traceback: str = ""


class _Running:
    """A run in progress."""

    def __init__(self, task: Task, slots: list[int]) -> None:
        self.task, self.slots, self.steps = task, slots, 0
        self.outcome: Outcome | None = None
        self.process, self.pipe = launch(task.name, work, task.plan, task.path)

    def hear(self, display: Quiet) -> bool:
        """Process one message; return False if the process has ended."""
        try:
            message = receive(self.pipe)
        except (EOFError, OSError):
            return False
        if "warning" in message:
            display.warn(f"{self.task.name}: {message['warning']}")
        elif "done" in message:
            self.outcome = Outcome(self.task, score=message["done"])
        elif "error" in message:
            self.outcome = Outcome(self.task, error=message["error"], traceback=message["traceback"])
        elif "steps" in message:
            self.steps = int(message["steps"])
            total, rate = self.task.plan.settings.steps, message["steps_per_second"]
            display.show(self.slots[0], self.task.name, self.steps, total, rate)
        return True

    def end(self, stopping: bool) -> Outcome:
        """Return the outcome of a run whose process has ended."""
        self.process.join()
        self.pipe.close()
        if self.outcome is not None or stopping:
            return self.outcome or Outcome(self.task)
        code = self.process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        error = f"its process ended {how} without a word: look for lack of memory or a kill from outside"
        return Outcome(self.task, error=error)


def run(tasks: Sequence[Task], jobs: int, display: Quiet, ended: Callable[[Outcome], None]) -> bool:
    """Do all tasks, `jobs` processes at a time; call `ended` for each; return False if a signal stopped them.

    A run that fails does not affect others. An asynchronous run takes a slot for each of its processes, or all slots.
    """
    waiting, running, free, done = list(tasks), list[_Running](), list(range(jobs)), 0
    stopping, clock = False, _Clock(seconds(tasks, jobs))
    display.start(len(waiting), 0)
    try:
        with Interruption() as interruption:
            while running or (waiting and not interruption.requested):
                if not interruption.requested:
                    _start(waiting, running, free, jobs)
                elif not stopping:
                    stopping = True
                    display.say("stopping: each run saves where it is (once more ends them at once)")
                    for one in running:
                        one.process.terminate()
                display.count(done, clock.left(_seconds_left(waiting, running, jobs)))
                for one in _gone(running, display):
                    running.remove(one)
                    free.extend(one.slots)
                    display.show(one.slots[0], "free", 0, 1, 0.0)
                    outcome = one.end(stopping)
                    done += outcome.score is not None or outcome.error is not None
                    ended(outcome)
            return not interruption.requested
    finally:
        for one in running:
            one.process.kill()
        for one in running:
            one.process.join()
        display.close()


class _Clock:
    """Corrects estimates of the time left by the time taken so far."""

    def __init__(self, expected: float) -> None:
        self.expected, self.began = expected, time.perf_counter()

    def left(self, expected: float) -> float:
        """Return the seconds left; `expected`: by the estimates alone."""
        done, taken = self.expected - expected, time.perf_counter() - self.began
        return expected * taken / done if done > 0.02 * self.expected and taken > 5 else expected


def _start(waiting: list[Task], running: list[_Running], free: list[int], jobs: int) -> None:
    """Start the first tasks that fit into the free slots."""
    for task in list(waiting):
        needed = min(task.processes, jobs)
        if needed <= len(free):
            waiting.remove(task)
            running.append(_Running(task, sorted(free)[:needed]))
            for slot in running[-1].slots:
                free.remove(slot)


def _gone(running: list[_Running], display: Quiet) -> list[_Running]:
    """Poll the pipes; return the runs whose process has ended."""
    ready = connection.wait([one.pipe for one in running], timeout=_POLL)
    return [one for one in running if one.pipe in ready and not one.hear(display)]


def _seconds_left(waiting: Sequence[Task], running: Sequence[_Running], jobs: int) -> float:
    return seconds(waiting, jobs) + sum(
        (one.task.plan.settings.steps - one.steps) * one.task.seconds_per_step * len(one.slots) / jobs
        for one in running
    )


def seconds(tasks: Sequence[Task], jobs: int) -> float:
    """Return the expected seconds for all tasks."""
    work = sum(task.plan.settings.steps * task.seconds_per_step * min(task.processes, jobs) for task in tasks)
    return work / jobs
