"""A run's environments in shares: each has random streams of its own, and an equal part of each minibatch.

A run of several shares gives the same numbers, to rounding, however many workers they are spread over.
"""

from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.config import Config
from dbrrl.envs import construct, given, make, vector
from dbrrl.envs.joined import Joined
from dbrrl.errors import ConfigError, EnvError

from .settings import Plan

PARTED = ("batch_size", "critic_batch_size")  # settings that count transitions of all environments
STREAMS = {"policy_rng": "policy", "batch_rng": "minibatches"}  # an agent's generators that draw for environments


def count(plan: Plan) -> int:
    """Return the number of shares: as set, or as many as there are workers."""
    return plan.settings.shares or plan.settings.workers or 1


def check(plan: Plan) -> None:
    """Raise ConfigError if the run cannot be split as its settings say."""
    settings, shares, workers = plan.settings, count(plan), plan.settings.workers or 1
    if settings.workers is None and plan.ray_address is not None:
        raise ConfigError("ray_address: expected workers beside it, got none: give workers=2, say")
    if settings.workers is None and shares == 1:
        return
    how = plan.agent_class.distributed
    if not how or (settings.workers is None and how != "team"):
        raise ConfigError(
            f"{'shares' if settings.workers is None else 'workers'}: {settings.agent} does not learn so: expected an "
            "agent that does, such as ppo, a2c or trpo; or leave it out"
        )
    if plan.given.agent is not None or isinstance(plan.env, given.Instance):
        what = "an agent" if plan.given.agent is not None else "an environment"
        raise ConfigError(
            f"workers: expected a class or a name, got {what} that is made already: each worker makes one"
        )
    if how == "team" and settings.workers is not None and settings.device not in ("cpu", "auto", "cuda"):
        raise ConfigError(f"device: workers have a GPU each, expected 'cuda' or 'cpu', got {settings.device!r}")
    _divides("num_envs", settings.num_envs, "shares", shares)
    _divides("shares", shares, "workers", workers)
    if settings.workers is not None:
        _divides("steps", settings.steps, "num_envs", settings.num_envs)
    for name in PARTED if how == "team" else ():
        if hasattr(plan.config, name):
            _divides(name, getattr(plan.config, name), "shares", shares)
    if how != "team":
        _check_actors(plan)


def _check_actors(plan: Plan) -> None:
    if count(plan) != plan.settings.workers:
        raise ConfigError(f"shares: {plan.settings.agent} has one share per worker, got {count(plan)}: leave it out")
    if getattr(plan.config, "her", False):
        raise ConfigError("her: is not served with workers: leave one of them out")


def _divides(name: str, value: int, by: str, divisor: int) -> None:
    if value % divisor:
        raise ConfigError(
            f"{name}: expected a multiple of {by}, which is {divisor:,}, got {value:,}: "
            f"give {max(1, round(value / divisor)) * divisor:,}"
        )


def part(config: Config, workers: int, n_steps: int) -> Config:
    """Return the settings of one worker's agent, whose counts of transitions are of its environments alone."""
    changed = {name: getattr(config, name) // workers for name in (*PARTED, "total_steps") if hasattr(config, name)}
    return config.replace(n_steps=n_steps, **changed)


def give_streams(agent: Any, shares: range) -> None:
    """Let an agent draw from the streams of these shares."""
    for name, stream in STREAMS.items():
        if hasattr(agent, name):
            device = "cpu" if isinstance(getattr(agent, name), np.random.Generator) else agent.device
            setattr(agent, name, seeding.of_shares(agent.seed, stream, shares, agent.num_envs, device))


def described(plan: Plan) -> tuple[str, str, Any, Any]:
    """Return the name of a run's environments, how they are stepped, and their spaces."""
    sample = environments(plan, range(1))
    sample.close()
    return sample.env_id, sample.kind, sample.observation_space, sample.action_space


def environments(plan: Plan, shares: range) -> vector.Environments:
    """Make the environments of some shares of a run; those of its only share on the run's device, where they can be.

    Copies that are stepped one by one have the same seeds as in a run of one share.
    """
    settings, total = plan.settings, count(plan)
    root = seeding.sequence(settings.seed, "environments")
    if total == 1:
        device = settings.device if plan.agent_class.supports_device_envs(plan.config) else "cpu"
        return _made(plan, settings.num_envs, root, settings.vectorization, device)
    each = settings.num_envs // total
    request = construct.Request(plan.env, dict(plan.env_kwargs), settings.max_episode_steps, None)
    kind = construct.choose(request, settings.vectorization)
    if kind in ("sync", "async"):
        seed = np.random.SeedSequence(root.entropy, spawn_key=root.spawn_key, n_children_spawned=shares.start * each)
        return _made(plan, each * len(shares), seed, kind)
    seeds = [seeding.sequence(settings.seed, "environments", "share", share) for share in shares]
    made = [_made(plan, each, seed, kind) for seed in seeds]
    if len(made) == 1:
        return made[0]
    joined = Joined([one.vector_env for one in made], seeds)
    return vector.Environments(joined, made[0].env_id, kind=kind, seed=root)


def _made(
    plan: Plan, num_envs: int, seed: np.random.SeedSequence, kind: str, device: str = "cpu"
) -> vector.Environments:
    return make(
        plan.env,
        num_envs,
        seed=seed,
        vectorization=kind,
        max_episode_steps=plan.settings.max_episode_steps,
        env_kwargs=plan.env_kwargs,
        action_masks=plan.agent_class.action_masks,
        device=device,
    )


def check_step(step: vector.Step, env_id: str) -> None:
    """Raise EnvError for a step with rows that carry no transition: workers would not count alike."""
    if not step.all_valid:
        raise EnvError(
            f"{env_id}: with workers expected environments that reset in the step in which an episode ends, got ones "
            "that take a step for it (autoreset NEXT_STEP): give vectorization=sync"
        )
