"""The table of a benchmark: a row per evaluation of every run, enough to redraw every figure."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import RunError
from dbrrl.experiment.directory import RunDirectory
from dbrrl.reporting import table

RUN = ("suite", "agent", "env", "seed", "preset", "num_envs")
SCORES = ("steps", "episodes", "elapsed", "mean", "median", "stdev", "min", "max", "evaluation_episodes")
VERSIONS = ("dbrrl", "python", "numpy", "gymnasium", "source", "git_commit")
MACHINE = ("system", "cpu", "cores", "blas")
_LARGEST = 1 << 30  # bytes of a table
COLUMNS = (*RUN, *SCORES, "final", *VERSIONS, *MACHINE, "settings")
_ABOUT = ("versions", "machine")  # what a run's config.toml has that are columns of their own


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run: its evaluations in order, the versions that it was made with, and all its settings as JSON."""

    agent: str
    env: str
    seed: int
    rows: list[dict[str, float]]
    about: dict[str, str]
    settings: str = ""

    @property
    def score(self) -> float:
        """Mean return of the final evaluation."""
        return self.rows[-1]["mean"]


def write(path: Path, suite: str, directories: Iterable[RunDirectory]) -> None:
    """Write the table of these runs, which have finished."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for directory in directories:
        writer.writerows(_rows(suite, directory))
    files.write(path, text.getvalue().encode())


def read(path: Path) -> list[Result]:
    """Return the runs in a table; RunError if it is missing or is not such a table."""
    found: dict[tuple[str, str, int], Result] = {}
    try:
        for line in csv.DictReader(io.StringIO(files.read(path, _LARGEST).decode(), newline="")):
            key = line["agent"], line["env"], int(line["seed"])
            about = {name: line[name] for name in (*RUN, *VERSIONS, *MACHINE)}
            result = found.setdefault(key, Result(*key, rows=[], about=about))
            result.rows.append({name: table.number(line[name]) for name in SCORES})
            if line.get("settings"):  # the last row has them
                found[key] = dataclasses.replace(result, settings=line["settings"])
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: expected the table of a benchmark, got something else ({error})") from error
    return list(found.values())


def env_name(name: str) -> str:
    """Return the name of an environment as tables have it: the library's own without their namespace."""
    return name.removeprefix("dbrrl/")


def _rows(suite: str, directory: RunDirectory) -> Iterator[list[Any]]:
    config = directory.read_config()
    about = config | {"suite": suite, "preset": bool(config["preset"])}
    about["env"] = env_name(str(about["env"]))
    tail = [
        *(config["versions"].get(name, "") for name in VERSIONS),
        *(config["machine"].get(name) for name in MACHINE),
    ]
    settings = json.dumps({name: value for name, value in config.items() if name not in _ABOUT}, separators=(",", ":"))
    rows = table.read(directory.scores)
    for i, row in enumerate(rows, start=1):
        scores = (row[name] for name in SCORES)
        final = i == len(rows)
        yield [*(about[name] for name in RUN), *scores, final, *tail, settings if final else ""]
