"""The default command, whole process, beside Stable-Baselines3's first 20,000 steps; and the cost of importing.

OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/speed/command.py [--rounds 5] [--sb3 PYTHON]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile

import timing

PEER = """
import torch
torch.set_num_threads(1)
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
model = PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=0), n_steps=32, batch_size=256, gae_lambda=0.8,
            gamma=0.98, n_epochs=20, ent_coef=0.0, learning_rate=lambda left: 1e-3 * left,
            clip_range=lambda left: 0.2 * left, device="cpu", seed=0)
model.learn(20_000)
"""


def seconds(command: list[str]) -> float | None:
    """Wall time of a whole process; None if it failed."""
    results: list[int] = []
    elapsed = timing.seconds(lambda: results.append(subprocess.run(command, capture_output=True).returncode), 1)
    return elapsed if results == [0] else None


def in_turn(a: list[str], b: list[str], rounds: int) -> tuple[float, float] | None:
    """Median wall times of two commands that alternate; None if one of them fails."""
    pairs = [(seconds(a), seconds(b)) for _ in range(rounds)]
    ours, theirs = [x for x, _ in pairs if x is not None], [y for _, y in pairs if y is not None]
    return (statistics.median(ours), statistics.median(theirs)) if len(ours) == len(theirs) == rounds else None


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sb3", default=sys.executable)
    options = parser.parse_args()
    imports = in_turn(
        [sys.executable, "-c", "import dbrrl"], [sys.executable, "-c", "import gymnasium"], 4 * options.rounds
    )
    assert imports is not None, "import dbrrl or import gymnasium failed"
    a, b = imports
    print(f"import dbrrl {a:.3f} s, import gymnasium {b:.3f} s, ratio {a / b:.2f} (at most 1.3)")
    with tempfile.TemporaryDirectory() as out:
        train = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", "--out", out]
        whole = in_turn(train, [options.sb3, "-c", PEER], options.rounds)
        ours = seconds(train) if whole is None else whole[0]
    if whole is None:
        print("Stable-Baselines3: not installed there, skipped (--sb3 PYTHON names one that has it)")
        print(f"dbrrl.train on CartPole-v1, whole process: {ours:.2f} s")
    else:
        a, b = whole
        print(f"dbrrl.train to the end {a:.2f} s, Stable-Baselines3's first 20,000 steps {b:.2f} s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
