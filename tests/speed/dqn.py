"""DQN against Stable-Baselines3, as ratios of medians, in turn.

    python tests/speed/dqn.py [--steps 20000] [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import timing  # noqa: F401 (one BLAS thread, before NumPy)

import numpy as np

from dbrrl.agents.dqn import DQN
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

SMALL = {"hidden_sizes": [120, 84], "batch_size": 128, "update_interval": 10, "updates_per_interval": 1}
TUNED = {"hidden_sizes": [256, 256], "batch_size": 64, "update_interval": 256, "updates_per_interval": 128}

PEER = """
import json, sys, time
import torch
torch.set_num_threads(1)
from stable_baselines3 import DQN
c, steps = json.loads(sys.argv[1]), int(sys.argv[2])
model = DQN("MlpPolicy", "CartPole-v1", learning_rate=2.3e-3, buffer_size=100000, learning_starts=1000, seed=0,
            batch_size=c["batch_size"], train_freq=c["update_interval"], gradient_steps=c["updates_per_interval"],
            target_update_interval=500, policy_kwargs={"net_arch": c["hidden_sizes"]}, device="cpu")
model.learn(2000)
start = time.perf_counter()
model.learn(steps, reset_num_timesteps=False)
print(steps / (time.perf_counter() - start))
"""


def ours_per_second(settings: dict[str, Any], steps: int) -> float:
    """Steps per second of DQN in one CartPole-v1, after a start that does not count."""
    envs = make("CartPole-v1", 1, seed=np.random.SeedSequence(0))
    config = DQN.Config(**settings, learning_rate=2.3e-3, target_update_interval=500)
    agent = DQN(envs.observation_space, envs.action_space, config)
    observation, start = envs.reset(), 0.0
    while agent.steps < steps + 2000:
        if agent.steps == 2000:
            start = time.perf_counter()
        step = envs.step(agent.act(observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, step.info)
        observation = step.observation
    return steps / (time.perf_counter() - start)


def against_peer(python: str, steps: int, name: str, settings: dict[str, Any], bar: float, rounds: int = 3) -> None:
    """Environment steps per second, each side its own process or loop, in turn."""
    rates = []
    for _ in range(rounds):
        ours = ours_per_second(settings, steps)
        command = [python, "-c", PEER, json.dumps(settings), str(steps)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            print("Stable-Baselines3: not installed there, skipped (--sb3 PYTHON names one that has it)")
            print(f"DQN {name}, CartPole-v1: {ours:,.0f} steps/s")
            return
        rates.append((ours, float(result.stdout.split()[-1])))
    a, b = (statistics.median(side) for side in zip(*rates, strict=True))
    print(f"DQN {name}: {a:,.0f} steps/s, Stable-Baselines3 {b:,.0f}, ratio {a / b:.2f} (at least {bar})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--sb3", default=sys.executable)
    options = parser.parse_args()
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    against_peer(options.sb3, options.steps, "120-84, batch 128, one update in 10 steps", SMALL, 5)
    against_peer(options.sb3, options.steps, "256-256, batch 64, 128 updates in 256 steps", TUNED, 3)
