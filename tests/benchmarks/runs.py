"""Runs made up for tests of tables and reports."""

from collections.abc import Sequence

from dbrrl.benchmarks.results import MACHINE, RUN, VERSIONS, Result


def result(agent: str, env: str, seed: int, means: Sequence[float], *, every: int = 100, preset: bool = True) -> Result:
    """A run that was evaluated every `every` steps, half a second each."""
    about = dict.fromkeys((*RUN, *VERSIONS, *MACHINE), "x") | {"preset": str(preset), "num_envs": "8"}
    rows = [
        {
            "steps": every * (i + 1),
            "episodes": i,
            "elapsed": 0.5 * (i + 1),
            "mean": mean,
            "median": mean,
            "stdev": 0.0,
            "min": mean,
            "max": mean,
            "evaluation_episodes": 100.0 if i == len(means) - 1 else 10.0,
        }
        for i, mean in enumerate(means)
    ]
    return Result(agent, env, seed, rows, about)
