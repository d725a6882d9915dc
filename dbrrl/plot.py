"""`python -m dbrrl.plot RUN [RUN ...] --out curve.png` draws the learning curves of several runs."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import command, curves, table
from dbrrl.experiment.directory import RunDirectory
from dbrrl.suggestions import did_you_mean

_TASK = ("num_envs", "max_episode_steps", "env_kwargs", "eval_env_kwargs")  # what else makes runs unlike

_DESCRIPTION = """Draw learning curves: a panel per environment, a line per agent, a 95 % interval over seeds.

Runs of one agent that differ in their settings get a line each, named by the settings that differ. With --group-by
the lines are those of the fields named: agent, or any setting in the runs' config.toml."""


def main(arguments: Sequence[str]) -> None:
    """Draw as the command line says."""
    given = _parse(arguments)
    path = Path(given["out"])
    if path.exists() and not given["overwrite"]:
        raise RunError(f"{path}: exists already: choose another name, or add --overwrite")
    runs = [RunDirectory.open(run) for run in {Path(run).resolve(): Path(run) for run in given["runs"]}.values()]
    groups = _groups(runs, given.get("group_by"))
    curves.draw_groups(groups, path, x=given["x"], smooth=given["smooth"])
    print(f"{_plural(len(runs), 'run')} in {_plural(len(groups), 'line')}: {path}")


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.plot", description=_DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of runs")
    parser.add_argument("--out", default="curve.png", metavar="FILE", help="image, .png, .svg or .pdf")
    parser.add_argument("--x", default="steps", choices=tuple(curves.AXES), help="what runs along the axis")
    parser.add_argument(
        "--smooth", type=_count, default=1, metavar="N", help="average each run over N evaluations [default 1]"
    )
    parser.add_argument(
        "--group-by",
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="FIELD",
        help="a line for each value of these: agent, or fields of the configuration",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the image if it exists")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_all(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _groups(runs: Sequence[RunDirectory], fields: Sequence[str] | None) -> list[curves.Group]:
    """The runs by environment, and by agent and settings or by the `fields` named."""
    gathered: dict[tuple[str, str, str], list[curves.Rows]] = {}
    for run in runs:
        config = run.read_config()
        rows = table.read(run.scores) if run.scores.exists() else []
        if not rows:
            raise RunError(f"{run.path}: has no evaluation yet: leave it out, or let it train on")
        env, agent = str(config.get("env")).removeprefix("dbrrl/"), str(config.get("agent"))
        if fields:
            agent, own = _by_fields(config, fields, run.path)
        else:
            own = config.get("config", {}) | {name: config[name] for name in _TASK if name in config}
            own.pop("total_steps", None)  # follows from --steps: no setting of its own
        gathered.setdefault((env, agent, json.dumps(own, sort_keys=True)), []).append(rows)
    keys = list(gathered)
    return [curves.Group(key[1] if fields else _label(key, keys), key[0], gathered[key]) for key in keys]


def _by_fields(config: dict[str, Any], fields: Sequence[str], path: Path) -> tuple[str, dict[str, Any]]:
    """The label of a run by the values of `fields`, and those values."""
    known = config | config.get("config", {})
    for name in fields:
        if name not in known:
            raise ConfigError(f"--group-by: {path} has no setting {name!r}{did_you_mean(name, known)}")
    values = {name: known[name] for name in fields}
    return ", ".join(str(value) if name == "agent" else f"{name}={value}" for name, value in values.items()), values


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _label(key: tuple[str, str, str], keys: Sequence[tuple[str, str, str]]) -> str:
    """The agent's name, and where other runs of it on this environment differ, in what."""
    env, agent, own = key[0], key[1], json.loads(key[2])
    others = [json.loads(text) for other_env, other, text in keys if (other_env, other) == (env, agent)]
    differing = [name for name in own if any(other.get(name) != own[name] for other in others)]
    return ", ".join([agent, *(f"{name}={own[name]}" for name in differing)])


if __name__ == "__main__":
    sys.exit(command.run(main))
