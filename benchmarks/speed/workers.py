"""Steps per second of data-parallel PPO with workers on Ray, as ratios to one worker and to no Ray, in turn.

    python benchmarks/speed/workers.py [--env HalfCheetah-v5] [--workers 1 2] [--rounds 7] [--set batch_size=256]

Each side is a run of its own that stays open; a turn is so many seconds of it, learning included. All have as many
environments in all, and one BLAS thread each.
"""

import argparse
import contextlib
import statistics
import time
from typing import Any

from timing import LEARN  # noqa: F401  # the number of BLAS threads is set before NumPy is imported

from dbrrl.experiment import Experiment, build, ray_cluster
from dbrrl.experiment.driver import Driver


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="ppo")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=8, help="of each side")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="settings of the agent")
    return parser.parse_args()


def opened(chosen: argparse.Namespace, workers: int | None, stack: contextlib.ExitStack) -> Driver:
    """Return the driver of a run, its environments started."""
    given: dict[str, Any] = {
        name: float(x) if "." in x else int(x) for name, x in (one.split("=") for one in chosen.set)
    }
    settings = {"num_envs": chosen.num_envs, "steps": chosen.num_envs * 10_000_000, "workers": workers, "preset": False}
    return begun(Experiment(chosen.agent, chosen.env, **settings, **given), stack)


def begun(experiment: Experiment, stack: contextlib.ExitStack) -> Driver:
    """Return the driver of an experiment, its environments started; it is closed with `stack`."""
    plan, driver, agent = build.begin(experiment.plan, stack)
    build.use_threads(plan, agent, stack)
    driver.bind(agent)
    driver.start()
    return driver


def rate(driver: Driver, seconds: float) -> float:
    """Steps per second for at least so many seconds, until the workers wait: no turn works in the time of another."""
    start, before = time.perf_counter(), driver.steps
    until = start + seconds
    while time.perf_counter() < until:
        driver.advance(driver.steps + 20_000, lambda: time.perf_counter() >= until)
    driver.collect()
    driver.state_dict()
    return (driver.steps - before) / (time.perf_counter() - start)


def main() -> None:
    """Print a line for each number of workers."""
    chosen = options()
    with contextlib.ExitStack() as stack:
        stack.enter_context(ray_cluster.connected(sum(chosen.workers), None, sum(chosen.workers)))
        sides = {workers: opened(chosen, workers, stack) for workers in (None, *chosen.workers)}
        for driver in sides.values():
            rate(driver, 2 * chosen.seconds)
        rounds = [
            {workers: rate(driver, chosen.seconds) for workers, driver in sides.items()} for _ in range(chosen.rounds)
        ]
    print(f"{chosen.agent} on {chosen.env}, {chosen.num_envs} environments, {' '.join(chosen.set)}")
    for workers in sides:
        of_all = statistics.median(one[workers] for one in rounds)
        line = f"{'no Ray' if workers is None else f'{workers} workers':10}  {of_all:8,.0f} steps/s"
        for other in (None, 1):
            if other in sides and workers != other:
                ratio = statistics.median(one[workers] / one[other] for one in rounds)
                line += f"   {ratio:.2f} of {'no Ray' if other is None else '1 worker'}"
        print(line)


if __name__ == "__main__":
    main()
