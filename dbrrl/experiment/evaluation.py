"""Evaluation: the policy without exploration, in environments and with seeds of its own."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.envs import make, vector
from dbrrl.learning.agent import Agent
from dbrrl.reporting.statistics import mean_interval

from .settings import Plan

# Environments stepped together where each costs Python time: few, as those that are done step in vain.
_LANES = 10
_MOST = 100_000  # environments that step as one, as many as a run may have
PATIENCE = 30_000  # steps of each environment in which no episode ends, before that is said (Atari's limit: 27,000)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Unshaped returns and lengths of whole episodes, in arrays (episodes,)."""

    returns: np.ndarray
    lengths: np.ndarray

    def row(self) -> dict[str, float]:
        """Mean, median, sample standard deviation, min and max of the returns."""
        returns = self.returns
        return {
            "mean": float(returns.mean()),
            "median": float(np.median(returns)),
            "stdev": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            "min": float(returns.min()),
            "max": float(returns.max()),
        }

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's confidence interval of the mean return; (mean, mean) for one episode."""
        return mean_interval(self.returns, level)


def evaluate(
    agent: Agent,
    environments: vector.Environments,
    *,
    episodes: int,
    steps: int | None = None,
    explore: bool = False,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = warnings.warn,
) -> Evaluation | None:
    """Play `episodes` whole episodes, each environment an equal part of them; None where `stop` said so.

    The quota is fixed beforehand: taking the first episodes to end would favor short ones. With `steps`, an
    environment starts episodes until its part of them is used instead, and ends each that it has started.

    An episode that never ends keeps this from returning: `warn` is told after `PATIENCE` steps, and ten times as many.
    """
    lanes = environments.num_envs
    quota = np.full(lanes, episodes // lanes) + (np.arange(lanes) < episodes % lanes)
    budget = quota if steps is None else np.full(lanes, -(-steps // lanes))
    used = np.zeros(lanes, np.int64)
    results: list[tuple[float, int]] = []
    observation, first = environments.reset(), np.ones(lanes, np.bool_)
    waited, patience = 0, PATIENCE
    while (used < budget).any():
        if stop():
            return None
        waited += 1
        if waited == patience:
            patience *= 10
            warn(endless(environments.env_id, waited, int(np.count_nonzero(used < budget))))
        step = environments.step(choose(agent, observation, explore, first))
        observation, first = step.observation, begins(step)
        if environments.finished:
            rows = np.flatnonzero((step.terminated | step.truncated) & step.valid)
            for row, (episode_return, length) in zip(rows, environments.finished, strict=True):
                if used[row] < budget[row]:
                    results.append((episode_return, length))
                    waited = 0
                    used[row] += 1 if steps is None else length
    returns, lengths = zip(*results, strict=True)
    return Evaluation(np.array(returns, np.float64), np.array(lengths, np.int64))


def endless(env_id: str, steps: int, environments: int = 1) -> str:
    """What is said where episodes are waited for that may never end."""
    return (
        f"{env_id}: no episode of the evaluation has ended in {steps:,} steps ({environments} waited for): if they "
        "never end, limit them with max_episode_steps (--max-episode-steps N)"
    )


def choose(agent: Agent, observation: Any, explore: bool, first: np.ndarray) -> np.ndarray:
    """The agent's actions in episodes it does not learn from; `first`, bool (B,): which of them begin."""
    act: Any = agent.act
    action: np.ndarray = act(observation, explore, first=first) if agent.recurrent else act(observation, explore)
    return action


def begins(step: vector.Step) -> np.ndarray:
    """Where the next action is the first of an episode, bool (B,), or will be ignored as a reset follows."""
    found: np.ndarray = step.terminated | step.truncated | ~step.valid
    return found


def environments(plan: Plan, episodes: int, *, kind: str, lanes: int | None = None) -> vector.Environments:
    """Fresh environments for one evaluation: the same seeds each time, so that the policy alone differs.

    `kind`: that of the training environments; `lanes`: how many step together, chosen by the kind if None.
    """
    settings = plan.settings
    together = kind in ("batched", "vector", "device")
    return make(
        settings.env,
        lanes or min(episodes, _MOST if together else _LANES),
        seed=seeding.sequence(settings.seed, "evaluation"),
        vectorization=settings.vectorization if together else "sync",
        max_episode_steps=settings.max_episode_steps,
        env_kwargs=plan.for_evaluation().env_kwargs,
    )
