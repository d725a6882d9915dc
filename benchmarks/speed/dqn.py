"""DQN against Stable-Baselines3 and an update written by hand, as ratios of medians, in turn.

    python benchmarks/speed/dqn.py [--rounds 15] [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
"""

import statistics
from typing import Any

from timing import LEARN, Loop, against_peer, in_turn, peer_options

import numpy as np
from dqn_floor import Floor

from dbrrl.agents.dqn import DQN
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

SMALL = {"hidden_sizes": [120, 84], "batch_size": 128, "update_interval": 10, "updates_per_interval": 1}
TUNED = {"hidden_sizes": [256, 256], "batch_size": 64, "update_interval": 256, "updates_per_interval": 128}

START = 2000  # steps of both sides before they are timed
TURN = 4096  # steps in turn: long enough that the caches, cold after the other side's turn, do not count

PEER = (
    f"START = {START}"
    + """
import json, time
import torch
torch.set_num_threads(1)
from stable_baselines3 import DQN
c = json.loads(sys.argv[1])
model = DQN("MlpPolicy", "CartPole-v1", learning_rate=2.3e-3, buffer_size=100000, learning_starts=1000, seed=0,
            batch_size=c["batch_size"], train_freq=c["update_interval"], gradient_steps=c["updates_per_interval"],
            target_update_interval=500, policy_kwargs={"net_arch": c["hidden_sizes"]}, device="cpu")
model.learn(START, reset_num_timesteps=False)
"""
    + LEARN
)


def loop(settings: dict[str, Any]) -> Loop:
    """DQN in one CartPole-v1 with the same settings, after a start that does not count."""
    envs = make("CartPole-v1", 1, seed=np.random.SeedSequence(0))
    config = DQN.Config(**settings, learning_rate=2.3e-3, target_update_interval=500, epsilon_steps=START // 10)
    found = Loop(DQN(envs.observation_space, envs.action_space, config), envs)
    found.rate(START)
    return found


def against_floor(name: str, settings: dict[str, Any]) -> None:
    """One update of the real agent against the hand-written one; a step of the loop without updates, and with those."""
    real, floor = loop(settings), Floor(settings["hidden_sizes"], settings["batch_size"])
    ours, theirs = in_turn(lambda: real.agent.update(real.agent.sample()), floor.update, 15, (100, 100))
    real.agent.update = lambda batch: {}
    real.agent.sample = lambda: None
    step = statistics.median(1e6 / real.rate(1024) for _ in range(15))
    ratio = f"ratio {ours / theirs:.2f}"
    print(f"{name}: update {ours * 1e6:.1f} us, floor {theirs * 1e6:.1f} us, {ratio}; a step without {step:.1f} us")
    share = settings["updates_per_interval"] / settings["update_interval"]
    print(f"{name}: {1e6 / (step + share * theirs * 1e6):,.0f} steps/s is the most with the floor's update")


if __name__ == "__main__":
    options = peer_options(__doc__)
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    sides = [
        ("DQN 120-84, batch 128, one update in 10 steps", SMALL, 5),
        ("DQN 256-256, batch 64, 128 updates in 256 steps", TUNED, 3),
    ]
    for name, settings, bar in sides:
        against_floor(name, settings)
        rate = loop(settings).rate
        against_peer(name, options.sb3, PEER, settings, rate, bar=bar, size=TURN, rounds=options.rounds)
