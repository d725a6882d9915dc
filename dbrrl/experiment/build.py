"""Makes the parts of a run from its plan, or loads them from its checkpoint."""

import contextlib
import dataclasses
import re
from collections.abc import Callable
from typing import Any

from dbrrl import backend
from dbrrl.backend.capture import recorder
from dbrrl.checkpoint import State
from dbrrl.compiled.layout import not_recorded
from dbrrl.compiled.step import CompiledStep
from dbrrl.errors import ConfigError, RunError, SpaceError
from dbrrl.experiment import registry
from dbrrl.learning.agent import Agent
from dbrrl.learning.rebuild import set_network

from . import devices, evaluation, objects, record, resuming, shares, trackers
from .callbacks import Callback, StopAt
from .directory import RunDirectory
from .driver import Driver
from .events import check as check_events
from .events import make as make_events
from .in_process import InProcess
from .ray_driver import RayWorkers
from .ray_learner import RayActors
from .ray_trajectories import RayTrajectories
from .settings import Plan
from .workers import Workers

RAY: dict[str, Callable[[Plan, int], Driver]] = {
    "": RayWorkers,  # which refuses it
    "team": RayWorkers,
    "actors": RayActors,
    "trajectories": RayTrajectories,
}


def new_driver(plan: Plan, stack: contextlib.ExitStack, steps: int = 0) -> Driver:
    """Make the driver of a run that has done `steps` steps before; it is closed with `stack`."""
    if plan.settings.workers is not None:
        driver: Driver = RAY[plan.agent_class.distributed](plan, steps)
    else:
        driver = Workers(plan) if plan.agent_class.asynchronous else InProcess(plan, steps)
    stack.callback(driver.close)
    return driver


def new_agent(plan: Plan, driver: Driver) -> Agent:
    """Make an untrained agent, or return the one that was given; ConfigError if it does not fit into memory.

    Raises SpaceError if the one that was given was made for other spaces.
    """
    if plan.given.agent is not None:
        return _given_agent(plan, plan.given.agent, driver)
    try:
        agent = plan.agent_class(
            driver.observation_space,
            driver.action_space,
            plan.config,
            num_envs=plan.settings.num_envs,
            seed=plan.settings.seed,
            device=plan.settings.device,
        )
    except MemoryError as error:
        raise ConfigError(f"the agent does not fit into memory ({error}): lower the settings of its size") from error
    if plan.network is not None:
        set_network(agent, plan.network)
    agent.check_saved()
    if plan.settings.workers is None and (count := shares.count(plan)) > 1:
        shares.give_streams(agent, range(count))
    return agent


def with_horizon(plan: Plan) -> Plan:
    """Return the plan in which the schedules of an agent that has learned before end with this run, unless it knows."""
    agent: Any = plan.given.agent
    if not getattr(agent, "steps", 0) or agent.config.total_steps:
        return plan
    return dataclasses.replace(plan, config=plan.config.replace(total_steps=agent.steps + plan.settings.steps))


def _given_agent(plan: Plan, agent: Agent, driver: Driver) -> Agent:
    evaluation.check_spaces(agent, driver.observation_space, driver.action_space, driver.env_id)
    agent.config = plan.config  # with the step at which schedules end
    agent.begin_elsewhere()
    return agent


def check(plan: Plan) -> None:
    """Raise ConfigError if the run needs a device or a package that this machine lacks, or objects that it cannot use.

    No object reaches the processes of an asynchronous agent, but by a name.
    """
    backend.load_kernels("cpu")  # where DBRRL_KERNELS is wrong, that is said first
    if plan.agent_class.asynchronous:
        objects.check_asynchronous(plan.given, plan.settings.agent)
    shares.check(plan)
    devices.check(plan)
    check_events(plan.settings.tensorboard)
    trackers.check(plan)


def begin(plan: Plan, stack: contextlib.ExitStack) -> tuple[Plan, Driver, Agent]:
    """Make a new run's driver and agent; return its plan too, with "auto" replaced by the chosen device.

    Raises ConfigError as `check` does, before anything is made.
    """
    check(plan)
    if plan.settings.device == "auto":
        if plan.agent_class.asynchronous or plan.settings.workers is not None:
            what = "runs a process per environment" if plan.agent_class.asynchronous else "has its workers"
            plan = devices.on(plan, "cpu", f"{plan.settings.agent} {what} on the CPU")
        elif (copies := devices.copies(plan)) >= devices.MANY:
            plan = devices.on(plan, *devices.choose(0, copies, devices.missing_gpu()))
    if plan.settings.device != "auto":
        driver = new_driver(plan, stack)
        check_evaluation(plan, driver)
        return plan, driver, new_agent(plan, driver)
    here = devices.on(plan, "cpu")  # the size of the agent's layers decides
    driver = new_driver(here, stack)
    check_evaluation(here, driver)
    agent = new_agent(here, driver)
    missing = devices.missing_gpu() if agent.largest_matmul >= devices.LARGE else None
    plan = devices.on(plan, *devices.choose(agent.largest_matmul, 0, missing))
    if plan.settings.device != "cpu":  # environments that can follow the agent to its device are made there
        driver.close()
        driver = new_driver(plan, stack)
        agent = new_agent(plan, driver)
    return plan, driver, agent


def check_evaluation(plan: Plan, driver: Driver) -> None:
    """Raise SpaceError or EnvError, before training, if an environment of one's own cannot serve in evaluations."""
    if plan.given.env is None and plan.settings.eval_env is None:
        return
    envs = evaluation.environments(plan, 1, kind=driver.kind)
    try:
        for what in ("observation_space", "action_space"):
            if getattr(envs, what) != getattr(driver, what):
                raise SpaceError(
                    f"eval_env: expected the {what.replace('_', ' ')} of {driver.env_id}, {getattr(driver, what)}, got "
                    f"{getattr(envs, what)} of {envs.env_id}: evaluate in an environment of the same spaces"
                )
    finally:
        envs.close()


def beginning(plan: Plan, agent: Agent) -> list[str]:
    """Return the lines to print before the first step: a missing preset, and the step of the first update."""
    settings, lines = plan.settings, []
    if not registry.preset(settings.agent, settings.env):
        lines.append(f"no preset for {settings.agent} on {settings.env}: the defaults, and what is given")
    if settings.workers is not None and plan.agent_class.distributed == "trajectories":
        lines.append("workers do not wait for each other: a run is not repeated bit for bit, and resumed without loss")
    steps = [value for value in vars(agent).values() if isinstance(value, CompiledStep)]
    if steps and agent.compiled and recorder("cpu") is not None and (why := not_recorded(agent)):
        lines.append(f"updates run op by op, not as a compiled program: {why}")
    first = _first_update(agent)
    if first is not None:
        never = "" if first <= settings.steps else f", after the last of {settings.steps:,}: nothing will be learned"
        lines.append(f"first update at step {first:,}{never}")
    return lines


def _first_update(agent: Agent) -> int | None:
    c, num_envs = agent.config, agent.num_envs
    rollout = getattr(agent, "n_steps", None) or getattr(c, "n_steps", None)
    if rollout:
        return int(rollout * num_envs)
    if not hasattr(c, "learning_starts") or not hasattr(c, "update_interval"):
        return None
    steps = -(-max(1, c.learning_starts) // num_envs) * num_envs
    while steps // c.update_interval == (steps - num_envs) // c.update_interval:
        steps += num_envs
    return int(steps)


def same_agent(plan: Plan, driver: Driver, saved: State, directory: RunDirectory) -> Agent:
    """Load the agent of an exact checkpoint; an error if it has another class, spaces or settings than this run."""
    place, device = directory.checkpoints, plan.settings.device
    agent = plan.agent_class.from_record(saved, place, device=device, network=plan.network)
    resuming.check_spaces(agent, driver, str(directory.checkpoints))
    if agent.config != plan.config:
        raise RunError(f"{directory.config}: its [config] is not that of the checkpoint: undo the change")
    return agent


def callbacks(
    plan: Plan, directory: RunDirectory | None, stack: contextlib.ExitStack, purge_step: int | None = None
) -> list[Callback]:
    """Make the callbacks that the settings ask for, closed with `stack`; `purge_step`: see `Events`."""
    made: list[Callback] = [] if plan.settings.stop_at is None else [StopAt(plan.settings.stop_at)]
    events = make_events(directory.events, plan.settings.tensorboard, purge_step) if directory is not None else None
    if events is not None:
        stack.callback(events.close)
        made.append(events)
    for tracker in trackers.make(plan, directory.path) if directory is not None else ():
        stack.callback(tracker.close)
        made.append(tracker)
    return made


def use_threads(plan: Plan, agent: Agent, stack: contextlib.ExitStack) -> None:
    """Use the BLAS threads of the settings, or as many as suit the agent's layers, until `stack` is closed; let the
    agent run by programs, or op by op.
    """
    backend.keep_freed_memory()
    threads = plan.settings.threads or backend.auto_blas_threads(agent.largest_matmul)
    stack.enter_context(backend.using_blas_threads(threads))
    agent.compiled = agent.compiled and plan.settings.compile


def use_precision(plan: Plan, stack: contextlib.ExitStack) -> str:
    """Use TF32 until `stack` is closed, if it is set and there is a GPU; return a line to print, or ""."""
    on = plan.settings.tf32 and plan.settings.device != "cpu"
    stack.enter_context(backend.using_tf32(on))
    return "tf32: matrix products and convolutions round their factors to 10 bits" if on else ""


def full_record(plan: Plan, driver: Driver) -> dict[str, Any]:
    """Return the content of config.toml: the settings in effect, the software and the machine.

    Raises ConfigError if TOML cannot hold an argument for the environment.
    """
    _check_plain(plan.env_kwargs, "env_kwargs")
    _check_plain(plan.eval_env_kwargs, "eval_env_kwargs")
    chosen = {"vectorization": driver.kind, "threads": backend.blas_threads()}
    if plan.device_reason:
        chosen["device"] = f"{plan.settings.device}: {plan.device_reason}"
    machine = backend.machine_record(plan.settings.device) | {"kernels": backend.load_kernels("cpu").extension.level()}
    about = {"versions": record.versions(), "machine": machine}
    if plan.given.agent is not None:
        about["given"] = {"agent": True}
    return plan.to_dict() | {"preset": plan.preset, "chosen": chosen} | about


def stem(plan: Plan) -> str:
    """Return the first part of the run's name: "ppo-CartPole-v1-seed0"."""
    settings = plan.settings
    agent, env = (re.sub(r"[^\w.-]+", "-", name).strip("-") for name in (settings.agent, settings.env))
    return f"{agent}-{env}-seed{settings.seed}"


def title(plan: Plan) -> str:
    """Return the title of the run's learning curve."""
    return f"{plan.settings.agent} on {plan.settings.env}, seed {plan.settings.seed}"


def _check_plain(value: Any, place: str) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_plain(entry, f"{place}: {key}")
    elif isinstance(value, list | tuple):
        for entry in value:
            _check_plain(entry, place)
    elif type(value) not in (bool, int, float, str):
        raise ConfigError(
            f"{place}: expected texts, numbers, booleans, lists and tables, which config.toml can hold, "
            f"got {type(value).__name__}: set it in an environment class of your own"
        )
