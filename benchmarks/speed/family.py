"""The DQN family with its presets on CartPole-v1: one update, and environment steps per second with all that belongs.

python benchmarks/speed/family.py [AGENT ...]
"""

import statistics
import sys
import time

from timing import seconds

import numpy as np

from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make
from dbrrl.experiment.registry import agent_class, preset

AGENTS = ("dqn", "double_dqn", "c51", "qr_dqn", "iqn", "rainbow")


def measure(name: str, start: int = 2000, steps: int = 4000, rounds: int = 9) -> tuple[float, float]:
    """Microseconds of an update, and environment steps per second after `start` of them."""
    settings = preset(name, "CartPole-v1")
    num_envs, total_steps = settings.pop("num_envs"), settings.pop("steps")
    envs = make("CartPole-v1", num_envs, seed=np.random.SeedSequence(0))
    kind = agent_class(name)
    config = kind.Config.from_dict(settings | {"total_steps": total_steps})
    agent = kind(envs.observation_space, envs.action_space, config, num_envs=num_envs)
    envs.reset()
    began = 0.0
    for step in range(0, start + steps, num_envs):
        if step >= start and not began:
            began = time.perf_counter()
        result = envs.step(agent.act(envs.observation))
        agent.observe(result.next_observation, result.reward, result.terminated, result.truncated)
    rate = steps / (time.perf_counter() - began)
    return statistics.median(seconds(lambda: agent.update(agent.sample()), 20) for _ in range(rounds)) * 1e6, rate


if __name__ == "__main__":
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    for name in sys.argv[1:] or AGENTS:
        update, rate = measure(name)
        print(f"{name:12} update {update:7,.0f} us, {rate:7,.0f} steps/s")
