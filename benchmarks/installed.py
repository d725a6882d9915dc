"""Size and import time of an installation: megabytes that pip adds to an environment, seconds of the first import.

    python benchmarks/installed.py [--only dbrrl ...] [--rounds 9]

Makes an environment for each side and installs into it from the package index, PyTorch with CUDA as pip does on Linux
(some 6 GB each). CleanRL is a folder of scripts: its side is what its `ppo.py` imports (release 1.2.0).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIDES = {
    "dbrrl": ([str(ROOT)], "import dbrrl"),
    "Stable-Baselines3": (["stable-baselines3"], "import stable_baselines3"),
    "CleanRL": (
        ["torch", "gym==0.23.1", "numpy<2", "pygame-ce", "tensorboard", "setuptools<80"],
        "import gym, torch, torch.nn, torch.optim, torch.distributions.categorical, torch.utils.tensorboard",
    ),
    "Gymnasium": (["gymnasium"], "import gymnasium"),
}


def megabytes(folder: Path) -> float:
    """Size of all files below a folder."""
    return sum(os.lstat(Path(place) / name).st_size for place, _, names in os.walk(folder) for name in names) / 1e6


def install(folder: Path, packages: list[str]) -> tuple[Path, float]:
    """Make an environment with the packages: its Python, and the megabytes that they took."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python, before = folder / "bin" / "python", megabytes(folder)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True, stderr=subprocess.DEVNULL)
    return python, megabytes(folder) - before


def seconds(python: Path, code: str) -> float:
    """Wall time of a process that runs `code`, less that of one which runs nothing."""
    times = []
    for text in (code, ""):
        began = time.perf_counter()
        subprocess.run([str(python), "-W", "ignore", "-c", text], check=True, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[0] - times[1]


def main() -> None:
    """Print one line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = {name: install(Path(folder) / name, SIDES[name][0]) for name in options.only}
        rounds = [{name: seconds(made[name][0], SIDES[name][1]) for name in made} for _ in range(options.rounds + 1)]
    for name, (_, size) in made.items():
        median = statistics.median(times[name] for times in rounds[1:])  # the first one compiles
        print(f"{name:18} {size:6,.0f} MB installed, import {median:.2f} s")


if __name__ == "__main__":
    main()
