"""A2C against Stable-Baselines3 on CartPole-v1: steps per second with 8 environments and the peer's tuned settings.

    python tests/speed/a2c.py [--steps 20000] [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
"""

import argparse
import sys
import time

from timing import against_peer

import numpy as np

from dbrrl.agents.a2c import A2C
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

# What RL Baselines3 Zoo sets for A2C on CartPole-v1, and Stable-Baselines3's own defaults beside it.
TUNED = {"n_envs": 8, "n_steps": 5, "gamma": 0.99, "gae_lambda": 1.0, "learning_rate": 7e-4}

PEER = """
import json, sys, time
import torch
torch.set_num_threads(1)
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
tuned, steps = json.loads(sys.argv[1]), int(sys.argv[2])
env = make_vec_env("CartPole-v1", n_envs=tuned.pop("n_envs"), seed=0)
model = A2C("MlpPolicy", env, ent_coef=0.0, device="cpu", seed=0, **tuned)
model.learn(1000)
start = time.perf_counter()
model.learn(steps)
print(model.num_timesteps / (time.perf_counter() - start))
"""


def ours_per_second(steps: int) -> float:
    """Steps per second of A2C on CartPole-v1 through the runner's own environments, with the peer's settings."""
    tuned = {key: value for key, value in TUNED.items() if key != "n_envs"}
    envs = make("CartPole-v1", TUNED["n_envs"], seed=np.random.SeedSequence(0))
    agent = A2C(envs.observation_space, envs.action_space, A2C.Config(**tuned), num_envs=envs.num_envs, seed=0)
    observation = envs.reset()
    start = time.perf_counter()
    while agent.steps < steps:
        step = envs.step(agent.act(observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, step.info)
        observation = step.observation
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--sb3", default=sys.executable)
    options = parser.parse_args()
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    against_peer("A2C", options.sb3, PEER, TUNED, options.steps, ours_per_second)
