"""Replay buffers against Stable-Baselines3's and a plain Python sum tree: transitions in and out, ratios of medians.

    python benchmarks/speed/replay.py [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
What is in turn: 256 transitions are added, one step of the environments at a time, then a batch of 256 is drawn; and a
batch of 256 is drawn by priority, then updated.
"""

import argparse
import statistics
import sys
from typing import Any

from timing import in_turn, medians, seconds, with_peer

import numpy as np

from dbrrl.buffers import PrioritizedReplayBuffer, ReplayBuffer

N = 256

PEER = """
import time
import numpy as np, torch
import gymnasium as gym
from stable_baselines3.common.buffers import ReplayBuffer
torch.set_num_threads(1)
rows, envs, image = map(int, sys.argv[1:])
space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8) if image else gym.spaces.Box(-1, 1, (4,))
buffer = ReplayBuffer(rows, space, gym.spaces.Discrete(2), device="cpu", n_envs=envs)
row = np.ones((envs, *space.shape), space.dtype)
action, reward, done, infos = np.zeros((envs, 1), int), np.ones(envs), np.zeros(envs), [{} for _ in range(envs)]
for _ in range(rows // envs):
    buffer.add(row, row, action, reward, done, infos)


def turn(repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        for _ in range(256 // envs):
            buffer.add(row, row, action, reward, done, infos)
        buffer.sample(256)
    return (time.perf_counter() - start) / repeats
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


class Story:
    """A buffer with a past, and the step that is added to it."""

    def __init__(self, kind: type[Any], rows: int, envs: int = 1, image: bool = False) -> None:
        shape, dtype = ((4, 84, 84), np.uint8) if image else ((4,), np.float32)
        self.buffer = kind(rows, envs, [shape], [dtype], frame_stack=4 if image else 1)
        self.row, self.none = [np.ones((envs, *shape), dtype)], np.zeros(envs, bool)
        self.action, self.reward = np.zeros(envs, np.int64), np.ones(envs)
        self.add(rows)

    def add(self, count: int) -> None:
        """So many transitions."""
        buffer, row, none = self.buffer, self.row, self.none
        for _ in range(count // buffer.num_envs):
            buffer.add_action(row, self.action)
            buffer.add_outcome(row, self.reward, none, none)


def against_plain_tree(rows: int = 100_000) -> None:
    """Drawing 256 by priority and updating them."""
    buffer, rng, tree = Story(PrioritizedReplayBuffer, rows).buffer, np.random.default_rng(0), PlainTree(1 << 17)
    for i in range(rows):
        tree.set(i, 1.0)

    def ours() -> None:
        batch = buffer.sample(N, rng, 0.99)
        buffer.update_priorities(batch.index, batch.reward)

    def theirs() -> None:
        total = tree.nodes[1]
        index = [tree.find((i + u) * total / N) for i, u in enumerate(rng.random(N).tolist())]
        weights = [(rows * tree.nodes[i + tree.leaves] / total) ** -0.4 for i in index]
        max(weights)
        for i in index:
            tree.set(i, (1.0 + 1e-6) ** 0.6)

    a, b = in_turn(ours, theirs, 9, (50, 5))
    ratio = f"ratio {b / a:.1f} (at least 10)"
    print(f"prioritized, {rows:,} rows: {a * 1e6:,.0f} us, plain Python tree {b * 1e6:,.0f} us, {ratio}")


def against_peer(python: str, rows: int, envs: int, image: bool, rounds: int = 25) -> None:
    """Adding 256 and drawing 256, each side its own process or loop, in turn."""
    story, rng = Story(ReplayBuffer, rows, envs, image), np.random.default_rng(0)

    def ours() -> None:
        story.add(N)
        story.buffer.sample(N, rng, 0.99)

    name = f"{rows:,} rows of {'4 x 84 x 84 bytes' if image else '4 numbers'}, {envs} environments"
    arguments = [str(rows), str(envs), str(int(image))]
    pairs = with_peer(name, python, PEER, arguments, lambda repeats: seconds(ours, repeats), 20, rounds)
    if not pairs:
        print(f"{name}: {statistics.median(seconds(ours, 20) for _ in range(rounds)) * 1e6:,.0f} us")
        return
    a, b, ratio = medians(pairs)
    print(f"{name}: {a * 1e6:,.0f} us, Stable-Baselines3 {b * 1e6:,.0f} us, ratio {1 / ratio:.2f} (at least 2)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sb3", default=sys.executable)
    options = parser.parse_args()
    against_plain_tree()
    against_peer(options.sb3, 100_000, 1, image=False)
    against_peer(options.sb3, 100_000, 8, image=False)
    against_peer(options.sb3, 5_000, 1, image=True)
