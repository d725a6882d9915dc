"""Callbacks: what a run tells while it goes on, what you do about it, and how you end it early."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from dbrrl.errors import ConfigError, RunError
from dbrrl.learning.agent import Agent

from .evaluation import Evaluation
from .settings import Plan

Row = Mapping[str, float]
_SCORES = ("mean", "median", "stdev", "min", "max", "evaluation_episodes")


class Running(Protocol):
    """What a callback sees of the run under way."""

    plan: Plan
    """All settings: of the run in `plan.settings`, of the agent in `plan.config`."""
    agent: Agent
    steps: int
    """Environment steps so far, all environments together."""
    episodes: int

    @property
    def folder(self) -> Path | None:
        """The run's folder; None where it has none."""

    @property
    def elapsed(self) -> float:
        """Seconds so far, those before a resume included."""

    def evaluate(self, episodes: int, env: str | None = None) -> Evaluation | None:
        """Play whole episodes without exploration, here or in `env`, off the record; None where Ctrl-C came."""

    def stop(self, reason: str) -> None:
        """End the run at the next moment between steps: it is evaluated and saved as at its end."""


class Callback:
    """Override what you need; each method is called between two steps of the run, in its process.

    A callback keeps no place in checkpoints: after a resume, which is given callbacks anew, it starts afresh.

    Attributes:
        interval: environment steps between calls of `on_interval`; None: never. Several environments step at once:
            a call comes at the first moment at which another multiple of it is reached.
    """

    interval: int | None = None

    def on_start(self, run: Running) -> None:
        """The run begins, or goes on, at `run.steps`."""

    def on_interval(self, run: Running) -> None:
        """Another `interval` steps are done."""

    def on_log(self, run: Running, row: Row) -> None:
        """A row of progress.csv."""

    def on_evaluation(self, run: Running, row: Row) -> None:
        """A row of scores.csv."""

    def on_checkpoint(self, run: Running) -> None:
        """An exact checkpoint was saved."""

    def on_end(self, run: Running) -> None:
        """The run is at its end, evaluated and saved; not called where an error or Ctrl-C ends it."""

    def close(self) -> None:
        """Let go of files, however the run ended."""


class Call(Callback):
    """Calls `function(run)` every `interval` steps.

    Raises:
        ConfigError: the interval is not a whole number above 0.
    """

    def __init__(self, function: Callable[[Running], None], interval: int) -> None:
        self.function, self.interval = function, _positive("interval", interval)

    def on_interval(self, run: Running) -> None:
        """Call it."""
        self.function(run)


class StopAt(Callback):
    """Ends the run once the mean return of an evaluation reaches `threshold`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def on_evaluation(self, run: Running, row: Row) -> None:
        """Compare."""
        if row["mean"] >= self.threshold:
            run.stop(f"the evaluation's mean {row['mean']:g} reached {self.threshold:g}")


class Evaluate(Callback):
    """Evaluates every `interval` steps beside the run's own evaluations, also in another environment.

    Args:
        interval: environment steps between evaluations.
        episodes: whole episodes of each.
        env: a Gymnasium id, or your own as "package.module:Class"; None: that of the run.

    Attributes:
        results: (steps, Evaluation), a pair for each.
    """

    def __init__(self, interval: int, episodes: int = 10, env: str | None = None) -> None:
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

    The run's own checkpoints, of which the newest are kept, are for going on; these are for looking back.
    """

    def __init__(self, folder: str | Path, interval: int) -> None:
        self.folder, self.interval = Path(folder), _positive("interval", interval)

    def on_start(self, run: Running) -> None:
        """Make the folder now: a mistake in its name costs no training."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be made: {error.strerror}: choose another folder") from error

    def on_interval(self, run: Running) -> None:
        """Save; a resumed run writes again what it had written past its checkpoint, the same bits."""
        run.agent.save(self.folder / f"agent-{run.steps}.dbrrl")


class JsonLines(Callback):
    """Writes each event as a line of JSON: {"event": "evaluation", "steps": 1000, "mean": 21.5, ...}.

    Events: start (with the run's folder), progress, evaluation, checkpoint, end (with the folder, and the scores of the
    evaluation at the end). Numbers that JSON lacks (nan, inf) become null. After a
    resume a second "start" says the step at which the run goes on: what came after it before is void.

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
        """The step at which it begins or goes on."""
        chosen = run.plan.settings
        what = {"agent": chosen.agent, "env": chosen.env, "seed": chosen.seed}
        self._write("start", {"steps": run.steps, **what, "folder": _text(run.folder)})

    def on_log(self, run: Running, row: Row) -> None:
        """The training statistics."""
        self._write("progress", row)

    def on_evaluation(self, run: Running, row: Row) -> None:
        """The scores."""
        self._latest = row
        self._write("evaluation", row)

    def on_checkpoint(self, run: Running) -> None:
        """Where it can go on."""
        self._write("checkpoint", {"steps": run.steps})

    def on_end(self, run: Running) -> None:
        """The last line of a run that came to its end."""
        scores = {name: self._latest[name] for name in _SCORES if name in self._latest}
        ended = {"steps": run.steps, "elapsed": round(run.elapsed, 3), "folder": _text(run.folder)}
        self._write("end", ended | scores)

    def close(self) -> None:
        """Close the file; a stream that was given stays open."""
        if self._owned:
            self._stream.close()

    def _write(self, event: str, row: Mapping[str, Any]) -> None:
        plain = {name: value if _finite(value) else None for name, value in row.items()}
        print(json.dumps({"event": event} | plain, default=float), file=self._stream or sys.stdout, flush=True)


def _finite(value: Any) -> bool:
    return value is None or isinstance(value, str) or math.isfinite(value)


def _text(folder: Path | None) -> str | None:
    return None if folder is None else str(folder)


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name}: expected a whole number above 0, got {value!r}: give how many")
    return value
