"""DQN and its buffers against Stable-Baselines3 and a plain Python sum tree, as ratios of medians, in turn.

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

from timing import in_turn

import numpy as np

from dbrrl.agents.dqn import DQN
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.buffers import PrioritizedReplayBuffer, ReplayBuffer
from dbrrl.envs import make

SMALL = {"hidden_sizes": [120, 84], "batch_size": 128, "update_interval": 10, "updates_per_interval": 1}
TUNED = {"hidden_sizes": [256, 256], "batch_size": 64, "update_interval": 256, "updates_per_interval": 128}

PEER = """
import json, sys, time
import numpy as np
import torch
torch.set_num_threads(1)
import gymnasium as gym
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
c, steps = json.loads(sys.argv[1]), int(sys.argv[2])
model = DQN("MlpPolicy", "CartPole-v1", learning_rate=2.3e-3, buffer_size=100000, learning_starts=1000, seed=0,
            batch_size=c["batch_size"], train_freq=c["update_interval"], gradient_steps=c["updates_per_interval"],
            target_update_interval=500, policy_kwargs={"net_arch": c["hidden_sizes"]}, device="cpu")
model.learn(2000)
start = time.perf_counter()
model.learn(steps, reset_num_timesteps=False)
rate = steps / (time.perf_counter() - start)
buffer = ReplayBuffer(100000, gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2), device="cpu")
row = np.ones((1, 4), np.float32)
times = []
for _ in range(20):
    start = time.perf_counter()
    for _ in range(256):
        buffer.add(row, row, np.zeros((1, 1), int), np.ones(1), np.zeros(1), [{}])
    buffer.sample(256)
    times.append(time.perf_counter() - start)
print(rate, sorted(times)[10])
"""


class PlainTree:
    """A sum tree as most libraries write it: one number at a time, in Python."""

    def __init__(self, leaves: int) -> None:
        self.leaves, self.nodes = leaves, [0.0] * (2 * leaves)

    def set(self, index: int, value: float) -> None:
        """Set one number and the sums above it."""
        node = index + self.leaves
        self.nodes[node] = value
        while node > 1:
            node //= 2
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def find(self, mass: float) -> int:
        """The index that a mass falls into."""
        node = 1
        while node < self.leaves:
            node *= 2
            if mass >= self.nodes[node]:
                mass -= self.nodes[node]
                node += 1
        return node - self.leaves


def filled(kind: type[ReplayBuffer], rows: int = 100_000) -> Any:
    """A buffer with a past."""
    buffer = kind(rows, 1, [(4,)], [np.float32])
    row = [np.ones((1, 4), np.float32)]
    for _ in range(rows):
        buffer.begin(row, 0)
        buffer.end(row, 1.0, False, False)
    return buffer


def add_and_sample(buffer: Any, rng: np.random.Generator) -> None:
    """256 transitions in and 256 out."""
    row, none = [np.ones((1, 4), np.float32)], np.zeros(1, bool)
    action, reward = np.zeros(1, np.int64), np.ones(1)
    for _ in range(256):
        buffer.begin(row, action)
        buffer.end(row, reward, none, none)
    buffer.sample(256, rng, 0.99)


def against_plain_tree() -> None:
    """Sampling 256 by priority and updating them."""
    buffer, rng, tree = filled(PrioritizedReplayBuffer), np.random.default_rng(0), PlainTree(1 << 17)
    for i in range(100_000):
        tree.set(i, 1.0)

    def ours() -> None:
        batch = buffer.sample(256, rng, 0.99)
        buffer.update(batch.index, batch.reward)

    def theirs() -> None:
        total = tree.nodes[1]
        index = [tree.find((i + u) * total / 256) for i, u in enumerate(rng.random(256).tolist())]
        weights = [(100_000 * tree.nodes[i + tree.leaves] / total) ** -0.4 for i in index]
        max(weights)
        for i in index:
            tree.set(i, (1.0 + 1e-6) ** 0.6)

    a, b = in_turn(ours, theirs, 9, (50, 5))
    print(f"prioritized, 256: {a * 1e6:,.0f} us, plain Python tree {b * 1e6:,.0f} us, ratio {b / a:.1f} (at least 10)")


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
    """Environment steps per second, and the replay buffer, each side its own process or loop, in turn."""
    rates, buffers = [], []
    buffer, rng = filled(ReplayBuffer), np.random.default_rng(0)
    for _ in range(rounds):
        ours = ours_per_second(settings, steps)
        command = [python, "-c", PEER, json.dumps(settings), str(steps)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            print("Stable-Baselines3: not installed there, skipped (--sb3 PYTHON names one that has it)")
            print(f"DQN {name}, CartPole-v1: {ours:,.0f} steps/s")
            return
        rate, seconds = map(float, result.stdout.split()[-2:])
        rates.append((ours, rate))
        own, _ = in_turn(lambda: add_and_sample(buffer, rng), lambda: None, 9, (5, 1))
        buffers.append((own, seconds))
    a, b = (statistics.median(side) for side in zip(*rates, strict=True))
    print(f"DQN {name}: {a:,.0f} steps/s, Stable-Baselines3 {b:,.0f}, ratio {a / b:.2f} (at least {bar})")
    a, b = (statistics.median(side) * 1e6 for side in zip(*buffers, strict=True))
    print(f"replay, 256 in and out: {a:,.0f} us, Stable-Baselines3 {b:,.0f} us, ratio {b / a:.2f} (at least 2)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--sb3", default=sys.executable)
    options = parser.parse_args()
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    against_plain_tree()
    against_peer(options.sb3, options.steps, "120-84, batch 128, one update in 10 steps", SMALL, 5)
    against_peer(options.sb3, options.steps, "256-256, batch 64, 128 updates in 256 steps", TUNED, 3)
