"""Statistics of a benchmark's runs: per cell, and between agents."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dbrrl.reporting.statistics import Statistic, bootstrap_interval, first_reaching, iqm, mean_interval

from . import reference
from .results import Result


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A statistic over the seeds with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs of one agent in one environment, one per seed."""

    agent: str
    env: str
    runs: tuple[Result, ...]

    @property
    def name(self) -> str:
        """The name in reports."""
        return f"{self.agent} on {self.env}"

    @property
    def scores(self) -> np.ndarray:
        """Final mean return of each seed: (seeds,)."""
        return np.array([run.score for run in self.runs])

    @property
    def steps(self) -> int:
        """Environment steps of a run."""
        return int(self.runs[0].rows[-1]["steps"])

    @property
    def threshold(self) -> float | None:
        """The score that counts as solved."""
        entry = reference.environment(self.env)
        return None if entry is None else entry.threshold

    @property
    def solved(self) -> int | None:
        """Number of seeds whose final score is at the threshold or above; None without a threshold."""
        return None if self.threshold is None else int((self.scores >= self.threshold).sum())

    @property
    def reaches(self) -> bool:
        """Whether any evaluation of any seed is at the threshold or above."""
        places = self.to_threshold("steps")
        return places is not None and bool(np.isfinite(places).any())

    def estimate(self, statistic: Statistic) -> Estimate:
        """Return `statistic` of the final scores: a mean with its t interval, others with a bootstrap interval."""
        interval = mean_interval(self.scores) if statistic is MEAN else bootstrap_interval(self.scores, statistic)
        return Estimate(float(statistic(self.scores)), *interval)

    def to_threshold(self, column: str) -> np.ndarray | None:
        """Return where each seed's evaluations first reach the threshold, in "steps" or "elapsed"; infinity: never."""
        threshold = self.threshold
        if threshold is None:
            return None
        tables = [(self._column(run, column), self._column(run, "mean")) for run in self.runs]
        return np.array([first_reaching(places, means, threshold) for places, means in tables])

    def at(self, steps: int) -> tuple[int, float] | None:
        """Return the step of the last evaluation up to `steps`, and its mean over seeds; None before the first.

        An evaluation due at `steps` counts, though environments that step together may have gone slightly beyond.
        """
        found = []
        for run in self.runs:
            rows = [row for row in run.rows if row["steps"] < steps + int(run.about["num_envs"])]
            if not rows:
                return None
            found.append((int(rows[-1]["steps"]), rows[-1]["mean"]))
        return max(place for place, _ in found), float(np.mean([mean for _, mean in found]))

    @staticmethod
    def _column(run: Result, name: str) -> np.ndarray:
        return np.array([row[name] for row in run.rows])


def cells(results: Sequence[Result]) -> list[Cell]:
    """Return the results as cells, by agent and environment, sorted by seed."""
    pairs = dict.fromkeys((result.agent, result.env) for result in results)
    ordered = sorted(results, key=lambda result: result.seed)
    return [
        Cell(agent, env, tuple(run for run in ordered if (run.agent, run.env) == (agent, env))) for agent, env in pairs
    ]


def normalized(found: Sequence[Cell]) -> dict[str, dict[str, np.ndarray]]:
    """Return normalized final scores (seeds,) by agent and environment, if the environment's bounds are known."""
    scores: dict[str, dict[str, np.ndarray]] = {}
    for cell in found:
        entry = reference.environment(cell.env)
        if entry is not None:
            scores.setdefault(cell.agent, {})[cell.env] = entry.normalize(cell.scores)
    return scores


def common_environments(scores: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Return the environments in which every agent ran: only over these can one number compare agents."""
    sets = [set(envs) for envs in scores.values()]
    return sorted(sets[0].intersection(*sets[1:])) if sets else []


MEAN: Statistic = np.mean
MEDIAN: Statistic = np.median
IQM: Statistic = iqm
