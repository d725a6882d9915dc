"""`python -m dbrrl.evaluate RUN --episodes 100` plays episodes with a trained agent and prints its score."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl import checkpoint, registry
from dbrrl.agent import Agent
from dbrrl.envs import construct
from dbrrl.errors import CheckpointError, ConfigError, RunError
from dbrrl.experiment import Plan, build, command, devices, evaluation, settle, video
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import read

_DESCRIPTION = """Play whole episodes with a trained agent, without exploration, and print its score.

RUN is a run's folder (its final agent is taken, or the newest checkpoint of a run under way) or an agent's
file. With the run's own seed the scores are those of the evaluation at its end."""


def main(arguments: Sequence[str]) -> None:
    """Evaluate as the command line says."""
    given = _parse(arguments)
    directory, file = _find(Path(given["run"]), given["best"])
    plan = _plan(directory, given)
    devices.check(plan)
    video_path = Path(given["video"]) if "video" in given else None
    if video_path is not None:
        video.check(video_path)
    agent = _load(file, plan)
    agent.training = False  # also where it explores: normalizers stand still
    lanes = agent.num_envs if given["stochastic"] else None
    envs = evaluation.environments(plan, given["episodes"], kind=_kind(plan), lanes=lanes)
    build.check_spaces(agent, envs, str(file))
    result = evaluation.evaluate(agent, envs, episodes=given["episodes"], explore=given["stochastic"])
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
    add("--env", default=argparse.SUPPRESS, help="environment, for an agent's file outside a run's folder")
    add("--device", default=argparse.SUPPRESS, metavar="NAME", help="cpu, cuda or cuda:1 [default: the run's]")
    add("--agent", default=argparse.SUPPRESS, help="your own agent's class, as package.module:Class")
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
    """The run's folder, if there is one, and the file that holds the agent."""
    if path.is_file():
        above = RunDirectory(path.absolute().parent.parent)
        return (above if above.config.exists() else None), path
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


def _plan(directory: RunDirectory | None, given: dict[str, Any]) -> Plan:
    file = read(directory.config) if directory is not None else {}
    if directory is None and "env" not in given:
        raise ConfigError(f"{given['run']}: this file names no environment: add --env NAME")
    explicit: dict[str, Any] = {name: given[name] for name in ("agent", "env", "seed", "device") if name in given}
    return settle(explicit, file=file, use_preset=False) if file else _bare_plan(explicit, Path(given["run"]))


def _bare_plan(explicit: dict[str, Any], path: Path) -> Plan:
    name = explicit.get("agent") or checkpoint.load(path, kind="agent").get("agent")
    if name not in registry.agent_names() and "agent" not in explicit:
        raise ConfigError(f"{path}: holds the agent {name!r}: add --agent package.module:Class")
    return settle(explicit | {"agent": name}, use_preset=False)


def _load(file: Path, plan: Plan) -> Agent:
    if file.parent.name == "checkpoints":
        record = checkpoint.load(file, kind="run").get("agent", {})
    else:
        record = checkpoint.load(file, kind="agent")
    return plan.agent_class.from_record(record, file, device=plan.settings.device, acting=True)


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
