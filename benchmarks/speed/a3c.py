"""A3C's steps per second with two workers against one, on CartPole-v1 through the runner; start of processes aside.

    python benchmarks/speed/a3c.py [--steps 60000] [--rounds 3]

Needs two cores with nothing else to do.
"""

import argparse
import statistics

import timing  # noqa: F401

from dbrrl.experiment import Experiment


def per_second(workers: int, steps: int) -> float:
    """Environment steps per second, from the first row of progress to the last."""
    quiet = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 1, "eval_interval": 10**9}
    settings = {**quiet, "num_envs": workers, "steps": steps, "log_interval": steps // 10}
    rows = Experiment("a3c", "CartPole-v1", **settings).run().progress
    return (rows[-1]["steps"] - rows[0]["steps"]) / (rows[-1]["elapsed"] - rows[0]["elapsed"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pairs = [(per_second(2, options.steps), per_second(1, options.steps)) for _ in range(options.rounds)]
    two, one = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"A3C: {two:,.0f} steps/s with 2 workers, {one:,.0f} with 1, ratio {two / one:.2f} (at least 1.7)")
