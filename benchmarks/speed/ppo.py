"""PPO against the hand-written NumPy floor and Stable-Baselines3, as ratios of medians, both sides in turn.

    python benchmarks/speed/ppo.py [--rounds 15] [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
"""

from collections.abc import Mapping
from typing import Any

from timing import LEARN, Loop, against_peer, in_turn, peer_options

import numpy as np
from numpy_floor import Floor

from dbrrl.agents.ppo import PPO
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.buffers import Batch
from dbrrl.envs import make

TUNED = {"n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}

PEER = """
import json, time
import torch
torch.set_num_threads(1)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
tuned = json.loads(sys.argv[1])
env = make_vec_env("CartPole-v1", n_envs=tuned.pop("n_envs"), seed=0)
model = PPO("MlpPolicy", env, ent_coef=0.0, learning_rate=lambda left: 1e-3 * left, clip_range=lambda left: 0.2 * left,
            device="cpu", seed=0, **tuned)
"""


def report(what: str, ours: float, floor: float, bar: float) -> None:
    """One line: both times and their ratio."""
    print(f"{what:18s} {ours * 1e6:7.1f} us, floor {floor * 1e6:7.1f} us, ratio {ours / floor:.2f} (at most {bar})")


def agent_for(num_envs: int = 8, **changes: Any) -> PPO:
    """PPO on CartPole's spaces."""
    envs = make("CartPole-v1", num_envs, seed=np.random.SeedSequence(0))
    return PPO(envs.observation_space, envs.action_space, PPO.Config(**changes), num_envs=num_envs, seed=0)


def against_floor() -> None:
    """One minibatch update and one acting step of the real agent, against the floor's."""
    for batch in (64, 128, 256):
        floor, agent = Floor(batch), agent_for(entropy_coef=0.01, batch_size=batch)
        columns = {"log_prob": floor.old, "advantage": floor.adv, "value": floor.ret, "target": floor.ret}
        given = Batch(observation=floor.x, action=floor.a, **columns)
        ours, theirs = in_turn(
            lambda a=agent, b=given: a.gradient_step(b, clip_range=0.2), floor.update, 15, (200, 200)
        )
        report(f"update, batch {batch}", ours, theirs, 1.4)
    floor, agent = Floor(64), agent_for()
    observation = floor.x[:8]
    ours, theirs = in_turn(lambda: agent.act(observation), floor.act, 15, (1000, 1000))
    report("acting on 8", ours, theirs, 1.5)


def loop(settings: Mapping[str, Any] = TUNED) -> Loop:
    """PPO on CartPole-v1 in the runner's own environments, with the peer's settings."""
    tuned = {key: value for key, value in settings.items() if key != "n_envs"}
    schedules = {"learning_rate_schedule": "linear", "clip_range_schedule": "linear", "total_steps": 100_000}
    envs = make("CartPole-v1", settings["n_envs"], seed=np.random.SeedSequence(0))
    return Loop(agent_for(**tuned, **schedules, learning_rate=1e-3, clip_range=0.2), envs)


if __name__ == "__main__":
    options = peer_options(__doc__)
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    against_floor()
    name = "PPO, CartPole-v1, 8 environments"
    against_peer(name, options.sb3, PEER + LEARN, TUNED, loop().rate, bar=5, size=4096, rounds=options.rounds)
