"""`python -m dbrrl.plot RUN [RUN ...] --out curve.png` draws the learning curves of several runs."""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError, DbrrlError, RunError
from dbrrl.experiment import command, settings
from dbrrl.experiment.directory import RunDirectory
from dbrrl.reporting import curves, table

_TASK = ("num_envs", "max_episode_steps", "env_kwargs", "eval_env_kwargs")  # settings that distinguish runs
_SHORT = 0.9  # share of the usual length of a line's runs, below which a run is left out

_DESCRIPTION = """Draw learning curves: a panel per environment, a line per agent, its mean over the seeds with a band.

Runs of one agent with different settings have a line each, named by the settings that differ. With --group-by
there is a line for each value of the given fields: agent, or any setting in the runs' config.toml. Runs of one seed
in a line are averaged first. A run without an evaluation, with damaged files, much shorter than the others of its
line, or copied from another is left out with a message."""


@dataclasses.dataclass(frozen=True)
class _Run:
    """The data of a run that are drawn."""

    path: Path
    config: dict[str, Any]
    rows: curves.Rows
    seed: int
    own: dict[str, Any]  # the settings that distinguish runs

    @property
    def end(self) -> float:
        """Step of the last evaluation."""
        return self.rows[-1].get("steps", 0.0)


def main(arguments: Sequence[str]) -> None:
    """Draw with the settings of the command line."""
    given = _parse(arguments)
    path = Path(given["out"])
    if path.exists() and not given["overwrite"]:
        raise RunError(f"{path}: exists already: choose another name, or add --overwrite")
    left_out: list[str] = []
    runs = _read([Path(run) for run in given["runs"]], given["x"], left_out)
    lines = _lines(runs, given.get("group_by"))
    groups = [_group(label, env, _fitting(own, left_out)) for (label, env), own in lines.items()]
    groups = _renamed(groups, given["labels"])
    for line in left_out:
        print(f"left out {line}", file=sys.stderr)
    curves.draw_groups(groups, path, x=given["x"], smooth=given["smooth"], title=given["title"])
    drawn = sum(len(group.runs) for group in groups)
    print(f"{_plural(drawn, 'run')} in {_plural(len(groups), 'line')}: {path}")


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.plot", description=_DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of runs")
    parser.add_argument("--out", default="curve.png", metavar="FILE", help="image, .png, .svg or .pdf")
    parser.add_argument("--x", default="steps", choices=tuple(curves.AXES), help="quantity on the horizontal axis")
    parser.add_argument(
        "--smooth", type=_count, default=1, metavar="N", help="average each run over N evaluations [default 1]"
    )
    parser.add_argument(
        "--group-by",
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="FIELD",
        help="fields with a line for each value: agent, or settings of the runs",
    )
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="names of the lines, in the order of their runs")
    parser.add_argument("--title", metavar="TEXT", help="text above the figure")
    parser.add_argument("--overwrite", action="store_true", help="replace the image if it exists")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_all(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _read(paths: Sequence[Path], x: str, left_out: list[str]) -> list[_Run]:
    """Return the runs that can be drawn over `x`, each folder once; add a line to `left_out` for each other.

    Raises RunError if a folder is missing, or no run can be drawn.
    """
    runs = []
    for path in {path.resolve(): path for path in paths}.values():
        if path.is_file():
            left_out.append(f"{path}: not the folder of a run")
            continue
        try:
            runs.append(_run(path, x))
        except DbrrlError as error:
            if not path.is_dir():
                raise
            left_out.append(str(error) if str(error).startswith(str(path)) else f"{path}: {error}")
    if not runs:
        raise RunError(f"expected a run to draw, got {'; '.join(left_out)}")
    return runs


def _run(path: Path, x: str) -> _Run:
    """Read the run in a folder; DbrrlError if it has no evaluation, or its files are damaged."""
    directory = RunDirectory.open(path)
    rows = table.read(directory.scores) if directory.scores.exists() else []
    if not rows:
        raise RunError("has no evaluation yet")
    for name in (curves.COLUMNS[x], "mean"):
        if not all(name in row for row in rows):
            raise RunError(f"its table of scores lacks the column {name!r}")
    config = directory.read_config()
    seed = config.get("seed", 0)
    if not isinstance(seed, int):
        raise ConfigError(f"seed: expected a whole number, got {seed!r}: correct its config.toml")
    own: dict[str, Any] = settings.table(config, "config") | {name: config[name] for name in _TASK if name in config}
    own.pop("total_steps", None)  # computed from --steps
    return _Run(path, config, rows, seed, own)


def _lines(runs: Sequence[_Run], fields: Sequence[str] | None) -> dict[tuple[str, str], list[_Run]]:
    """Group the runs by agent and settings, or by `fields`; the keys are (label, environment)."""
    gathered: dict[tuple[str, str, str], list[_Run]] = {}
    for run in runs:
        env, agent = str(run.config.get("env")).removeprefix("dbrrl/"), str(run.config.get("agent"))
        if fields:
            agent, own = _by_fields(run.config, fields, run.path)
        else:
            own = run.own
        gathered.setdefault((env, agent, json.dumps(own, sort_keys=True)), []).append(run)
    keys = list(gathered)
    return {(key[1] if fields else _label(key, keys), key[0]): gathered[key] for key in keys}


def _fitting(runs: Sequence[_Run], left_out: list[str]) -> list[_Run]:
    """Return the runs of a line without copies and without much shorter ones."""
    usual = statistics.median_high(run.end for run in runs)
    kept: list[_Run] = []
    for run in runs:
        same = [other for other in kept if other.seed == run.seed and other.own == run.own]
        copy = next((other for other in same if other.rows == run.rows), None)
        if copy is not None:
            left_out.append(f"{run.path}: a copy of {copy.path}: the same seed, settings and scores")
        elif run.end < _SHORT * usual:
            left_out.append(f"{run.path}: ends at step {run.end:,.0f}, the others of its line at {usual:,.0f}")
        else:
            kept.append(run)
            if same:
                print(
                    f"{run.path}: has the seed and the settings of {same[0].path}: counted as one seed", file=sys.stderr
                )
    return kept


def _group(label: str, env: str, runs: Sequence[_Run]) -> curves.Group:
    return curves.Group(label, env, [run.rows for run in runs], [run.seed for run in runs])


def _renamed(groups: Sequence[curves.Group], labels: Sequence[str] | None) -> list[curves.Group]:
    """Return the groups with the given names; ConfigError if there are more or fewer names than lines."""
    own = list(dict.fromkeys(group.label for group in groups))
    if labels is None:
        return list(groups)
    if len(labels) != len(own):
        raise ConfigError(f"--labels: expected {len(own)}, one for each of {'; '.join(own)}; got {len(labels)}")
    names = dict(zip(own, labels, strict=True))
    return [dataclasses.replace(group, label=names[group.label]) for group in groups]


def _by_fields(config: dict[str, Any], fields: Sequence[str], path: Path) -> tuple[str, dict[str, Any]]:
    """Return the label of a run made from the values of `fields`, and these values."""
    known = config | settings.table(config, "config")
    for name in fields:
        if name not in known:
            raise ConfigError(f"--group-by: {path} has no setting {name!r}{did_you_mean(name, known)}")
    values = {name: known[name] for name in fields}
    return ", ".join(str(value) if name == "agent" else f"{name}={value}" for name, value in values.items()), values


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _label(key: tuple[str, str, str], keys: Sequence[tuple[str, str, str]]) -> str:
    """Return the agent's name, and the settings in which its runs on this environment differ."""
    env, agent, own = key[0], key[1], json.loads(key[2])
    others = [json.loads(text) for other_env, other, text in keys if (other_env, other) == (env, agent)]
    differing = [name for name in own if any(other.get(name) != own[name] for other in others)]
    return ", ".join([agent, *(f"{name}={own[name]}" for name in differing)])


if __name__ == "__main__":
    command.run_process(main)
