"""Steps per second: our batched classic control against Gymnasium's SyncVectorEnv; the adapter's cost.

    python benchmarks/speed/envs.py

Both sides take turns in one run; each figure is a median over rounds.
"""

import argparse
from collections.abc import Callable
from typing import Any

from timing import in_turn

import gymnasium as gym
import numpy as np

from dbrrl.envs import make
from dbrrl.envs.registration import BATCHED


def stepper(env: Any, actions: np.ndarray) -> Callable[[], Any]:
    """A call that takes the next step of a vector environment, through a fixed cycle of random actions."""
    env.reset(seed=0)
    turn = iter(range(10**9))
    return lambda: env.step(actions[next(turn) % len(actions)])


def compare(env_id: str, num_envs: int, rounds: int) -> float:
    """Ratio of times per vector step: Gymnasium's sync vector environment over ours."""
    ours = gym.make_vec(f"dbrrl/{env_id}", num_envs)
    theirs = gym.make_vec(env_id, num_envs, vectorization_mode="sync")
    ours.action_space.seed(0)
    actions = np.stack([ours.action_space.sample() for _ in range(16)])
    our_time, their_time = in_turn(stepper(ours, actions), stepper(theirs, actions), rounds, (60, 2))
    ratio = their_time / our_time
    print(f"{env_id:26s} {num_envs:6d} {our_time * 1e6:12.1f} {their_time * 1e6:12.1f} {ratio:10.1f}")
    return ratio


def adapter(num_envs: int, rounds: int) -> float:
    """Microseconds that `Environments.step` adds to a vector step of CartPole."""
    wrapped = make("CartPole-v1", num_envs, seed=np.random.SeedSequence(0))
    wrapped.reset()
    bare = gym.make_vec("dbrrl/CartPole-v1", num_envs)
    actions = np.random.default_rng(0).integers(0, 2, (64, num_envs))
    turn = iter(range(10**9))
    with_adapter, without = in_turn(
        lambda: wrapped.step(actions[next(turn) % 64]), stepper(bare, actions), rounds, (3000, 3000)
    )
    bare_us, adapted_us = without * 1e6, with_adapter * 1e6
    print(f"CartPole-v1, {num_envs} copies: {bare_us:.1f} us a vector step bare, {adapted_us:.1f} us adapted")
    return adapted_us - bare_us


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{'':26s} {'copies':>6s} {'ours us':>12s} {'sync us':>12s} {'ratio':>10s}")
    for num_envs in (8, 1024):
        for env_id in BATCHED:
            compare(env_id, num_envs, rounds)
    print(f"adapter: {adapter(8, rounds):.1f} us a vector step")


if __name__ == "__main__":
    main()
