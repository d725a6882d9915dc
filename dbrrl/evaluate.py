"""`python -m dbrrl.evaluate RUN --episodes 100` plays episodes with a trained agent and prints its score."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl import checkpoint
from dbrrl.checkpoint import State
from dbrrl.envs import construct
from dbrrl.errors import CheckpointError, ConfigError, RunError
from dbrrl.experiment import Plan, build, command, devices, evaluation, registry, settle, video
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import read, said_of
from dbrrl.learning.agent import Agent
from dbrrl.reporting import display

_DESCRIPTION = """Play whole episodes with a trained agent, without exploration, and print its score.

RUN is a run's folder (its final agent is taken, or the newest checkpoint of a run under way) or an agent's
file. With the run's own seed the scores are those of the evaluation at its end. A file brings no settings with it, also
where it is in a run's folder: name its environment, or the settings file, in the command."""


def main(arguments: Sequence[str]) -> None:
    """Evaluate as the command line says."""
    given = _parse(arguments)
    directory, file = _find(Path(given["run"]), given["best"])
    plan = _plan(directory, file, given)
    devices.check(plan)
    video_path = Path(given["video"]) if "video" in given else None
    if video_path is not None:
        video.check(video_path, plan)
    agent = _load(file, plan)
    agent.training = False  # also where it explores: normalizers stand still
    lanes = agent.num_envs if given["stochastic"] else None
    envs = evaluation.environments(plan, given["episodes"], kind=_kind(plan), lanes=lanes)
    build.check_spaces(agent, envs, str(file))
    warn = display.Errors().warn
    result = evaluation.evaluate(agent, envs, episodes=given["episodes"], explore=given["stochastic"], warn=warn)
    envs.close()
    assert result is not None
    _report(result, plan, file)
    if video_path is not None:
        video.record(agent, plan, video_path, explore=given["stochastic"])
        print(f"video of one episode: {video_path}")


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.evaluate", description=_DESCRIPTION)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, or an agent's file")
    add("--episodes", type=_count, default=100, metavar="N", help="episodes to play [default 100]")
    add("--seed", type=_seed, default=argparse.SUPPRESS, metavar="N", help="seed of the environments")
    add("--best", action="store_true", help="take the agent with the best evaluation instead of the last")
    add("--stochastic", action="store_true", help="let the agent explore")
    add("--video", default=argparse.SUPPRESS, metavar="FILE", help="film one episode: .gif, .mp4")
    add("--env", default=argparse.SUPPRESS, help="environment, for an agent's file")
    add("--config", default=argparse.SUPPRESS, metavar="FILE", help="a run's config.toml, for an agent's file")
    add("--device", default=argparse.SUPPRESS, metavar="NAME", help="cpu, cuda or cuda:1 [default: the run's]")
    add("--agent", default=argparse.SUPPRESS, help="your own agent's class, as package.module:Class")
    add("--trust", action="store_true", help="import the agent and the environment that the run's config.toml names")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_all(arguments)


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
    return int(text)


def _find(path: Path, best: bool) -> tuple[RunDirectory | None, Path]:
    """The run's folder, if that was named, and the file that holds the agent."""
    if path.exists() and not path.is_dir():
        return None, path
    directory = RunDirectory.open(path)
    files = [directory.final, *directory.checkpoint_files(), directory.best]
    if _goes_on(directory):
        files = files[1:]
    for file in [directory.best] if best else files:
        if file.exists():
            return directory, file
    raise RunError(f"{path}: holds no agent yet: go on with python -m dbrrl.train --resume {path}")


def _goes_on(directory: RunDirectory) -> bool:
    """Whether a run trains on after its end, so that its final agent is not its last."""
    newest = directory.checkpoint_files()[:1]
    try:
        return bool(newest) and not checkpoint.load(newest[0], kind="run")["loop"]["finished"]
    except (CheckpointError, LookupError, TypeError):
        return False


def _plan(directory: RunDirectory | None, path: Path, given: dict[str, Any]) -> Plan:
    """The settings of the run, or of the file named with --config; else what the command names and the agent is."""
    explicit: dict[str, Any] = {name: given[name] for name in ("agent", "env", "seed", "device") if name in given}
    config = Path(given["config"]) if "config" in given else directory.config if directory is not None else None
    if config is not None:
        file = read(config)
        plan = settle(explicit, file=file, use_preset=False, trusted=given["trust"])
        with said_of({} if "env" in given else file):
            construct.resolve(plan.settings.env)
        return plan
    if "env" not in given:
        raise ConfigError(f"{path}: an agent's file names no environment: add --env NAME, or --config RUN/config.toml")
    name = explicit.get("agent") or _record(path).get("agent")
    if name not in registry.agent_names() and "agent" not in explicit:
        raise ConfigError(f"{path}: holds the agent {name!r}: add --agent package.module:Class")
    return settle(explicit | {"agent": name}, use_preset=False)


def _load(file: Path, plan: Plan) -> Agent:
    return plan.agent_class.from_record(_record(file), file, device=plan.settings.device, acting=True)


def _record(file: Path) -> State:
    """The agent in a file of its own, or in the exact checkpoint of a run."""
    if not re.fullmatch(r"step-\d{12}\.dbrrl", file.name):
        return checkpoint.load(file, kind="agent")
    record = checkpoint.load(file, kind="run").get("agent")
    if not isinstance(record, dict):
        raise CheckpointError(f"{file}: not the checkpoint of a run: it has no agent")
    return record


def _kind(plan: Plan) -> str:
    """How the training environments are put together: those of an evaluation are like them."""
    return construct.choose(construct.Request(plan.settings.env, plan.env_kwargs), plan.settings.vectorization)


def _report(result: evaluation.Evaluation, plan: Plan, file: Path) -> None:
    row = result.row()
    low, high = result.interval()
    count = len(result.returns)  # one or two episodes say too little for an interval
    few = "(one episode)" if count == 1 else "(two episodes)"
    interval = f"(95 % interval {low:.2f} to {high:.2f})" if count > 2 else few
    print(f"{plan.settings.agent} on {plan.settings.env}, {len(result.returns)} episodes, agent: {file}")
    print(
        f"mean {row['mean']:.2f} {interval}  median {row['median']:.2f}  "
        f"stdev {row['stdev']:.2f}  min {row['min']:.2f}  max {row['max']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
