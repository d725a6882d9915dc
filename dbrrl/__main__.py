"""`python -m dbrrl train --agent ppo`, or `dbrrl train ...`: runs a command; without one it lists them."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from dbrrl import benchmark, doctor, evaluate, plot, steer, train
from dbrrl.config.suggestions import did_you_mean
from dbrrl.dashboard import __main__ as dashboard
from dbrrl.errors import ConfigError
from dbrrl.experiment import command, registry

_COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "train": (train.main, "train an agent, evaluate it, save it and draw its learning curve"),
    "evaluate": (evaluate.main, "play episodes with a trained agent, print its score, write a video"),
    "plot": (plot.main, "draw the learning curves of several runs"),
    "benchmark": (benchmark.main, "run a suite of agents, environments and seeds, and report on it"),
    "dashboard": (dashboard.main, "show all runs below a folder in a browser, live and compared"),
    "steer": (steer.main, "stop a run that is going on, save it, evaluate it, or change its settings"),
    "doctor": (doctor.main, "say what a slow or failing installation depends on, and what to do"),
}


def main(arguments: Sequence[str]) -> None:
    """Run the command named first with the other arguments, or list the commands; ConfigError for an unknown one."""
    name = arguments[0] if arguments else "--help"
    if name in ("-V", "--version"):
        print(f"dbrrl {_version()}")
    elif name in ("-h", "--help"):
        print(_help())
    elif name in _COMMANDS:
        _COMMANDS[name][0](arguments[1:])
    else:
        raise ConfigError(f"unknown command {name!r}{did_you_mean(name, _COMMANDS)}")


def script() -> NoReturn:
    """Run the installed command `dbrrl`."""
    command.run_process(main)


def _version() -> str:
    return str(sys.modules["dbrrl"].__version__)


def _help() -> str:
    lines = [f"  python -m dbrrl {name:<10} {text}" for name, (_, text) in _COMMANDS.items()]
    return "\n".join(
        [
            f"dbrrl {_version()}: deep reinforcement learning on NumPy and CuPy",
            "",
            *lines,
            "",
            f"Agents: {', '.join(registry.agent_names())}.",
            "Each command has --help; python -m dbrrl --version prints the version.",
            "To start: python -m dbrrl train --agent ppo --env CartPole-v1",
        ]
    )


if __name__ == "__main__":
    script()
