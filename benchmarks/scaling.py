"""Predict the steps per second of data-parallel PPO for 1 to 1,024 workers, and check this where it fits here.

    python benchmarks/scaling.py [--figure docs/images/scaling.png]

Measured here: the time of a sum over two workers on this machine, by the size of the vector, which gives the cost of a
message and of a byte on the hosts; and for PPO on HalfCheetah-v5 the times of a rollout and of a gradient, from which
the rate of two workers is predicted and then measured. Predicted: PPO on Atari, a GPU and some cores a worker, on the
hardware that HARDWARE states; the time of a gradient on a GPU is that of docs/benchmarks/gpu.json.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "speed"))

import timing  # noqa: F401  # the number of BLAS threads is set before NumPy is imported

# isort: split
import numpy as np
from workers import begun, rate

from dbrrl.agents import PPO
from dbrrl.buffers import Batch
from dbrrl.envs import make
from dbrrl.experiment import Experiment, ray_cluster
from dbrrl.experiment.ray_exchange import SHORT
from dbrrl.seeding import sequence

ROOT = Path(__file__).parents[1]
WORKERS = [2**i for i in range(11)]


@dataclass(frozen=True)
class Hardware:
    """What is assumed of each worker's host and of the network.

    Attributes:
        bandwidth: bytes per second of a host's network.
        latency: seconds of a message on it.
        copies: bytes per second between the host and its GPU.
        cores: processors that step a worker's games.
        act: seconds in which the GPU chooses the actions of a step.
    """

    bandwidth: float = 12.5e9
    latency: float = 30e-6
    copies: float = 25e9
    cores: int = 8
    act: float = 0.3e-3


@dataclass(frozen=True)
class Design:
    """How a run uses its workers.

    Attributes:
        n_steps: steps of a rollout, in each of `games` games a worker.
        batch: transitions of a worker's part of a minibatch.
        halves: whether long vectors are added up part by part.
        width: bytes of a number on the way.
    """

    name: str
    n_steps: int = 128
    batch: int = 256
    halves: bool = True
    width: int = 4
    games: int = 8
    epochs: int = 4


HARDWARE = Hardware()
NATURE = 1_687_206  # parameters of PPO's network for Atari, with 6 actions
DESIGNS = [
    Design("whole vectors, parts of 256", halves=False),
    Design("halves, parts of 256"),
    Design("halves, 512 steps, parts of 4,096", n_steps=512, batch=4096),
    Design("the same, in float16 (not built)", n_steps=512, batch=4096, width=2),
]


def sum_seconds(workers: int, nbytes: int, message: float, byte: float, halves: bool, h: Hardware | None) -> float:
    """Seconds of a sum over workers, by the cost of a message and of a byte on a host, and of the network if any."""
    rounds = int(np.ceil(np.log2(workers)))
    message += h.latency if h else 0.0
    byte += 1 / h.bandwidth if h else 0.0
    if halves and rounds > 1 and nbytes > SHORT:
        return 2 * rounds * message + 2 * nbytes * (1 - 1 / workers) * byte
    return rounds * (message + nbytes * byte)


def measured_sums(rounds: int) -> tuple[float, float]:
    """Return seconds of a message and of a byte, fitted to sums over two workers here."""
    sizes = [2_000, 20_000, 200_000, 2_000_000]

    def sums(member: Any, n: int, count: int) -> float:
        vector, start = np.ones(n, np.float32), time.perf_counter()
        for _ in range(count):
            member.exchange.sum(vector)
        return (time.perf_counter() - start) / count

    with opened(2, num_envs=8) as driver:
        found = []
        for n in sizes:
            times = []
            for _ in range(rounds + 1):
                calls = [actor.__ray_call__.remote(sums, n, 2_000_000 // n + 20) for actor in driver.pool.actors]
                times.append(max(driver.pool.ray.get(calls)))
            found.append(statistics.median(times[1:]))
    for n, seconds in zip(sizes, found, strict=True):
        print(f"a sum of {4 * n / 1000:8,.0f} kB over 2 workers: {seconds * 1e6:9,.0f} us")
    nbytes = 4.0 * np.array(sizes)
    weight = 1 / np.array(found)  # relative errors count
    columns = np.stack([np.ones(len(sizes)), nbytes], 1) * weight[:, None]
    message, byte = np.linalg.lstsq(columns, np.array(found) * weight, rcond=None)[0]
    print(f"so a message costs {message * 1e6:.0f} us, and a byte {byte * 1e9:.2f} ns\n")
    return float(message), float(byte)


@contextlib.contextmanager
def opened(workers: int, **settings: Any) -> Any:
    """Yield the driver of a run of PPO on HalfCheetah-v5 whose workers have begun."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(ray_cluster.connected(workers, room=workers))
        steps = settings["num_envs"] * 10_000_000
        experiment = Experiment("ppo", "HalfCheetah-v5", workers=workers, steps=steps, preset=False, **settings)
        yield begun(experiment, stack)


def check_here(message: float, byte: float, seconds: float) -> None:
    """Predict the rate of two workers from what one does, and print it beside what two do."""
    settings: dict[str, Any] = {"num_envs": 32, "n_steps": 128, "batch_size": 512}
    rates = {}
    for workers in (1, 2):
        with opened(workers, **settings) as driver:
            rate(driver, seconds)
            rates[workers] = statistics.median(rate(driver, seconds) for _ in range(5))
            if workers == 1:
                gradient = {
                    n: statistics.median(
                        driver.pool.ray.get(driver.pool.actors[0].__ray_call__.remote(step_seconds, n))
                    )
                    for n in (512, 256)
                }
                nbytes = sum(p.array.nbytes for p in driver.agent.network.parameters())
    transitions, steps = 32 * 128, 10 * 32 * 128 // 512
    alone = transitions / rates[1]
    both = (alone - steps * gradient[512]) / 2 + steps * (
        gradient[256] + sum_seconds(2, nbytes, message, byte, True, None)
    )
    predicted = transitions / both
    print(f"PPO on HalfCheetah-v5, {settings}: 1 worker {rates[1]:,.0f} steps/s")
    print(f"2 workers: predicted {predicted:,.0f}, measured {rates[2]:,.0f} ({rates[2] / predicted:.2f} of it)\n")


def step_seconds(member: Any, n: int) -> list[float]:
    """Seconds of gradient steps of a worker's agent on n transitions."""
    agent = member.agent
    twin = PPO(agent.observation_space, agent.action_space, agent.config.replace(batch_size=n), num_envs=1, seed=0)

    rng, rows = np.random.default_rng(0), np.arange(n)
    columns = {
        name: rng.standard_normal(2 * n).astype(np.float32) for name in ("log_prob", "advantage", "value", "target")
    }
    observation = rng.standard_normal((2 * n, *agent.observation_space.shape)).astype(np.float32)
    action = rng.standard_normal((2 * n, *agent.action_space.shape)).astype(np.float32)
    batch = Batch(observation=observation, action=action, **columns)
    found = []
    for _ in range(60):
        start = time.perf_counter()
        twin.gradient_step(batch[rows], clip_range=0.2)
        found.append(time.perf_counter() - start)
    return found[20:]


def game_rate() -> float:
    """Steps per second of Pong on one core."""
    envs = make("ALE/Pong-v5", 8, seed=sequence(0), env_kwargs={"num_threads": 1})
    envs.reset()
    actions = np.zeros(8, np.int64)
    start = time.perf_counter()
    for _ in range(300):
        envs.step(actions)
    found = 8 * 300 / (time.perf_counter() - start)
    envs.close()
    print(f"Pong: {found:,.0f} steps/s on one core")
    return found


def gpu_seconds(batch: int) -> float:
    """Seconds of a gradient step of the Nature network on a GPU, by the committed report."""
    report = json.loads((ROOT / "docs" / "benchmarks" / "gpu.json").read_text(encoding="utf-8"))
    found = report["sections"]["image-update"]["data"]["batches"]
    small, large = (found[str(n)]["contenders"]["dbrrl, captured"]["us"] * 1e-6 for n in (32, 256))
    return float(small + (large - small) * (batch - 32) / (256 - 32))


def predicted(design: Design, workers: int, games: float, message: float, byte: float) -> float:
    """Steps per second of PPO on Atari."""
    h, transitions = HARDWARE, design.n_steps * design.games
    acting = design.n_steps * (design.games / (games * h.cores) + h.act)
    steps = design.epochs * max(1, transitions // design.batch)
    learning = steps * gpu_seconds(min(design.batch, transitions))
    nbytes = NATURE * design.width
    summing = 0.0
    if workers > 1:
        summing = sum_seconds(workers, nbytes, message, byte, design.halves, h) + 2 * nbytes / h.copies
    return workers * transitions / (acting + learning + steps * summing)


def main() -> None:
    """Measure, check, predict, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="file to draw to")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each sum")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of a rate")
    chosen = parser.parse_args()
    message, byte = measured_sums(chosen.rounds)
    check_here(message, byte, chosen.seconds)
    games = game_rate()
    print(f"PPO on Atari, 8 games a worker; {HARDWARE}; a message of {NATURE * 4 / 1e6:.2f} MB\n")
    print("workers".ljust(38) + "".join(f"{n:>11,}" for n in WORKERS))
    table = {d.name: [predicted(d, n, games, message, byte) for n in WORKERS] for d in DESIGNS}
    for name, rates in table.items():
        print(name.ljust(38) + "".join(f"{x:>11,.0f}" for x in rates))
        print(
            "  of as many alone".ljust(38)
            + "".join(f"{x / (n * rates[0]):>9.2f}" for x, n in zip(rates, WORKERS, strict=True))
        )
    if chosen.figure is not None:
        draw(table, chosen.figure)


def draw(table: dict[str, list[float]], file: Path) -> None:
    """Draw rates and efficiencies over the number of workers, with the assumptions."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for style, (name, rates) in zip(("-", "--", "-.", ":"), table.items(), strict=True):
        left.loglog(WORKERS, rates, style, label=name, base=2)
        right.semilogx(WORKERS, [x / (n * rates[0]) for x, n in zip(rates, WORKERS, strict=True)], style, base=2)
    right.axhline(0.9, color="gray", linewidth=0.8)
    left.set(xlabel="workers", ylabel="steps per second", title="PPO on Atari, predicted")
    right.set(xlabel="workers", ylabel="share of as many workers alone", ylim=(0, 1.05))
    h = HARDWARE
    right.set_title(
        f"{h.bandwidth / 1e9:g} GB/s, {h.latency * 1e6:g} µs, {h.cores} cores and an H100 a worker", fontsize=10
    )
    left.legend(fontsize=8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
