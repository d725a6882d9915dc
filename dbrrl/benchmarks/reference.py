"""What scores are held against: thresholds and bounds of environments, and what others published."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.experiment.settings import read

_FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Environment:
    """A solved threshold (None where there is none), and the scores that are 0 and 1 when normalized."""

    threshold: float | None
    low: float
    high: float

    def normalize(self, scores: np.ndarray) -> np.ndarray:
        """Scores (n,) with random play at 0 and `high` at 1."""
        return (scores - self.low) / (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where published figures stand, on how many seeds they rest, and what was measured."""

    name: str
    short: str
    where: str
    version: str
    seeds: int
    measured: str
    spread: str


@dataclasses.dataclass(frozen=True)
class Published:
    """One figure of a source; `theirs` is its environment, and `differs` says how that is not ours."""

    source: Source
    env: str
    theirs: str
    differs: str
    agent: str
    steps: int
    score: float
    spread: float


def environment(env: str) -> Environment | None:
    """The entry of an environment, if it has one."""
    return _environments().get(env.removeprefix("dbrrl/"))


def published(env: str, agent: str | None = None) -> list[Published]:
    """What others published for an environment, and an agent if one is named."""
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
    """Our environment, theirs, and what differs."""
    env, differs = ours.get(theirs, (theirs, ""))
    return env, theirs, differs
