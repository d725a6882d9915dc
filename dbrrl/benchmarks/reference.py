"""Scores to compare with: thresholds and bounds of environments, and published results."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.experiment.settings import read

_FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Environment:
    """The score that counts as solved (None if undefined), and the scores normalized to 0 and 1."""

    threshold: float | None
    low: float
    high: float

    def normalize(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (n,) scaled so that random play is 0 and `high` is 1."""
        return (scores - self.low) / (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class Source:
    """A publication of scores: where it is, its number of seeds, and what was measured."""

    name: str
    short: str
    where: str
    version: str
    seeds: int
    measured: str
    spread: str


@dataclasses.dataclass(frozen=True)
class Published:
    """A published score; `theirs` is its environment, and `differs` how that differs from ours."""

    source: Source
    env: str
    theirs: str
    differs: str
    agent: str
    steps: int
    score: float
    spread: float


def environment(env: str) -> Environment | None:
    """Return the thresholds and bounds of an environment, None if unknown."""
    return _environments().get(env.removeprefix("dbrrl/"))


def published(env: str, agent: str | None = None) -> list[Published]:
    """Return the published scores for an environment, optionally of one agent."""
    wanted = env.removeprefix("dbrrl/")
    return [entry for entry in _published() if entry.env == wanted and agent in (None, entry.agent)]


@functools.cache
def _environments() -> dict[str, Environment]:
    table = read(_FOLDER / "environments.toml")
    return {env: Environment(entry.get("threshold"), entry["low"], entry["high"]) for env, entry in table.items()}


@functools.cache
def _published() -> tuple[Published, ...]:
    table = read(_FOLDER / "published.toml")
    ours = {theirs: (env, differs) for theirs, env, differs in table["versions"]["differing"]}
    return tuple(
        Published(source, *_same(env, ours), agent, steps, score, spread)
        for entry in table["sources"].values()
        for source in [Source(**{key: value for key, value in entry.items() if key != "scores"})]
        for env, agent, steps, score, spread in entry["scores"]
    )


def _same(theirs: str, ours: dict[str, Any]) -> tuple[str, str, str]:
    """Return our environment, theirs, and the difference."""
    env, differs = ours.get(theirs, (theirs, ""))
    return env, theirs, differs
