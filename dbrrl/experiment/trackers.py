"""Logs of a run in Weights & Biases and in MLflow, by their own packages, under the names of the CSV files."""

import contextlib
import importlib.util
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import ConfigError
from dbrrl.reporting.metrics import describe

from .callbacks import Callback, Row, Running
from .settings import Plan

_KINDS = ("wandb", "mlflow")
_LARGEST = 10_000  # bytes of the file of ids
_LONG = 500  # characters of a parameter of MLflow
_AT_ONCE = 100  # parameters of MLflow in one request


class Tracker(Callback):
    """Base of logs elsewhere: the rows of progress.csv as "train/NAME", those of scores.csv as "eval/NAME".

    What cannot be sent is said as a warning once, and the run goes on: its own files have every number.

    Args:
        plan: the run's settings.
        folder: the run's folder, in which the id of the log is kept, so that a resumed run goes on with it.
    """

    kind = ""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self._warned = False

    def on_start(self, run: Running) -> None:
        """Begin the log, or go on with it."""
        with self._said(run):
            self.begin(self._known_id())

    def on_log(self, run: Running, row: Row) -> None:
        """Log training statistics."""
        self._log(run, "train", row)

    def on_evaluation(self, run: Running, row: Row) -> None:
        """Log the scores of an evaluation."""
        self._log(run, "eval", row)

    def on_end(self, run: Running) -> None:
        """Say that the run has finished."""
        with self._said(run):
            self.end("FINISHED")

    def begin(self, known: str | None) -> None:
        """Open the log `known`, or a new one, and keep its id with `keep_id`."""

    def send(self, steps: int, values: Mapping[str, float]) -> None:
        """Log values by name."""

    def end(self, status: str) -> None:
        """Close the log."""

    def keep_id(self, one: str) -> None:
        """Keep the id of the log in the run's folder."""
        files.write(self.folder / "trackers.json", json.dumps(self._ids() | {self.kind: one}).encode())

    def _known_id(self) -> str | None:
        known = self._ids().get(self.kind)
        return known if isinstance(known, str) and known.isalnum() else None

    def _ids(self) -> dict[str, Any]:
        try:
            found = json.loads(files.read(self.folder / "trackers.json", _LARGEST))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _log(self, run: Running, group: str, row: Row) -> None:
        with self._said(run):
            names = (name for name in row if name != "steps" and math.isfinite(row[name]))
            self.send(run.steps, {f"{group}/{name}": row[name] for name in names})

    @contextlib.contextmanager
    def _said(self, run: Running) -> Iterator[None]:
        """Inside the context, an error of the other package is a warning, said once."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                self._warned = True
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                display: Any = getattr(run, "display", None)
                if display is not None:
                    display.warn(f"{self.kind}: nothing more may be logged there: {reason}")


class Wandb(Tracker):
    """A run of a project of Weights & Biases; WANDB_MODE=offline keeps it in the folder."""

    kind = "wandb"

    def begin(self, known: str | None) -> None:
        """Open the run, whose id is made here, so that it is the same after a resume."""
        import wandb

        self._run: Any = wandb.init(
            project=self.plan.settings.wandb,
            name=self.folder.name,
            id=known,
            resume="allow",
            config=self.plan.to_dict(),
            dir=str(self.folder),
            group=f"{self.plan.settings.agent}-{self.plan.settings.env}",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.keep_id(self._run.id)
        self._run.define_metric("steps")
        for group in ("train", "eval"):
            self._run.define_metric(f"{group}/*", step_metric="steps")
        self._described: set[str] = set()

    def send(self, steps: int, values: Mapping[str, float]) -> None:
        """Log values against the environment steps."""
        for name in values.keys() - self._described:
            better = describe(name.partition("/")[2]).better
            summary = {"higher": "max", "lower": "min"}.get(better, "last")
            self._run.define_metric(name, step_metric="steps", summary=summary)
        self._described |= values.keys()
        self._run.log({"steps": steps, **values})

    def end(self, status: str) -> None:
        """Send what is left."""
        run, self._run = getattr(self, "_run", None), None
        if run is not None:
            run.finish(exit_code=0 if status == "FINISHED" else 1)

    def close(self) -> None:
        """Send what is left of a run that did not finish."""
        with contextlib.suppress(Exception):
            self.end("KILLED")


class Mlflow(Tracker):
    """A run of MLflow, in the experiment that is named after the environment."""

    kind = "mlflow"
    _client: Any = None

    def begin(self, known: str | None) -> None:
        """Open the run, and log the settings as its parameters."""
        import mlflow
        from mlflow.entities import Metric, Param

        self._metric: Any = Metric
        client = self._client = mlflow.MlflowClient(tracking_uri=self.plan.settings.mlflow)
        settings = self.plan.settings
        found = client.get_experiment_by_name(settings.env)
        experiment = found.experiment_id if found is not None else client.create_experiment(settings.env)
        if known is not None:
            with contextlib.suppress(Exception):
                self._id = client.get_run(known).info.run_id
                client.update_run(self._id, status="RUNNING")
                return
        run = client.create_run(experiment, run_name=self.folder.name, tags={"agent": settings.agent})
        self._id = run.info.run_id
        self.keep_id(self._id)
        table = self.plan.to_dict()
        flat = {name: value for name, value in table.items() if not isinstance(value, dict)} | table["config"]
        parameters = [Param(name, str(value)[:_LONG]) for name, value in flat.items()]
        for start in range(0, len(parameters), _AT_ONCE):
            client.log_batch(self._id, params=parameters[start : start + _AT_ONCE])

    def send(self, steps: int, values: Mapping[str, float]) -> None:
        """Log values at the environment steps."""
        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[self._metric(name, v, now, steps) for name, v in values.items()])

    def end(self, status: str) -> None:
        """Say how the run ended."""
        client, self._client = self._client, None
        if client is not None:
            client.set_terminated(self._id, status)

    def close(self) -> None:
        """Say that a run did not finish."""
        with contextlib.suppress(Exception):
            self.end("KILLED")


def check(plan: Plan) -> None:
    """Raise ConfigError if a log is wanted whose package is not installed."""
    for kind in _KINDS:
        wanted = getattr(plan.settings, kind)
        if wanted is not None and importlib.util.find_spec(kind) is None:
            raise ConfigError(f'{kind}: it is not installed: pip install "dbrrl[{kind}]"')


def make(plan: Plan, folder: Path) -> list[Callback]:
    """Return the logs that the settings ask for."""
    made: list[Callback] = [] if plan.settings.wandb is None else [Wandb(plan, folder)]
    return made if plan.settings.mlflow is None else [*made, Mlflow(plan, folder)]
