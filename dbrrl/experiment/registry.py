"""Finds agents by name: the modules in the agents folder, and their presets."""

import fnmatch
import functools
import importlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbrrl.config.arguments import check_defined
from dbrrl.config.suggestions import ABSENT_AGENTS, AGENTS, did_you_mean, plain
from dbrrl.errors import ConfigError
from dbrrl.learning.agent import Agent

_FOLDER = Path(__file__).parent.parent / "agents"


def agent_names() -> list[str]:
    """Return the names of dbrrl's own agents."""
    return sorted(page.stem for page in _FOLDER.glob("*.py") if not page.stem.startswith("_"))


def agent_class(name: str) -> type[Agent]:
    """Return the agent called `name` ("ppo"), or a user's own ("package.module:Class").

    Raises ConfigError, with the nearest name, if there is none.
    """
    if ":" in name:
        return _own_class(name)
    if name not in agent_names():
        raise ConfigError(f"unknown agent {name!r}{_instead(name)}")
    return _checked(importlib.import_module(f"dbrrl.agents.{name}").Agent, name)


def name_of(agent: type[Agent]) -> str:
    """Return the name by which `agent_class` finds a class: "ppo" for PPO, "package.module:Class" for a user's own."""
    page = agent.__module__.removeprefix("dbrrl.agents.")
    if page in agent_names() and agent_class(page) is agent:
        return page
    return f"{_checked(agent, str(agent)).__module__}:{agent.__qualname__}"


def preset(agent: str, env_id: str) -> dict[str, Any]:
    """Return the preset for `env_id`: fields of the run's Settings and of the agent's Config; {} if there is none.

    A preset's name may be a pattern ("ALE/*"); one with the exact name takes precedence. A preset has no module, so
    "gymnasium_robotics:FetchReach-v4" is found as "FetchReach-v4".
    """
    name, presets = env_id.rpartition(":")[2].removeprefix("dbrrl/"), _presets(agent)
    family = next((pattern for pattern in presets if fnmatch.fnmatchcase(name, pattern)), "")
    return dict(presets.get(name) or presets.get(family) or {})


@functools.cache
def _presets(agent: str) -> dict[str, Any]:
    page = _FOLDER / f"{agent}.toml"
    if agent not in agent_names() or not page.exists():
        return {}
    return tomllib.loads(page.read_text(encoding="utf-8"))


def _instead(name: str) -> str:
    """Return the end of the error for an unknown agent: its name here, agents for the same actions, or the nearest."""
    asked, known = plain(name), agent_names()
    if asked in AGENTS:
        meant, settings = AGENTS[asked]
        return f"; did you mean {meant!r}{settings}?"
    if asked in ABSENT_AGENTS:
        space, words = ABSENT_AGENTS[asked]
        serving = [one for one in known if space in {kind.__name__ for kind in agent_class(one).action_spaces}]
        return f", which is not here yet; for {words} actions: {', '.join(serving)}"
    first = asked.partition("_")[0]  # as in CleanRL's file names: ppo_continuous_action
    return did_you_mean(first if first in known else name, known)


def function(field: str, name: str) -> Callable[..., Any]:
    """Return the function "package.module:function" that the setting `field` names; ConfigError if there is none."""
    found = _import(field, name, "package.module:function")
    if not callable(found):
        raise ConfigError(f"{field} {name!r}: expected a function, got {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _own_class(name: str) -> type[Agent]:
    return _checked(_import("agent", name, "package.module:Class"), name)


def _import(field: str, name: str, form: str) -> Any:
    """Return what the name `package.module:attribute` leads to."""
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"{field} {name[:80]!r}: not the name of a module: write {form}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        own = error.name is not None and f"{module_name}.".startswith(f"{error.name}.")
        cure = "check the spelling, and run from the folder that holds it" if own else f"{module_name} imports it"
        raise ConfigError(f"{field} {name!r}: no module {error.name!r}: {cure}") from error
    if not hasattr(module, attribute):
        hint = did_you_mean(attribute, vars(module))
        raise ConfigError(f"{field} {name!r}: {module_name} has no {attribute!r}{hint}")
    return getattr(module, attribute)


def _checked(found: Any, name: str) -> type[Agent]:
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise ConfigError(f"agent {name!r}: expected a subclass of dbrrl.learning.agent.Agent, got {found!r}")
    check_defined(found)
    return found
