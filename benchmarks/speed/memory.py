"""Memory of a long run: DQN on Pong from pixels, resident megabytes every few thousand steps.

    python benchmarks/speed/memory.py [--steps 100000]     (with the extra atari)

The replay buffer holds 20,000 transitions: until it is full memory grows, afterwards it must not.
"""

import argparse
import resource
from pathlib import Path

import timing  # noqa: F401 (one BLAS thread, before NumPy)

from dbrrl import Experiment
from dbrrl.experiment.callbacks import Call, Running

EVERY = 5000


def tell(run: Running) -> None:
    """One line: steps, resident memory now, and at most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = int(status["VmRSS"].split()[0]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{run.steps:>9,} steps  {now / 1024:6.0f} MB, at most {most / 1024:.0f} MB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    steps = parser.parse_args().steps
    Experiment(
        "dqn", "ALE/Pong-v5", seed=0, steps=steps, buffer_size=20_000, learning_starts=1000, eval_interval=10**9,
        final_episodes=1, curve=False, tensorboard=False, progress=False, threads=1, callbacks=[Call(tell, EVERY)],
    ).run()  # fmt: skip
