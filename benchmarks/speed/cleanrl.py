"""PPO against CleanRL's `ppo.py` on CartPole-v1 with CleanRL's default settings: steps per second, both in turn.

    python benchmarks/speed/cleanrl.py --script ppo.py --cleanrl PYTHON [--rounds 7]

`ppo.py` is in the wheel of CleanRL 1.2.0 (`pip download cleanrl==1.2.0 --no-deps --ignore-requires-python`, unzipped);
PYTHON has what it imports: `pip install torch gym==0.23.1 'numpy<2' pygame-ce tensorboard 'setuptools<80'`.
"""

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from timing import Loop, medians

import numpy as np

from dbrrl.agents.ppo import PPO
from dbrrl.backend import blas_threads, set_blas_threads
from dbrrl.envs import make

STEPS = 20_480  # of a turn: 40 rollouts of 4 environments and 128 steps
# Beside what our defaults share with CleanRL's. Its 0.5 of the value loss halves the squared error once more.
SETTINGS = {
    "n_steps": 128, "batch_size": 128, "n_epochs": 4, "learning_rate": 2.5e-4, "learning_rate_schedule": "linear",
    "clip_range_value": 0.2, "entropy_coef": 0.01, "value_coef": 0.25,
}  # fmt: skip


def theirs(python: str, script: Path) -> float:
    """Steps per second that CleanRL's script prints at its end."""
    command = [python, str(script), "--cuda", "False", "--total-timesteps", str(STEPS)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as folder:  # it writes its TensorBoard events where it runs
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    printed = re.findall(r"^SPS: (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not printed:
        raise SystemExit(f"{script} failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return float(printed[-1])


def ours() -> float:
    """Steps per second of PPO with the same settings."""
    envs = make("CartPole-v1", 4, seed=np.random.SeedSequence(0))
    config = PPO.Config(**SETTINGS, total_steps=STEPS)
    return Loop(PPO(envs.observation_space, envs.action_space, config, num_envs=4, seed=0), envs).rate(STEPS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--cleanrl", required=True, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}")
    pairs = [(ours(), theirs(options.cleanrl, options.script.resolve())) for _ in range(options.rounds)]
    own, other, ratio = medians(pairs)
    low, high = min(a / b for a, b in pairs), max(a / b for a, b in pairs)
    rates = f"{own:,.0f} steps/s, CleanRL {other:,.0f}"
    print(f"PPO, CartPole-v1, 4 environments: {rates}, ratio {ratio:.2f} ({low:.1f} to {high:.1f})")
