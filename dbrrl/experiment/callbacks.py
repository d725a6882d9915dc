"""Callbacks: your own code at the events of a run, and early stopping."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from dbrrl.errors import ConfigError, RunError
from dbrrl.learning.agent import Agent

from .evaluation import Evaluation
from .settings import Plan

Row = Mapping[str, float]
_SCORES = ("mean", "median", "stdev", "min", "max", "success_rate", "evaluation_episodes")


class Running(Protocol):
    """The attributes and methods of a run that a callback can use."""

    plan: Plan
    """All settings: of the run in `plan.settings`, of the agent in `plan.config`."""
    agent: Agent
    steps: int
    """Environment steps so far, all environments together."""
    episodes: int

    @property
    def folder(self) -> Path | None:
        """The run's folder; None if the run is kept in memory."""

    @property
    def elapsed(self) -> float:
        """Seconds so far, including those before a resume."""

    def evaluate(self, episodes: int, env: Any = None) -> Evaluation | None:
        """Play complete episodes without exploration, optionally in `env`; None if Ctrl-C interrupted them.

        The result is returned only: scores.csv and the best agent do not change.
        """

    def stop(self, reason: str) -> None:
        """End the run before its next step; it is evaluated and saved as usual."""


class Callback:
    """Base class: override the methods you need; each is called between two steps of the run, in its process.

    Checkpoints do not include callbacks: pass them again when you resume a run, and they start from scratch.

    Attributes:
        interval: environment steps between calls of `on_interval`; None: never. With several environments, the call
            comes after the first step that reaches or passes another multiple of it.
        commands: names of commands that `on_command` carries out (see dbrrl.experiment.steering).
    """

    interval: int | None = None
    commands: Sequence[str] = ()

    def on_command(self, run: Running, name: str, values: Mapping[str, Any]) -> None:
        """Carry out a command, one of `commands`, that came from outside; ConfigError refuses it."""

    def on_start(self, run: Running) -> None:
        """The run starts, or resumes, at step `run.steps`."""

    def on_interval(self, run: Running) -> None:
        """Called every `interval` steps."""

    def on_log(self, run: Running, row: Row) -> None:
        """A row was added to progress.csv."""

    def on_evaluation(self, run: Running, row: Row) -> None:
        """A row was added to scores.csv."""

    def on_checkpoint(self, run: Running) -> None:
        """An exact checkpoint was saved."""

    def on_end(self, run: Running) -> None:
        """The run has finished, is evaluated and saved; not called if an error or Ctrl-C ends it."""

    def close(self) -> None:
        """Close files; called however the run ended."""


def checked(given: Sequence[Callback]) -> list[Callback]:
    """Return callbacks as a list; ConfigError if one of them is none."""
    for one in given:
        if not isinstance(one, Callback):
            raise ConfigError(f"callbacks: expected Callback objects, got {one!r:.60}: Call(f, interval) calls f")
    return list(given)


class Call(Callback):
    """Calls `function(run)` every `interval` steps.

    Raises:
        ConfigError: the interval is not a whole number above 0.
    """

    def __init__(self, function: Callable[[Running], None], interval: int) -> None:
        self.function, self.interval = function, _positive("interval", interval)

    def on_interval(self, run: Running) -> None:
        """Call the function."""
        self.function(run)


class StopAt(Callback):
    """Ends the run once the mean return of an evaluation reaches `threshold`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def on_evaluation(self, run: Running, row: Row) -> None:
        """Stop the run if the mean return has reached the threshold."""
        if row["mean"] >= self.threshold:
            run.stop(f"the evaluation's mean {row['mean']:g} reached {self.threshold:g}")


class Evaluate(Callback):
    """Evaluates every `interval` steps in addition to the run's own evaluations, optionally in another environment.

    Args:
        interval: environment steps between evaluations.
        episodes: complete episodes in each evaluation.
        env: a Gymnasium id, your own as "package.module:Class", a function that makes an environment, or one that is
            made already; None: the run's own.

    Attributes:
        results: a pair (steps, Evaluation) for each evaluation.
    """

    def __init__(self, interval: int, episodes: int = 10, env: Any = None) -> None:
        self.interval, self.episodes = _positive("interval", interval), _positive("episodes", episodes)
        self.env = env
        self.results: list[tuple[int, Evaluation]] = []

    def on_interval(self, run: Running) -> None:
        """Evaluate."""
        result = run.evaluate(self.episodes, self.env)
        if result is not None:
            self.results.append((run.steps, result))


class Checkpoint(Callback):
    """Saves the agent every `interval` steps as FOLDER/agent-STEPS.dbrrl, and keeps all of these files.

    Use these to study the agent at different stages; the run's own checkpoints, of which only the newest are kept,
    serve to resume it.
    """

    def __init__(self, folder: str | Path, interval: int) -> None:
        self.folder, self.interval = Path(folder), _positive("interval", interval)

    def on_start(self, run: Running) -> None:
        """Make the folder, so that a wrong name is found before training."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be made: {error.strerror}: choose another folder") from error

    def on_interval(self, run: Running) -> None:
        """Save the agent; a resumed run writes identical files again for steps after its checkpoint."""
        run.agent.save(self.folder / f"agent-{run.steps}.dbrrl")


class JsonLines(Callback):
    """Writes each event as a line of JSON: {"event": "evaluation", "steps": 1000, "mean": 21.5, ...}.

    Events: start (with the run's folder), progress, evaluation, checkpoint, end (with the folder and the scores of the
    final evaluation). nan and inf, which JSON lacks, become null. A resumed run writes a second "start" with its step:
    earlier events of later steps are void.

    Args:
        target: a file to append to, or an open stream; None: standard output.

    Raises:
        RunError: the file cannot be opened.
    """

    def __init__(self, target: str | Path | TextIO | None = None) -> None:
        self._owned = isinstance(target, str | Path)
        self._latest: Row = {}
        try:
            self._stream: Any = open(target, "a", encoding="utf-8") if isinstance(target, str | Path) else target  # noqa: SIM115
        except OSError as error:
            raise RunError(f"{target}: cannot be written: {error.strerror}: choose another name") from error

    def on_start(self, run: Running) -> None:
        """Write the step at which the run starts or resumes."""
        chosen = run.plan.settings
        what = {"agent": chosen.agent, "env": chosen.env, "seed": chosen.seed}
        self._write("start", {"steps": run.steps, **what, "folder": _text(run.folder)})

    def on_log(self, run: Running, row: Row) -> None:
        """Write the training statistics."""
        self._write("progress", row)

    def on_evaluation(self, run: Running, row: Row) -> None:
        """Write the scores."""
        self._latest = row
        self._write("evaluation", row)

    def on_checkpoint(self, run: Running) -> None:
        """Write the step of the checkpoint."""
        self._write("checkpoint", {"steps": run.steps})

    def on_end(self, run: Running) -> None:
        """Write the last line of a run that has finished."""
        scores = {name: self._latest[name] for name in _SCORES if name in self._latest}
        ended = {"steps": run.steps, "elapsed": round(run.elapsed, 3), "folder": _text(run.folder)}
        self._write("end", ended | scores)

    def close(self) -> None:
        """Close the file; a stream passed as target stays open."""
        if self._owned:
            self._stream.close()

    def _write(self, event: str, row: Mapping[str, Any]) -> None:
        plain = {name: value if _finite(value) else None for name, value in row.items()}
        print(json.dumps({"event": event} | plain, default=float), file=self._stream or sys.stdout, flush=True)


def _finite(value: float | str | None) -> bool:
    return value is None or isinstance(value, str) or math.isfinite(value)


def _text(folder: Path | None) -> str | None:
    return None if folder is None else str(folder)


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name}: expected a whole number above 0, got {value!r}: give how many")
    return value
