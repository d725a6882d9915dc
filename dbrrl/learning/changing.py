"""Settings that may change while an agent learns: what of an agent follows them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from dbrrl.config import settings
from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError
from dbrrl.learning.gradient_step import GradientStep

CHANGEABLE = (
    "learning_rate", "actor_learning_rate", "temperature_learning_rate", "clip_range", "clip_range_value",
    "entropy_coef", "value_coef", "target_kl", "n_epochs", "epsilon", "noise_scale", "max_grad_norm", "tau",
)  # fmt: skip
_RATES = ("learning_rate", "actor_learning_rate", "temperature_learning_rate")
_EXPLORED = ("epsilon", "noise_scale")


def changeable(agent: Any) -> tuple[str, ...]:
    """Return the settings of an agent that may change while it learns."""
    if agent.asynchronous:
        return ()
    return tuple(name for name in CHANGEABLE if hasattr(agent.config, name))


def change(agent: Any, values: Mapping[str, Any]) -> Callable[[], None]:
    """Return what lets an agent go on with other values of settings, as one that is loaded with them would.

    Raises:
        ConfigError: a setting that the agent has not or that may not change, or a value out of range.
    """
    known = changeable(agent)
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) if known else ": none of this agent's may"
            raise ConfigError(f"{name}: may not change while {agent.name} learns{hint}")
    config = agent.config.replace(**values)
    for entry in settings(type(config)):
        missing = entry.unmet(config) if entry.name in values else None
        if missing is not None:
            raise ConfigError(f"{entry.name}: {missing.error(config)}")
    fresh: Any = None
    if any(name in _RATES or name in _EXPLORED or name == "max_grad_norm" for name in values):
        fresh = _fresh(agent, config)
    return functools.partial(_apply, agent, config, fresh, values)


def _apply(agent: Any, config: Any, fresh: Any, values: Mapping[str, Any]) -> None:
    """Give an agent these settings, and what an agent that was made with them has for them."""
    agent.config = config
    if any(name in _RATES for name in values):
        for own, other in zip(agent.optimizers, fresh.optimizers, strict=True):
            if (own.schedule, own.learning_rate) != (other.schedule, other.learning_rate):
                own.schedule, own.learning_rate = other.schedule, other.learning_rate
    if "max_grad_norm" in values:
        for name, step in vars(fresh).items():
            if isinstance(step, GradientStep):
                getattr(agent, name).max_grad_norm = step.max_grad_norm
    if any(name in _EXPLORED for name in values):
        fresh.explorer.load_state_dict(agent.explorer.state_dict())
        agent.explorer = fresh.explorer


def _fresh(agent: Any, config: Any) -> Any:
    """Return an agent with these settings that has learned nothing, without room for much replay."""
    small = {"buffer_size": agent.num_envs, "buffer_file": None, "buffer_device": "host"}
    alone = config.replace(**{name: value for name, value in small.items() if hasattr(config, name)})
    spaces = agent.observation_space, agent.action_space
    return type(agent)(*spaces, alone, num_envs=agent.num_envs, seed=agent.seed, device=agent.device)
