"""Which of the library's files one update of PPO, A2C and DQN enters, by tracing, and how many lines each has.

    python benchmarks/update_path.py

The trace begins with the `observe` that makes the update due and ends when it returns, on CartPole's spaces with 8
environments. Files of the core (autodiff, backend, functional, nn, optim, distributions) are counted apart from the
reinforcement learning.
"""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import agents
from dbrrl.config import Config

ROOT = Path(__file__).resolve().parent.parent
CORE = ("autodiff", "backend", "kernels", "nn", "optim", "distributions")
AGENTS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 8, "batch_size": 32, "n_epochs": 2},
    "A2C": {"n_steps": 8},
    "DQN": {"learning_starts": 0, "update_interval": 8, "batch_size": 32},
}


def entered(name: str) -> Counter[str]:
    """Return lines executed in each file, by path from the root, during one update of the agent called `name`."""
    space, actions = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)
    kind = getattr(agents, name)
    config: Config = kind.Config(**AGENTS[name])
    agent = kind(space, actions, config, num_envs=8, seed=0)
    rng, ended = np.random.default_rng(0), np.zeros(8, bool)
    lines: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        path = Path(frame.f_code.co_filename).resolve()
        if not path.is_relative_to(ROOT) or not path.is_file():
            return None
        if event == "line":
            lines[path.relative_to(ROOT).as_posix()] += 1
        return trace

    while True:
        agent.act(rng.uniform(-1, 1, (8, 4)).astype(np.float32))
        before = agent.num_updates
        lines.clear()
        sys.settrace(trace)
        try:
            agent.observe(rng.uniform(-1, 1, (8, 4)).astype(np.float32), np.ones(8), ended, ended)
        finally:
            sys.settrace(None)
        if agent.num_updates > before:
            return lines


def main() -> None:
    """Print a table for each agent."""
    for name in AGENTS:
        found = entered(name)
        parts: dict[bool, list[str]] = {False: [], True: []}
        for path in sorted(found):
            room = Path(path).parts[1] if len(Path(path).parts) > 2 else ""
            parts[room in CORE or path == "dbrrl/functional.py"].append(path)
        for core, label in ((False, "reinforcement learning"), (True, "core")):
            sizes = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in parts[core]}
            print(f"{name}, {label}: {len(sizes)} files, {sum(sizes.values()):,} lines")
            for path in sorted(sizes, key=lambda path: -found[path]):
                print(f"    {path:42} {sizes[path]:4} lines, {found[path]:5} executed")


if __name__ == "__main__":
    main()
