"""Evaluation of a policy without exploration, in separate environments with separate seeds."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.distributions.masks import MASK
from dbrrl.envs import construct, given, make, success, vector
from dbrrl.envs.device import make_copies
from dbrrl.errors import ArgumentError, SpaceError
from dbrrl.learning.agent import Agent
from dbrrl.reporting.statistics import mean_interval
from dbrrl.types import Observation

from .settings import Plan

# Environments that step together if each costs Python time: few, as finished environments keep stepping.
_LANES = 10
_MOST = 100_000  # environments that step as one array program
_TOGETHER = ("batched", "vector", "device")  # kinds that step as one array program
PATIENCE = 30_000  # steps of each environment without an ended episode before a warning (Atari's limit: 27,000)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns of the environment's own rewards, and lengths, of complete episodes: arrays (episodes,).

    successes: whether each episode reached its goal, 1 or 0, as `info["is_success"]` said at its end (0 where it said
        nothing); None if the environment says it of no episode.
    """

    returns: np.ndarray
    lengths: np.ndarray
    successes: np.ndarray | None = None

    def row(self) -> dict[str, float]:
        """Return mean, median, sample standard deviation, min and max of the returns.

        Where the environment tells successes, also `success_rate`, the share of episodes that reached their goal.
        """
        returns = self.returns
        rate = {} if self.successes is None else {"success_rate": float(self.successes.mean())}
        return {
            "mean": float(returns.mean()),
            "median": float(np.median(returns)),
            "stdev": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
            "min": float(returns.min()),
            "max": float(returns.max()),
        } | rate

    def episodes(self) -> list[dict[str, float]]:
        """Return "return" and "length" of each episode, and "success", 1 or 0, where the environment tells it."""
        columns = {"return": self.returns, "length": self.lengths}
        columns |= {} if self.successes is None else {"success": self.successes.astype(np.int64)}
        return [
            dict(zip(columns, row, strict=True)) for row in zip(*map(np.ndarray.tolist, columns.values()), strict=True)
        ]

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
    results: list[tuple[float, int, float]] = []
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
                    results.append((episode_return, length, success.of_ended(step.info, int(row))))
                    waited = 0
                    used[row] += 1 if steps is None else length
    returns, lengths, successes = (np.array(column) for column in zip(*results, strict=True))
    told = None if np.isnan(successes).all() else np.nan_to_num(successes)
    return Evaluation(returns.astype(np.float64), lengths.astype(np.int64), told)


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


def evaluate_policy(
    agent: Agent,
    env: Any,
    episodes: int = 10,
    *,
    seed: int = 0,
    explore: bool = False,
    max_episode_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Play complete episodes with an agent and return their undiscounted returns and lengths; the agent stays as it is.

    With the seed of a run, and its final number of episodes, the returns are those of its final evaluation.

    Args:
        agent: the agent; it does not learn.
        env: a Gymnasium id, a class, a function that makes an environment, or an environment (or a vector environment),
            which is stepped itself and left open.
        episodes: how many; each environment plays an equal share, fixed in advance.
        seed: seeds the environments.
        explore: whether the agent explores; then it draws from its generator.
        max_episode_steps: time limit instead of the environment's own.
        env_kwargs: arguments for the environment.

    Raises:
        ArgumentError: `agent` is no agent, or `episodes` is not a whole number above 0.
        EnvError: the environment is unknown, or breaks its contract.
        SpaceError: the agent was made for other spaces than the environment's.

    Example:
        result = dbrrl.evaluate_policy(agent, "CartPole-v1", episodes=100)
        print(result.row()["mean"], result.interval())
    """
    if not isinstance(agent, Agent):
        raise ArgumentError(f"agent: expected an agent, got {_shown(agent)}: make one, or load one from its file")
    if isinstance(episodes, bool) or not isinstance(episodes, int | np.integer) or episodes < 1:
        raise ArgumentError(f"episodes: expected a whole number of at least 1, got {episodes!r}")
    found = given.of(env)
    if isinstance(found, given.Instance):
        lanes, kind = found.num_envs, "auto"
    else:
        kind = construct.choose(construct.Request(found, dict(env_kwargs or {})), "auto")
        lanes, kind = _lanes(kind, int(episodes)), kind if kind in _TOGETHER else "sync"
    if explore and isinstance(found, given.Instance) and lanes != agent.num_envs:
        raise ArgumentError(
            f"explore: the agent explores in {agent.num_envs} environments at once, and {found.name} is {lanes}: give "
            "a function that makes an environment"
        )
    if explore:
        lanes = agent.num_envs
    envs = make(
        found,
        lanes,
        seed=seeding.sequence(seed, "evaluation"),
        vectorization=kind,
        max_episode_steps=max_episode_steps,
        env_kwargs=env_kwargs,
        action_masks=MASK in getattr(agent.observation_space, "spaces", ()),
    )
    training, agent.training = agent.training, False
    try:
        check_spaces(agent, envs.observation_space, envs.action_space, envs.env_id)
        result = evaluate(agent, envs, episodes=int(episodes), explore=explore)
    finally:
        agent.training = training
        envs.close()
    assert result is not None
    return result


def check_spaces(agent: Agent, observation_space: Any, action_space: Any, env: str) -> None:
    """Raise SpaceError if an agent was made for other spaces than those of the environment called `env`."""
    for what, here in (("observation_space", observation_space), ("action_space", action_space)):
        if getattr(agent, what) != here:
            raise SpaceError(
                f"agent: expected one for the {what.replace('_', ' ')} of {env}, {here}, got one for "
                f"{getattr(agent, what)}: make it with the spaces of that environment"
            )


def _shown(thing: Any) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"{thing!r:.60}"


def _lanes(kind: str, episodes: int) -> int:
    """Return how many environments of a kind play `episodes` together."""
    return min(episodes, _MOST if kind in _TOGETHER else _LANES)


def environments(plan: Plan, episodes: int, *, kind: str, lanes: int | None = None) -> vector.Environments:
    """Make the environments of one evaluation, with the same seeds each time, so that only the policy differs.

    Args:
        plan: the run's settings.
        episodes: how many will be played.
        kind: the kind of the training environments, such as "batched".
        lanes: how many step together; None: chosen by `kind` and `episodes`.
    """
    seed = seeding.sequence(plan.settings.seed, "evaluation")
    other, plan = plan.settings.eval_env is not None, plan.for_evaluation()
    settings, env = plan.settings, plan.env
    if isinstance(env, given.Instance):
        if other:
            limit, masks = settings.max_episode_steps, plan.agent_class.action_masks
            return make(env, env.num_envs, seed=seed, max_episode_steps=limit, action_masks=masks)
        count = lanes or min(episodes, _LANES)
        return make_copies(env, count, seed=seed, max_episode_steps=settings.max_episode_steps)
    kind = construct.choose(construct.Request(env, plan.env_kwargs), "auto") if other else kind
    return make(
        env,
        lanes or _lanes(kind, episodes),
        seed=seed,
        vectorization=settings.vectorization if kind in _TOGETHER else "sync",
        max_episode_steps=settings.max_episode_steps,
        env_kwargs=plan.env_kwargs,
        action_masks=plan.agent_class.action_masks,
    )
