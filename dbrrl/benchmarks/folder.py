"""The folder of a benchmark: its suite, the run directories, and the table of all evaluations."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dbrrl import checkpoint
from dbrrl.errors import DbrrlError, RunError
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import Plan, read, resolve_plan
from dbrrl.reporting import toml

from . import results

_MARK = "benchmark.toml"
JOINED = "joined.txt"  # in the directory of a run that was made elsewhere: the table that it came from
_FREE = ("curve", "tensorboard", "wandb", "mlflow")  # settings that do not affect results


class Folder:
    """A benchmark's folder; `open` creates it, or finds that of the same suite."""

    def __init__(self, path: Path, suite: str) -> None:
        self.path, self.suite = path, suite
        self.runs = path / "runs"
        self.errors = path / "errors"
        self.results = path / "results.csv"
        self._lock = RunDirectory(path)

    @classmethod
    def open(cls, path: Path, suite: str) -> Self:
        """Create or find the folder `path`, and lock it until `release`.

        Raises RunError if it belongs to another suite, holds something else, or is in use.
        """
        mark = path / _MARK
        if mark.is_file():
            found = read(mark).get("suite")
            if found != suite:
                raise RunError(f"{path}: holds the suite {found!r}, not {suite!r}: choose another folder with --out")
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path}: exists and is no benchmark's folder: choose another with --out")
        folder = cls(path, suite)
        try:
            folder.runs.mkdir(parents=True, exist_ok=True)
            folder._lock.lock()
        except RunError:
            raise RunError(f"{path}: another benchmark is running here: wait for it, or stop it") from None
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error
        if not mark.is_file():
            checkpoint.write(mark, toml.dumps({"suite": suite}).encode())
        return folder

    def release(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def run(self, plan: Plan) -> Path:
        """Return the run directory of a plan."""
        agent, env = (name.replace("/", "-").replace(":", "-") for name in (plan.settings.agent, plan.settings.env))
        return self.runs / f"{agent}_{env}_seed{plan.settings.seed}"

    def like(self, plan: Plan) -> dict[int, RunDirectory]:
        """Return the existing runs of the same agent and environment, by seed."""
        stem = self.run(plan).name.rpartition("_seed")[0]
        found = ((path.name.removeprefix(f"{stem}_seed"), path) for path in self.runs.glob(f"{stem}_seed*"))
        return {int(seed): RunDirectory(path) for seed, path in sorted(found) if seed.isdecimal()}

    def finished(self, plan: Plan) -> bool:
        """Return whether the run of `plan` has finished."""
        return finished(RunDirectory(self.run(plan)))

    def outdated(self, plan: Plan) -> str | None:
        """Return how the existing run of `plan` has other settings; None if it has the same, or there is no run."""
        directory = RunDirectory(self.run(plan))
        if not directory.config.exists():
            return None
        try:
            config = directory.read_config()
        except DbrrlError as error:
            return str(error)
        return other_settings(plan, config)

    def set_aside(self, plan: Plan) -> Path:
        """Move the run of `plan` aside, where it is kept; return the new path."""
        source = self.run(plan)
        aside = self.path / "superseded"
        aside.mkdir(exist_ok=True)
        count = 1
        while (aside / f"{source.name}-{count}").exists():
            count += 1
        target = aside / f"{source.name}-{count}"
        shutil.move(source, target)
        return target

    def note_error(self, name: str, text: str | None) -> None:
        """Write the traceback of a run that failed; None removes it."""
        file = self.errors / f"{name}.txt"
        if text is None:
            file.unlink(missing_ok=True)
        else:
            self.errors.mkdir(exist_ok=True)
            checkpoint.write(file, text.encode())

    def write_results(self) -> None:
        """Write results.csv: a row for each evaluation of every finished run."""
        directories = [RunDirectory(path) for path in sorted(self.runs.iterdir(), key=_natural)]
        results.write(self.results, self.suite, [directory for directory in directories if finished(directory)])


def other_settings(plan: Plan, config: Mapping[str, Any]) -> str | None:
    """Return how a run whose config.toml has `config` has other settings than `plan`; None if it has the same."""
    known = (plan.settings.agent, plan.settings.env)
    try:
        before = resolve_plan({}, file=config, use_preset=False, trusted=known).to_dict()
    except DbrrlError as error:
        return str(error)
    now = plan.to_dict()
    if now["device"] == "auto":
        now["device"] = before["device"]  # the chosen device
    return _difference(before, now)


def _difference(before: dict[str, Any], now: dict[str, Any], place: str = "") -> str | None:
    """Return the first difference of two plans."""
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if old == new or name in _FREE:
            continue
        if isinstance(old or {}, dict) and isinstance(new or {}, dict):
            return _difference(old or {}, new or {}, f"{name}: ")
        return f"{place}{name} is {old!r} there and {new!r} now"
    return None


def finished(directory: RunDirectory) -> bool:
    """Return whether a benchmark's run has finished: it has a final agent and no exact checkpoints, or was made
    elsewhere.
    """
    return (directory.path / JOINED).exists() or (directory.final.exists() and not directory.checkpoint_files())


def discard_checkpoints(directory: RunDirectory) -> None:
    """Remove the exact checkpoints of a finished run, the newest last, as it records that the run has finished."""
    for file in reversed(directory.checkpoint_files()):
        file.unlink()
    with contextlib.suppress(OSError):
        directory.checkpoints.rmdir()


def _natural(path: Path) -> tuple[str, int]:
    stem, _, seed = path.name.rpartition("_seed")
    return stem, int(seed) if seed.isdecimal() else -1
