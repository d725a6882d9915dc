"""Finished runs of other machines, taken from the tables that their benchmarks wrote."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dbrrl.errors import RunError
from dbrrl.experiment.directory import RunDirectory
from dbrrl.reporting import table

from . import results
from .folder import JOINED, Folder, other_settings
from .results import Result
from .suite import Suite


def join(tables: Iterable[Path], suite: Suite, folder: Folder, leave_out: bool) -> list[str]:
    """Put the runs of tables into a benchmark's folder, where they count as its own; return a line to print for each.

    A run of the suite that is in the folder stays as it is, begun or finished. A joined one has a directory without an
    agent: its settings, versions, machine and scores.

    Args:
        tables: files like results.csv.
        suite: the suite; runs of cells that it does not have are left out.
        folder: the benchmark's folder.
        leave_out: whether runs with other settings are left out.

    Raises:
        RunError: a table cannot be read, is of another suite, or has a run with other settings, without `leave_out`.
    """
    found = [(path, _checked(path, suite.name)) for path in tables]
    return [_join(path, runs, suite, folder, leave_out) for path, runs in found]


def _checked(path: Path, suite: str) -> list[Result]:
    """Return the runs of a table; RunError if they are not of this suite, or have no settings."""
    runs = results.read(path)
    for run in runs:
        if run.about["suite"] != suite:
            raise RunError(f"{path}: holds the suite {run.about['suite']!r}, not {suite!r}: join a table of this one")
        if not run.settings:
            raise RunError(f"{path}: has no settings of its runs: expected a table that this version of dbrrl wrote")
    return runs


def _join(path: Path, runs: list[Result], suite: Suite, folder: Folder, leave_out: bool) -> str:
    cells = {(cell.agent, results.env_name(cell.env)): cell for cell in suite.cells}
    taken, other = [], 0
    for run in runs:
        cell = cells.get((run.agent, run.env))
        if cell is None:
            continue
        plan = cell.plan(run.seed)
        config = _settings(path, run)
        why = other_settings(plan, config)
        if why is None:
            taken.append((folder.run(plan), run, config))
        elif leave_out:
            other += 1
        else:
            raise RunError(
                f"{path}: {cell.name}, seed {run.seed}: made with other settings: {why}: leave such runs out, and run "
                "them here, with --renew"
            )
    new = [(place, run, config) for place, run, config in taken if not place.exists()]
    for place, run, config in new:
        _make(place, run, config, path)
    said = f"{path}: {len(new)} of {len(runs)} runs joined"
    return said + (f", {other} with other settings left out" if other else "")


def _settings(path: Path, run: Result) -> dict[str, Any]:
    try:
        config = json.loads(run.settings)
    except ValueError as error:
        raise RunError(f"{path}: expected settings as JSON, got {run.settings[:40]!r} ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("preset"), dict):
        raise RunError(f"{path}: expected the settings of a run with its preset, got {run.settings[:40]!r}")
    return config


def _make(place: Path, run: Result, config: dict[str, Any], source: Path) -> None:
    """Make the directory of a run that was made elsewhere."""
    about = {"versions": results.VERSIONS, "machine": results.MACHINE}
    config = config | {name: {key: run.about[key] for key in keys} for name, keys in about.items()}
    files = {"scores.csv": table.dumps(results.SCORES, run.rows), JOINED: f"{source}\n".encode()}
    RunDirectory.create(place.parent, place.name, "", config, files).release()
