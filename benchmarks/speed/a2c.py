"""A2C against Stable-Baselines3 on CartPole-v1: steps per second with 8 environments and the peer's tuned settings.

    python benchmarks/speed/a2c.py [--rounds 15] [--sb3 PYTHON]

--sb3 names a Python that has stable-baselines3 installed (its own environment; default: this one, skipped if absent).
"""

from typing import Any

from timing import LEARN, Loop, against_peer, peer_options

import numpy as np

from dbrrl.agents.a2c import A2C
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

# What RL Baselines3 Zoo sets for A2C on CartPole-v1, and Stable-Baselines3's own defaults beside it.
TUNED = {"n_envs": 8, "n_steps": 5, "gamma": 0.99, "gae_lambda": 1.0, "learning_rate": 7e-4}

PEER = """
import json, time
import torch
torch.set_num_threads(1)
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
tuned = json.loads(sys.argv[1])
env = make_vec_env("CartPole-v1", n_envs=tuned.pop("n_envs"), seed=0)
model = A2C("MlpPolicy", env, ent_coef=0.0, device="cpu", seed=0, **tuned)
"""


def loop() -> Loop:
    """A2C on CartPole-v1 in the runner's own environments, with the peer's settings."""
    tuned: Any = {key: value for key, value in TUNED.items() if key != "n_envs"} | {"entropy_coef": 0.0}
    envs = make("CartPole-v1", TUNED["n_envs"], seed=np.random.SeedSequence(0))
    return Loop(A2C(envs.observation_space, envs.action_space, A2C.Config(**tuned), num_envs=8, seed=0), envs)


if __name__ == "__main__":
    options = peer_options(__doc__)
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    name = "A2C, CartPole-v1, 8 environments"
    against_peer(name, options.sb3, PEER + LEARN, TUNED, loop().rate, bar=5, size=4000, rounds=options.rounds)
