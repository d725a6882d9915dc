"""Which of the library's files one update of PPO, A2C and DQN enters, by tracing, and how many lines each has.

    python benchmarks/update_path.py

Two traces, on CartPole's spaces with 8 environments: of the agent's `update`, which turns a rollout or a batch into
gradient steps, and of the `observe` that makes it due, which stores a transition first. Counted apart are the page
with the files of learning/, networks/ and buffers/, the formulas (losses, returns, schedules, normalization), and the
core (autodiff, backend, functional, nn, optim, distributions).
"""

import functools
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import agents
from dbrrl.config import Config

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("learning", "networks", "buffers")
CORE = ("autodiff", "backend", "compiled", "kernels", "nn", "optim", "distributions")
GROUPS = ("page and learning/, networks/, buffers/", "formulas", "core")
AGENTS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 8, "batch_size": 32, "n_epochs": 1},
    "A2C": {"n_steps": 8},
    "DQN": {"learning_starts": 0, "update_interval": 8, "batch_size": 32},
}


@functools.cache
def ours(filename: str) -> str:
    """Return the path of a file of ours from the root; "" for any other."""
    path = Path(filename).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) and path.is_file() else ""


def entered(name: str, method: str) -> Counter[str]:
    """Return lines executed in each file, by path from the root, during one update of the agent called `name`.

    method: "update" traces the agent's update alone, "observe" the call that makes it due, which stores a transition,
        finds that an update is due and prepares its data.
    """
    space, actions = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)
    kind = getattr(agents, name)
    config: Config = kind.Config(**AGENTS[name])
    agent = kind(space, actions, config, num_envs=8, seed=0)
    rng, ended = np.random.default_rng(0), np.zeros(8, bool)
    lines: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        path = ours(frame.f_code.co_filename)
        if path and event == "line":
            lines[path] += 1
        return trace if path else None

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            lines.clear()
            sys.settrace(trace)
            try:
                return function(*arguments)
            finally:
                sys.settrace(None)

        return call

    setattr(agent, method, traced(getattr(agent, method)))
    before = agent.num_updates
    while agent.num_updates == before:
        agent.act(rng.uniform(-1, 1, (8, 4)).astype(np.float32))
        agent.observe(rng.uniform(-1, 1, (8, 4)).astype(np.float32), np.ones(8), ended, ended)
    return lines


def group(path: str) -> str:
    """Return which of GROUPS a file belongs to."""
    room = Path(path).parts[1] if len(Path(path).parts) > 2 else ""
    if room in CORE or path == "dbrrl/functional.py":
        return "core"
    return "page and learning/, networks/, buffers/" if room in ROOMS or path.startswith("agents/") else "formulas"


def lines_of(path: str) -> int:
    """Return how many lines a file has, by its path from the root."""
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def main() -> None:
    """Print a table for each agent."""
    for name, method in itertools.product(AGENTS, ("update", "observe")):
        found = entered(name, method)
        for label in GROUPS:
            paths = [path for path in sorted(found, key=lambda path: -found[path]) if group(path) == label]
            print(f"{name}.{method}, {label}: {len(paths)} files, {sum(map(lines_of, paths)):,} lines")
            for path in paths:
                print(f"    {path:42} {lines_of(path):4} lines, {found[path]:5} executed")


if __name__ == "__main__":
    main()
