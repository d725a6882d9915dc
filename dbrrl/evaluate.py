"""`python -m dbrrl.evaluate RUN --episodes 100` plays episodes with a trained agent and prints its score."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl import checkpoint
from dbrrl.envs import construct
from dbrrl.errors import CheckpointError, ConfigError, RunError
from dbrrl.experiment import Plan, acting, command, devices, evaluation, registry, resolve_plan, resuming, video
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import read, said_of
from dbrrl.reporting import display

_SETTINGS = ("agent", "env", "seed", "device", "network")
_DESCRIPTION = """Play whole episodes with a trained agent, without exploration, and print its score.

RUN is a run's folder (with its final agent, or the newest checkpoint if it has not finished) or an agent's
file. With the run's own seed the scores equal those of its final evaluation. An agent's file has no settings of a
run, even in a run's folder: name its environment, or the settings file, on the command line."""


def main(arguments: Sequence[str]) -> None:
    """Evaluate with the settings of the command line."""
    given = _parse(arguments)
    directory, file = _find(Path(given["run"]), given["best"])
    plan = _plan(directory, file, given)
    devices.check(plan)
    video_path = Path(given["video"]) if "video" in given else None
    if video_path is not None:
        video.check(video_path, plan)
    agent = acting.load_agent(file, plan)
    agent.training = False  # also with exploration: normalizers do not change
    lanes = agent.num_envs if given["stochastic"] else None
    envs = evaluation.environments(plan, given["episodes"], kind=_kind(plan), lanes=lanes)
    resuming.check_spaces(agent, envs, str(file))
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
    add("--best", action="store_true", help="use the agent with the best evaluation instead of the last")
    add("--stochastic", action="store_true", help="let the agent explore")
    add("--video", default=argparse.SUPPRESS, metavar="FILE", help="write a video of one episode: .gif, .mp4")
    add("--env", default=argparse.SUPPRESS, help="environment, for an agent's file")
    add("--config", default=argparse.SUPPRESS, metavar="FILE", help="a run's config.toml, for an agent's file")
    add("--device", default=argparse.SUPPRESS, metavar="NAME", help="cpu, cuda or cuda:1 [default: the run's]")
    add("--agent", default=argparse.SUPPRESS, help="your own agent's class, as package.module:Class")
    add("--network", default=argparse.SUPPRESS, help="what made the agent's network, as package.module:function")
    add("--trust", action="store_true", help="allow the import of the agent and environment named in config.toml")
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
    """Return the run's folder, if `path` is one, and the file of the agent."""
    if path.exists() and not path.is_dir():
        return None, path
    directory = RunDirectory.open(path)
    files = [directory.final, *directory.checkpoint_files(), directory.best]
    if _is_extended(directory):
        files = files[1:]
    for file in [directory.best] if best else files:
        if file.exists():
            return directory, file
    raise RunError(f"{path}: holds no agent yet: go on with python -m dbrrl.train --resume {path}")


def _is_extended(directory: RunDirectory) -> bool:
    """Return whether a finished run has been extended, so that its final agent is not its newest."""
    newest = directory.checkpoint_files()[:1]
    try:
        return bool(newest) and not checkpoint.load(newest[0], kind="run")["loop"]["finished"]
    except (CheckpointError, LookupError, TypeError):
        return False


def _plan(directory: RunDirectory | None, path: Path, given: dict[str, Any]) -> Plan:
    """Return the settings of the run, or of the file given with --config, or else of the command line alone."""
    explicit: dict[str, Any] = {name: given[name] for name in _SETTINGS if name in given}
    if "env" in explicit:
        explicit["eval_env"] = None
    config = Path(given["config"]) if "config" in given else directory.config if directory is not None else None
    if config is not None:
        file = read(config)
        plan = resolve_plan(explicit, file=file, use_preset=False, trusted=given["trust"])
        with said_of({} if "env" in given else file):
            construct.resolve(plan.settings.env)
        return plan
    if "env" not in given:
        raise ConfigError(f"{path}: an agent's file names no environment: add --env NAME, or --config RUN/config.toml")
    name = explicit.get("agent") or acting.read_record(path).get("agent")
    if name not in registry.agent_names() and "agent" not in explicit:
        raise ConfigError(f"{path}: holds the agent {name!r}: add --agent package.module:Class")
    return resolve_plan(explicit | {"agent": name}, use_preset=False)


def _kind(plan: Plan) -> str:
    """Return how the run's training environments are stepped together; evaluations do the same."""
    return construct.choose(construct.Request(plan.env, plan.env_kwargs), plan.settings.vectorization)


def _report(result: evaluation.Evaluation, plan: Plan, file: Path) -> None:
    row = result.row()
    low, high = result.interval()
    count = len(result.returns)  # one or two episodes are too few for an interval
    few = "(one episode)" if count == 1 else "(two episodes)"
    interval = f"(95 % interval {low:.2f} to {high:.2f})" if count > 2 else few
    print(f"{plan.settings.agent} on {plan.settings.env}, {len(result.returns)} episodes, agent: {file}")
    print(
        f"mean {row['mean']:.2f} {interval}  median {row['median']:.2f}  "
        f"stdev {row['stdev']:.2f}  min {row['min']:.2f}  max {row['max']:.2f}"
    )
    if result.successes is not None:
        print(f"success rate {row['success_rate']:.3f} ({result.successes.sum():.0f} of {count} episodes)")


if __name__ == "__main__":
    command.run_process(main)
