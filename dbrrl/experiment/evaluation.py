"""Evaluation of a policy without exploration, in separate environments with separate seeds."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.envs import make, vector
from dbrrl.learning.agent import Agent
from dbrrl.reporting.statistics import mean_interval
from dbrrl.types import Observation

from .settings import Plan

# Environments that step together if each costs Python time: few, as finished environments keep stepping.
_LANES = 10
_MOST = 100_000  # environments that step as one array program
PATIENCE = 30_000  # steps of each environment without an ended episode before a warning (Atari's limit: 27,000)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns of the environment's own rewards, and lengths, of complete episodes: arrays (episodes,)."""

    returns: np.ndarray
    lengths: np.ndarray

    def row(self) -> dict[str, float]:
        """Return mean, median, sample standard deviation, min and max of the returns."""
        returns = self.returns
        return {
            "mean": float(returns.mean()),
            "median": float(np.median(returns)),
            "stdev": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            "min": float(returns.min()),
            "max": float(returns.max()),
        }

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return Student's confidence interval of the mean return; (mean, mean) for one episode."""
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
    """Play `episodes` complete episodes, an equal share in each environment; None if `stop()` became true.

    The shares are fixed in advance: taking the first episodes to end would favor short ones. With `steps`, each
    environment starts episodes until its share of the steps is used, and completes each episode that it has started.

    If no episode ends, this never returns: `warn` is called after `PATIENCE` steps, then after ten times as many.
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
        step = environments.step(act(agent, observation, explore, first))
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
    """Return the warning about episodes that may never end."""
    return (
        f"{env_id}: no episode of the evaluation has ended in {steps:,} steps ({environments} waited for): if they "
        "never end, limit them with max_episode_steps (--max-episode-steps N)"
    )


def act(agent: Agent, observation: Observation, explore: bool, first: np.ndarray) -> np.ndarray:
    """Return the agent's actions in episodes that it does not learn from; `first`, bool (B,): rows that start one."""
    choose: Any = agent.act
    action: np.ndarray = (
        choose(observation, explore, episode_start=first) if agent.recurrent else choose(observation, explore)
    )
    return action


def begins(step: vector.Step) -> np.ndarray:
    """Return the rows, bool (B,), whose next action is the first of an episode or is ignored because of a reset."""
    found: np.ndarray = step.terminated | step.truncated | ~step.valid
    return found


def environments(plan: Plan, episodes: int, *, kind: str, lanes: int | None = None) -> vector.Environments:
    """Make the environments of one evaluation, with the same seeds each time, so that only the policy differs.

    Args:
        plan: the run's settings.
        episodes: how many will be played.
        kind: the kind of the training environments, such as "batched".
        lanes: how many step together; None: chosen by `kind` and `episodes`.
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
