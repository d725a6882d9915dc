"""`python -m dbrrl.train --agent ppo --env CartPole-v1` trains, evaluates, saves and plots."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl.config import settings
from dbrrl.envs import construct
from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment, JsonLines, Run, Settings, build, command, registry, resolve_plan, trust
from dbrrl.experiment.output import lossy
from dbrrl.experiment.settings import flat, read, said_of
from dbrrl.learning.agent import Agent
from dbrrl.reporting import display

_USAGE = "python -m dbrrl.train [--agent NAME] [--env NAME] [--steps N] [flags below] | --resume RUN"
_DESCRIPTION = """Train an agent, evaluate it, save it and draw its learning curve.

All files are written to a new folder under --out. Settings known to solve the environment (a preset) replace the
defaults; --config overrides the preset, and flags override both."""


@lossy()
def main(arguments: Sequence[str]) -> None:
    """Train with the settings of the command line."""
    given = _parse(arguments)
    quiet, json_lines = given.pop("quiet"), given.pop("json")
    shown = display.Errors() if quiet or json_lines else _display()
    experiment, steps = _resume(given) if "resume" in given else (_start(given, shown), None)
    experiment.display = shown
    if json_lines:
        experiment.callbacks.append(JsonLines())
    run = experiment.run(steps)
    if not json_lines:
        _conclude(run)


def _start(given: dict[str, Any], shown: display.Quiet) -> Experiment:
    file = read(Path(given.pop("config"))) if "config" in given else None
    out, name = Path(given.pop("out", "runs")), given.pop("name", None)
    kwargs = {name: given.pop(name, None) for name in ("env_kwargs", "eval_env_kwargs")}
    trusted, use_preset = given.pop("trust"), given.pop("preset")
    address = given.pop("ray_address", None)
    plan = resolve_plan(given, file=file, use_preset=use_preset, trusted=trusted, **kwargs)
    plan = dataclasses.replace(plan, ray_address=address)
    if file and "env" not in given:
        with said_of(file):
            construct.resolve(plan.settings.env)
    build.check(plan)
    if plan.preset:
        values = ", ".join(f"{field}={value}" for field, value in plan.preset.items())
        shown.say(f"preset for {plan.settings.agent} on {plan.settings.env}: {values}")
    return Experiment.from_plan(plan, out=out, name=name, shown=shown)


def _resume(given: dict[str, Any]) -> tuple[Experiment, int | None]:
    path = Path(given.pop("resume"))
    steps = given.pop("steps", None)
    given.pop("preset", None)
    named = {name: given.pop(name, None) for name in (*trust.FIELDS, "ray_address")}
    trusted, extra = given.pop("trust"), list(given)
    if extra:
        flag = "--" + extra[0].replace("_", "-")
        raise ConfigError(f"{flag}: a resumed run keeps its settings: only --steps and --ray-address may be given")
    return Experiment.resume(path, trust=trusted, **named), steps


def _conclude(run: Run) -> None:
    row, chosen = run.scores[-1], run.plan.settings
    reached = f", success rate {row['success_rate']:.3f}" if "success_rate" in row else ""
    print(
        f"{chosen.agent} on {chosen.env}, seed {chosen.seed}: score {row['mean']:.2f} over "
        f"{row['evaluation_episodes']:.0f} episodes (median {row['median']:.2f}, stdev {row['stdev']:.2f}, "
        f"{row['min']:.2f} to {row['max']:.2f}{reached}) after {row['steps']:,} steps in {row['elapsed']:.1f} s"
    )
    files = ["final/agent.dbrrl", "best/agent.dbrrl", "scores.csv", *(["curve.png"] if chosen.curve else [])]
    print(f"files in {run.directory}: {', '.join(files)}")


def _display() -> display.Quiet:
    return display.Bar() if sys.stdout.isatty() else display.Lines()


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the given flags; the agent decides which flags there are for its Config."""
    first = _common(command.Parser(add_help=False))
    first.add_settings("run", Settings)
    known, _ = first.parse_known_args([word for word in arguments if word not in ("-h", "--help")])
    if hasattr(known, "resume"):
        return _parser("the run resumed", None, {}).parse_all(arguments)
    written = read(Path(known.config)) if hasattr(known, "config") else {}
    file = flat(written, vars(known), known.trust)
    defaults = {entry.name: entry.default for entry in settings(Settings)}
    names = defaults | {name: file[name] for name in ("agent", "env") if name in file} | vars(known)
    with said_of(written if not hasattr(known, "agent") else {}):
        agent = registry.agent_class(str(names["agent"]))
    preset = registry.preset(str(names["agent"]), str(names["env"]))
    return _parser(str(names["agent"]), agent, preset).parse_all(arguments)


def _parser(name: str, agent: type[Agent] | None, preset: dict[str, Any]) -> command.Parser:
    agents = f"Agents: {', '.join(registry.agent_names())}; --agent NAME --help lists the settings of one."
    parser = _common(command.Parser(prog="python -m dbrrl.train", usage=_USAGE, description=f"{_DESCRIPTION} {agents}"))
    parser.add_settings("run", Settings, preset)
    if agent is not None:
        parser.add_settings(f"agent {name}", agent.Config, preset)
    return parser


def _common(parser: command.Parser) -> command.Parser:
    add = parser.add_argument
    add(
        "--out",
        default=argparse.SUPPRESS,
        metavar="FOLDER",
        help="folder in which the run's own folder is created [default runs]",
    )
    add("--name", default=argparse.SUPPRESS, help="name of the run's folder [default agent-env-seed-time]")
    add(
        "--config",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="settings in TOML, such as a run's config.toml",
    )
    add("--resume", default=argparse.SUPPRESS, metavar="RUN", help="resume a run exactly from its newest checkpoint")
    add(
        "--env-kwargs",
        default=argparse.SUPPRESS,
        type=_json_table,
        metavar="JSON",
        help="arguments for the environment",
    )
    add(
        "--eval-env-kwargs",
        default=argparse.SUPPRESS,
        type=_json_table,
        metavar="JSON",
        help="environment arguments that replace some of them in evaluations",
    )
    add(
        "--ray-address",
        default=argparse.SUPPRESS,
        metavar="ADDRESS",
        help="cluster of Ray that has the workers, as host:port or auto [one that the run starts on this machine]",
    )
    add("--trust", action="store_true", help="allow the import of the agent and the environment that a file names")
    add("--no-preset", dest="preset", action="store_false", help="use no preset")
    add("--quiet", action="store_true", help="print only the result")
    add("--json", action="store_true", help="print only the events of the run, each as a line of JSON")
    add("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    return parser


def _json_table(text: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise argparse.ArgumentTypeError(f'expected a JSON table such as {{"g": 9.81}}, got {text!r}')
    return table


if __name__ == "__main__":
    command.run_process(main)
