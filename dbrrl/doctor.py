"""`python -m dbrrl.doctor` says what a slow or failing installation depends on, and what to do about it.

Versions, processor, BLAS and its threads, compiled kernels and why they are or are not used, GPU and driver, optional
parts that are missing, and a check of two seconds that compares the speed here with the usual one. Nothing is changed.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl import backend
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.envs.cartpole import CartPole
from dbrrl.errors import DbrrlError
from dbrrl.experiment import command, registry
from dbrrl.nn.module import Parameter
from dbrrl.optim import Adam

_REQUIRED = ("gymnasium", "matplotlib", "numpy", "safetensors", "tqdm")
_OPTIONAL = {  # by the extra that installs them: modules, and what they are for
    "mujoco": (("mujoco",), "MuJoCo's environments"),
    "atari": (("ale_py", "cv2"), "Atari games"),
    "box2d": (("Box2D", "pygame"), "LunarLander, BipedalWalker, CarRacing"),
    "video": (("moviepy", "pygame"), "videos of episodes"),
    "tensorboard": (("tensorboard",), "logs for TensorBoard"),
    "wandb": (("wandb",), "logs for Weights & Biases"),
    "mlflow": (("mlflow",), "logs for MLflow"),
    "dashboard": (("msgspec", "starlette", "uvicorn"), "all runs in a browser"),
}
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "DBRRL_KERNELS")
BLOCK = 0.04  # seconds: longer than the steps of the clock of a processor's time
SLOW = 2.0  # times the usual, from which a cure is named


@dataclass(frozen=True)
class Finding:
    """One line of the report: a topic, what was found, and where something is wrong or missing what to do about it."""

    topic: str
    text: str
    cure: str = ""


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = command.Parser(prog="python -m dbrrl.doctor", description=__doc__)
    parser.add_argument("--skip-speed", action="store_true", help="leave out the check of speed")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_all(arguments)
    parts: list[Callable[[], Iterator[Finding]]] = [versions, processor, kernels, gpu, optional]
    cures = 0
    for part in parts if given["skip_speed"] else [*parts, speed]:
        for finding in part():
            print(f"{'!' if finding.cure else ' '} {finding.topic:<12} {finding.text}", flush=True)
            if finding.cure:
                print(f"{'':15}-> {finding.cure}")
                cures += 1
    print(f"{_plural(cures, 'cure')} named, after an arrow." if cures else "Nothing is wrong.")


def versions() -> Iterator[Finding]:
    """What is installed, and from where."""
    package = Path(__file__).parent
    yield Finding("dbrrl", f"{sys.modules['dbrrl'].__version__} in {package}")
    yield Finding("Python", f"{platform.python_version()} in {sys.prefix}")
    found = {name: _version(name) for name in _REQUIRED}
    missing = [name for name, version in found.items() if not version]
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    yield Finding("libraries", text, f"python -m pip install {' '.join(missing)}" if missing else "")


def processor() -> Iterator[Finding]:
    """The processor, how busy it is, and the matrix products and their threads."""
    record = backend.machine_record()
    cores = backend.cpu_count()
    yield Finding("processor", f"{record['cpu']}, {_plural(cores, 'core')} for this process, {record['system']}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > cores + 0.5
    text = f"{load:.1f} programs at work on average in the last minute"
    yield Finding("load", text, "other programs use the cores: stop them before you measure anything" if busy else "")
    threads = _plural(backend.blas_threads(), "thread")
    yield Finding("BLAS", f"{record['blas']}, {threads}; each agent uses those that it is worth")
    chosen = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    cure = "OPENBLAS_CORETYPE may choose slow matrix products: unset it" if os.environ.get("OPENBLAS_CORETYPE") else ""
    yield Finding("environment", ", ".join(chosen) or "no variable chooses threads or kernels", cure)


def kernels() -> Iterator[Finding]:
    """Which compiled kernels are used, or why none are."""
    extension = backend.load_kernels("cpu").extension
    module = extension.module
    if module is None:
        reason, _, cure = extension.reason.rpartition(": ")
        yield Finding("kernels", f"none, NumPy computes: {reason}", cure)
        return
    levels = module.levels()
    best = "" if module.level() == levels[-1] else f"DBRRL_KERNELS chooses {module.level()}: unset it for {levels[-1]}"
    yield Finding("kernels", f"compiled, at level {module.level()}; this processor has {', '.join(levels)}", best)
    products = "loops of our own"
    if module.blas() != "own":
        blas = f"NumPy's OpenBLAS ({module.blas()} integers)"
        products = blas if module.level() == "plain" else f"{products}, large and thin ones by {blas}"
    yield Finding("", f"their matrix products are by {products}; compiler {module.compiler or 'unknown'}")


def gpu() -> Iterator[Finding]:
    """GPU, driver and CuPy, or what is missing."""
    try:
        record = backend.machine_record("cuda")
    except DbrrlError as error:
        yield Finding("GPU", f"none is used: {' '.join(str(error).split())}")
        return
    yield Finding("GPU", f"{record['gpu']}, CuPy {record['cupy']}")


def optional() -> Iterator[Finding]:
    """Extras that are not installed, and what each would bring."""
    for extra, (modules, what) in _OPTIONAL.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding("optional", f'{what}: pip install "dbrrl[{extra}]"')
    if all(importlib.util.find_spec(name) for modules, _ in _OPTIONAL.values() for name in modules):
        yield Finding("optional", "all parts are installed")


# Milliseconds of one core of a server's processor of 2023 (Xeon, AVX-512), by level; "avx2" and "plain" with the matrix
# products and NumPy kept at that level, too, as on a processor that has no more.
_LEVELS = ("numpy", "plain", "avx2", "avx512")
_WORKS = {
    "a matrix product, 256 x 256 x 256": (0.21, 1.38, 0.41, 0.21),
    "a step of Adam, 100,000 numbers": (0.16, 0.056, 0.051, 0.050),
    "128 of 50,000 transitions, 3-step returns": (0.051, 0.012, 0.012, 0.012),
    "acting in 8 CartPoles, 100 steps": (3.6, 1.8, 1.5, 1.4),
    "PPO's update on 256 steps, batches of 64": (6.0, 4.6, 2.3, 1.8),
}
USUAL = {work: dict(zip(_LEVELS, times, strict=True)) for work, times in _WORKS.items()}


def speed(seconds: float = 2.0) -> Iterator[Finding]:
    """How long usual work takes here on one thread, and how many times the usual that is."""
    level = backend.load_kernels("cpu").extension.level()  # "numpy": on a processor with AVX-512
    works = _works()
    ratios = []
    with backend.using_blas_threads(1):
        for name, work in works.items():
            taken = _least(work, seconds / len(works)) * 1e3
            ratios.append(taken / USUAL[name][level])
            yield Finding("speed", f"{name}: {taken:.3g} ms, {ratios[-1]:.1f} times the usual")
    slowest = max(ratios)
    cure = "the processor is slow, or slowed down: by heat, by saving power, or because others use a part of it"
    text = f"at most {slowest:.1f} times the usual at level {level}; up to {SLOW:.0f} is nothing to worry about"
    yield Finding("", text, cure if slowest > SLOW else "")


def _least(work: Callable[[], Any], seconds: float) -> float:
    """Seconds of the processor for one call, in the quickest of the blocks of calls that fit into the time."""
    work()  # loads and warms up
    end, least = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end or least == float("inf"):
        calls, start, stop = 0, time.process_time(), time.perf_counter() + BLOCK
        while time.perf_counter() < stop:
            work()
            calls += 1
        least = min(least, (time.process_time() - start) / calls)
    return least


def _works() -> dict[str, Callable[[], Any]]:
    """What `speed` times, under the names of `USUAL`."""
    rng = np.random.default_rng(0)
    a, out = rng.normal(size=(2, 256, 256)).astype(np.float32), np.empty((256, 256), np.float32)
    optimizer = Adam([Parameter(np.zeros(100_000, np.float32))])
    optimizer.gradient[:] = 1.0
    act, update = _ppo()
    works = [lambda: np.matmul(a[0], a[1], out=out), optimizer.step, _replay(rng), act, update]
    return dict(zip(USUAL, works, strict=True))


def _replay(rng: np.random.Generator) -> Callable[[], Any]:
    buffer = ReplayBuffer(50_000, 100, [(8,)], [np.float32])
    rows = rng.normal(size=(100, 8)).astype(np.float32)
    nothing = np.zeros(100, bool)
    for _ in range(500):
        buffer.add_action(rows, np.zeros(100, np.int64))
        buffer.add_outcome(rows, np.ones(100), nothing, nothing)
    return lambda: buffer.sample(128, rng, 0.99, 3)


def _ppo() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Acting in environments without learning, and an update from one and the same rollout."""
    envs = CartPole(8)
    kind: Any = registry.agent_class("ppo")
    config = kind.Config(n_steps=32, batch_size=64, n_epochs=4)
    agent = kind(envs.single_observation_space, envs.single_action_space, config, num_envs=8)
    observation, _ = envs.reset(seed=0)

    def act() -> None:
        nonlocal observation
        for _ in range(100):
            observation = envs.step(agent.act(observation, explore=False))[0]

    zeros, ones = np.zeros(8, bool), np.ones(8, np.float32)

    def update() -> None:
        for _ in range(32):
            agent.act(observation)
            agent.observe(observation, ones, zeros, zeros)

    return act, update


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


if __name__ == "__main__":
    command.run_process(main)
