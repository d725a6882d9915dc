"""What was given to a run as an object: an environment, the agent, a function that makes the agent's network.

A name is recorded where one leads to it. Of all else a description in angle brackets is recorded: whoever resumes the
run must give it again.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dbrrl import nn
from dbrrl.config import Config
from dbrrl.envs import given
from dbrrl.errors import ConfigError, RunError
from dbrrl.learning.agent import Agent

from . import registry

MakeNetwork = Callable[[Agent], nn.Module]
OF_THE_AGENT = "<network of the agent that was given>"


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of a run that no name leads to; None: a name does, or there is none.

    Attributes:
        agent: the agent to train.
        env, eval_env: what is trained and evaluated in.
        network: returns the network of an agent.
    """

    agent: Agent | None = None
    env: given.Factory | given.Instance | None = None
    eval_env: given.Factory | given.Instance | None = None
    network: MakeNetwork | None = None


def environment(env: Any, recorded: str | None = None) -> tuple[str, given.Factory | given.Instance | None]:
    """Return the name to record of an environment, and the object if that name does not lead to it.

    `recorded`: the name in the record of the run that goes on.
    """
    found = given.of(env)
    if recorded is not None and given.is_description(recorded) and not isinstance(env, str):
        if isinstance(found, str):  # another program may hold it in a module
            found = given.Factory(recorded, env)
        elif isinstance(found, given.Factory):
            found = dataclasses.replace(found, name=recorded)
        else:
            found.name = recorded
    return (found, None) if isinstance(found, str) else (found.name, found)


def class_of(agent: Any) -> type[Agent] | None:
    """Return the class of an agent, or the class that is given; None for a name, ConfigError for anything else."""
    if not isinstance(agent, str | type | Agent):
        raise ConfigError(f"agent: expected a name, a class or an agent, got {agent!r:.60}: give one of these")
    return type(agent) if isinstance(agent, Agent) else agent if isinstance(agent, type) else None


def network(make: Any, recorded: str | None = None) -> tuple[str, MakeNetwork | None]:
    """Return the name to record of a function that makes networks, and the function if that does not lead to it."""
    if isinstance(make, str):
        return make, None
    if isinstance(make, nn.Module) or not callable(make):
        raise ConfigError(
            "network: expected a function that returns the network of an agent, network(agent), or its name "
            f"package.module:function, got {type(make).__name__}: write lambda agent: ..."
        )
    name = given.found_by_name(make)
    if recorded is not None and given.is_description(recorded):
        return recorded, make
    return (name, None) if name else (given.described(make, "network"), make)


def resolved(
    explicit: Mapping[str, Any],
    config: Mapping[str, Any],
    agent: Agent | None,
    env: Any,
    eval_env: Any,
    kwargs: Mapping[str, Any],
) -> tuple[dict[str, Any], Objects]:
    """Return the settings of a new run with the names of what was given as an object, and the objects.

    Args:
        explicit: settings of the run and of the agent that are given.
        config: settings of the agent that are given in a table.
        agent: an agent that is made already.
        env, eval_env: environments in any form.
        kwargs: tables of arguments for the environment.

    Raises:
        ConfigError: an object contradicts a setting, or another object.
        EnvError: an environment is none, or cannot be copied for evaluations.
    """
    wanted: dict[str, Any] = dict(explicit)
    made = Objects(agent=agent)
    if agent is not None:
        wanted = settings_of(agent, wanted, config) | wanted
    wanted["env"], made_env = environment(env)
    made = dataclasses.replace(made, env=made_env)
    if isinstance(made_env, given.Instance):
        wanted |= settings_of_env(made_env, wanted, kwargs)
        if eval_env is None:
            made_env.keep_copy()
    if eval_env is not None:
        wanted["eval_env"], made_eval = environment(eval_env)
        if made_env is not None and eval_env is env:
            raise ConfigError(f"eval_env: expected another environment than env, {made_env.name}: leave it out")
        made = dataclasses.replace(made, eval_env=made_eval)
    if explicit.get("network") is not None:
        wanted["network"], make = network(explicit["network"])
        made = dataclasses.replace(made, network=make)
    return wanted, made


def resumed(
    file: Mapping[str, Any], agent: Any, env: Any, eval_env: Any, make_network: Any
) -> tuple[dict[str, str], Objects]:
    """Return the names of what is given again for a run that goes on, of whose config.toml `file` is the content.

    Returns the objects too. Raises ConfigError or EnvError as `resolved` does.
    """
    named: dict[str, str] = {}
    made: dict[str, Any] = {}
    if isinstance(agent, Agent):
        raise ConfigError("agent: a run goes on with the agent of its checkpoint, got another: give its class, or none")
    if agent is not None:
        named["agent"] = agent if isinstance(agent, str) else registry.name_of(agent)
    for field, value in (("env", env), ("eval_env", eval_env)):
        if value is not None:
            named[field], made[field] = environment(value, file.get(field))
    if make_network is not None:
        named["network"], made["network"] = network(make_network, file.get("network"))
    found = Objects(**made)
    if isinstance(found.env, given.Instance) and str(file.get("eval_env", "none")) == "none":
        found.env.keep_copy()
    return named, found


def settings_of(agent: Agent, chosen: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that an agent which is made already brings with it.

    Args:
        agent: the agent.
        chosen: settings that are given in addition.
        config: the agent's settings that are given in addition.

    Raises:
        ConfigError: one of them is not as the agent was made.
    """
    own: dict[str, Any] = agent.config.to_dict()
    made: dict[str, Any] = {"num_envs": agent.num_envs, "device": agent.device, "seed": agent.seed} | own
    for name, value in (dict(config) | dict(chosen)).items():
        if name == "network":
            raise ConfigError("network: the agent that is given has its network: set agent.network, or give its class")
        if name not in made or (name == "total_steps" and not own.get("total_steps")):
            continue
        if _plain(value) != _plain(made[name]):
            raise ConfigError(
                f"{name}: the agent that is given was made with {made[name]}, got {value}: leave it out, or give the "
                "agent's class"
            )
    if not own.get("total_steps"):
        made.pop("total_steps", None)
    return made | {"network": OF_THE_AGENT} if agent.replaced else made


def settings_of_env(env: given.Instance, chosen: Mapping[str, Any], kwargs: Mapping[str, Any]) -> dict[str, int]:
    """Return the settings that an environment which is made already brings with it.

    Raises ConfigError if one of those `chosen`, or arguments `kwargs` for the environment, are not as it was made.
    """
    count = chosen.get("num_envs", env.num_envs)
    if count != env.num_envs:
        raise ConfigError(
            f"num_envs: {env.name} is made already and counts as {env.num_envs}, got {count}: leave it out, or give a "
            "function that makes an environment"
        )
    for name in ("vectorization", "env_kwargs", "eval_env_kwargs"):
        if kwargs.get(name) or chosen.get(name, "auto") != "auto":
            raise ConfigError(f"{name}: {env.name} is made already: leave it out, or give a function that makes it")
    return {"num_envs": env.num_envs}


def check_given(file: Mapping[str, Any], objects: Objects, run: object) -> None:
    """Raise RunError if a run that goes on lacks an object of which its `file` has only a description."""
    wanted = [name for name in ("env", "eval_env", "network") if given.is_description(str(file.get(name, "")))]
    missing = [name for name in wanted if getattr(objects, name) is None]
    if missing:
        what = ", ".join(f"{name} {file[name]}" for name in missing)
        call = ", ".join(f"{name}=..." for name in wanted)
        raise RunError(
            f"{run}: was made with {what}, of which no more than this is recorded: give it again, in Python: "
            f"Experiment.resume({str(run)!r}, {call})"
        )


def check_asynchronous(made: Objects, agent: str) -> None:
    """Raise ConfigError for objects that an agent with a process per environment cannot be trained with."""
    for field in ("env", "network"):
        thing = getattr(made, field)
        if thing is not None:
            shown = thing if field == "env" else "the function"
            raise ConfigError(
                f"{field}: {agent} runs a process per environment, none of which has {shown}: put a function into a "
                f"module and give {field}='package.module:function'"
            )
    if made.agent is not None and (made.agent.num_updates or made.agent.replaced):
        raise ConfigError(
            f"agent: {agent} runs a process per environment, and each makes its own learner: expected an agent that "
            "has not learned, with its own network, got another: give its class, or train it in a loop of your own"
        )


def as_config(config: Config | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings of an agent as a table; ConfigError if they are none."""
    if isinstance(config, Config):
        return config.to_dict()
    if config is not None and not isinstance(config, Mapping):
        raise ConfigError(f"config: expected a Config or a table of settings, got {config!r:.60}: write {{...}}")
    return dict(config or {})


def function(name: str) -> MakeNetwork:
    """Return the function that makes networks and has this name; ConfigError if there is none."""
    if given.is_description(name):
        raise ConfigError(
            f"network: the run was made with {name}, an object that no name leads to: give it again, in Python: "
            "Experiment.resume(RUN, network=...), or load the agent with network= and call evaluate_policy(agent, env)"
        )
    return registry.function("network", name)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
