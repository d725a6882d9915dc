"""SAC and TD3 against Stable-Baselines3 and updates written by hand, as ratios of medians, in turn.

    python benchmarks/speed/continuous.py [--rounds 15] [--sb3 PYTHON] [--envs Pendulum-v1 HalfCheetah-v5]

Both sides have 256-256 networks, batches of 256 and one update a step. --sb3 names a Python that has stable-baselines3
installed (its own environment; default: this one, skipped if absent); HalfCheetah-v5 needs MuJoCo on both sides.
"""

import argparse
import sys
from typing import Any

from timing import LEARN, Loop, against_peer, in_turn

import numpy as np
from continuous_floor import SACFloor, TD3Floor

from dbrrl.agents import SAC, TD3
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

SETTINGS: dict[str, Any] = {"hidden_sizes": (256, 256), "batch_size": 256, "learning_starts": 100}
START, TURN = 1_000, 1_024  # steps of both sides before they are timed, and in turn

PEER = (
    f"START = {START}"
    + """
import json, time
import torch
torch.set_num_threads(1)
import stable_baselines3
c = json.loads(sys.argv[1])
kind = getattr(stable_baselines3, c["agent"])
model = kind("MlpPolicy", c["env"], learning_starts=100, batch_size=256, seed=0, device="cpu",
             policy_kwargs={"net_arch": [256, 256]})
model.learn(START, reset_num_timesteps=False)
"""
    + LEARN
)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side")
    parser.add_argument("--sb3", default=sys.executable, help="a Python that has stable-baselines3")
    parser.add_argument("--envs", nargs="+", default=["Pendulum-v1", "HalfCheetah-v5"])
    return parser.parse_args()


def compare(kind: Any, floor_kind: Any, env: str, chosen: argparse.Namespace) -> None:
    """Print a line against the floor, and one against the peer."""
    envs = make(env, 1, seed=np.random.SeedSequence(0))
    agent = kind(envs.observation_space, envs.action_space, kind.Config(**SETTINGS), num_envs=1, seed=0)
    loop = Loop(agent, envs)
    loop.rate(START)
    floor = floor_kind(envs.observation_space.shape[0], envs.action_space.shape[0])
    ours, theirs = in_turn(lambda: agent.update(agent.sample()), floor.update, chosen.rounds, (50, 50))
    name, ratio = f"{kind.__name__} on {env}", f"ratio {ours / theirs:.2f} (at most 1.25)"
    print(f"{name}: update {ours * 1e6:.0f} us, floor {theirs * 1e6:.0f} us, {ratio}")
    settings = {"agent": kind.__name__, "env": env}
    against_peer(name, chosen.sb3, PEER, settings, loop.rate, bar=2, size=TURN, rounds=chosen.rounds)


def main() -> None:
    """Print both lines for each agent and environment."""
    chosen = options()
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    for env in chosen.envs:
        compare(SAC, SACFloor, env, chosen)
        compare(TD3, TD3Floor, env, chosen)


if __name__ == "__main__":
    main()
