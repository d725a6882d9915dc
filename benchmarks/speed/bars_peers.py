"""The other sides of bars.py that no script here has of its own: PyTorch, XLA, and earlier code of dbrrl."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import Loop, PeerError

import numpy as np

from dbrrl import agents
from dbrrl.envs import make

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

_TIMES = """

def turn(calls):
    start = time.perf_counter()
    for _ in range(calls):
        for p in parameters:
            p.grad = None
        run().sum().backward()
    return (time.perf_counter() - start) / calls
"""

CONV = (
    """
import time, torch
torch.set_num_threads(1)
nn = torch.nn
shapes = ((4, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1))
layers = [m for i, o, k, s in shapes for m in (nn.Conv2d(i, o, k, s), nn.ReLU())]
net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU())
images, parameters = torch.randint(0, 256, (32, 4, 84, 84), dtype=torch.uint8), list(net.parameters())
run = lambda: net(images.float() / 255)
"""
    + _TIMES
)

LSTM = (
    """
import time, torch
torch.set_num_threads(1)
model, x = torch.nn.LSTM(8, 64), torch.randn(128, int(sys.argv[1]), 8)
parameters = list(model.parameters())
run = lambda: model(x)[0]
"""
    + _TIMES
)

_RUNS = """

def turn(steps):
    global carry
    start = time.perf_counter()
    carry, _ = jax.block_until_ready(g(carry))
    return U * T * B / (time.perf_counter() - start)
"""

EARLIER = """
import os
folder, speed, name, os.environ["DBRRL_KERNELS"] = sys.argv[1:]
sys.path.append(speed)
import timing
sys.path.insert(0, folder)
import bars_peers
turn = bars_peers.continuous(name).rate
"""


def jax(reference: Path) -> str:
    """The script of PPO compiled whole: the program that is compiled once is run again in each turn."""
    try:
        return (reference / "jax_ppo.py").read_text() + _RUNS
    except OSError as error:
        raise PeerError(f"{error} (--reference FOLDER has jax_ppo.py)") from error


def continuous(name: str) -> Loop:
    """An agent on Pendulum-v1 with 256-256 networks and batches of 256, after a start that does not count."""
    envs, kind = make("Pendulum-v1", 1, seed=np.random.SeedSequence(0)), getattr(agents, name)
    config = kind.Config(hidden_sizes=(256, 256), batch_size=256, learning_starts=100)
    loop = Loop(kind(envs.observation_space, envs.action_space, config, num_envs=1, seed=0), envs)
    loop.rate(500)
    return loop


def earlier(name: str, before: Path | None) -> tuple[str, ...]:
    """Arguments of `EARLIER`: the code of a checkout, or this one without its kernels."""
    return str(before or ROOT), str(HERE), name, "auto" if before else "numpy"


def command(folder: Path, kernels: str) -> Callable[[], Any]:
    """The default command as a process that ends when its run has, by the code of a checkout."""
    ran = {**os.environ, "DBRRL_KERNELS": kernels, "PYTHONPATH": str(folder)}

    def run() -> None:
        with tempfile.TemporaryDirectory() as out:
            train = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", "--out", out]
            subprocess.run(train, env=ran, check=True, capture_output=True, cwd=out)

    return run
