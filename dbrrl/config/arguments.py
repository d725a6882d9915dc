"""Calls that no agent takes, answered with the right one: unknown names, and what other libraries write."""

import abc
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import gymnasium as gym

from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ArgumentError, SpaceError

T = TypeVar("T")


class AgentType(abc.ABCMeta):
    """The class of all agent classes: where a constructor does not take a call, its TypeError says the right one."""

    def __call__(cls: type[T], *arguments: Any, **options: Any) -> T:
        """An agent."""
        check_defined(cls)
        try:
            return super().__call__(*arguments, **options)  # type: ignore[misc, no-any-return]
        except TypeError as error:
            line = misuse(cls, arguments, options, str(error))
            if not line:
                raise
            raise ArgumentError(line) from None


def check_defined(agent: type) -> None:
    """Raise an ArgumentError if a class of agents lacks what its base class leaves to it: its Config, methods, and the
    names of what the base class saves.
    """
    name = agent.__name__
    if not hasattr(agent, "Config"):
        raise ArgumentError(
            f"{name} has no Config: expected the dataclass of its settings, a subclass of OnPolicyConfig or "
            "OffPolicyConfig of dbrrl.learning.config, or of dbrrl.config.Config: write Config = ... in the class"
        )
    abc.update_abstractmethods(agent)  # of a class that was given methods later
    missing = sorted(getattr(agent, "__abstractmethods__", ()))
    if missing:
        raise ArgumentError(f"{name}: expected {_listed(missing)} in the class, as its base class calls it: define it")
    base: Any = next((kind for kind in agent.__mro__ if kind.__module__.startswith("dbrrl.")), agent)
    named = getattr(agent, "saved_attributes", ())
    lost = [one for one in base.saved_attributes if one not in named] if isinstance(named, tuple | list) else []
    if lost:
        raise ArgumentError(
            f"{name}.saved_attributes: expected {_listed(lost)}, too, without which a resumed run is not the run: "
            f"write (..., *{base.__name__}.saved_attributes)"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


class Described:
    """Base of agents: an agent is shown in a few lines, by what it was made with."""

    def __repr__(self: Any) -> str:
        usual = type(self.config)().to_dict()
        told = {name: value for name, value in self.config.to_dict().items() if value != usual[name]}
        made = f"{self.num_envs} environments, seed {self.seed}, {self.device}, {self.num_updates:,} updates"
        lines = [f"{type(self).__name__}: {made}"]
        for what, space in (("observation", self.observation_space), ("action", self.action_space)):
            lines.append(f"  {what}: {_short(str(space), 100)}")
        lines += [f"  {_short(', '.join(f'{name}={value}' for name, value in told.items()), 400)}"] if told else []
        return "\n".join(lines)


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...")


def misuse(agent: Any, arguments: Sequence[Any], options: Mapping[str, Any], said: str) -> str:
    """The right call, where a constructor of `agent` did not take this one and `said` so; "" where it is another error.

    Args:
        agent: the agent's class.
        arguments, options: what it was called with.
        said: the message of the TypeError.
    """
    constructors = [kind for kind in agent.__mro__ if "__init__" in vars(kind)]
    if not said.startswith(tuple(f"{kind.__qualname__}.__init__()" for kind in constructors)):
        return ""
    spaces = [*arguments[:2], *(options.get(name) for name in ("observation_space", "action_space")[len(arguments) :])]
    wrong = [value for value in spaces if not isinstance(value, gym.Space)]
    if wrong:
        others = [value for value in options.values() if isinstance(value, gym.Env | gym.vector.VectorEnv)]
        return instead_of_spaces(agent, next((value for value in [*wrong, *others] if value is not None), None))
    taken = [name for kind in constructors for name in inspect.signature(kind.__init__).parameters if name != "self"]
    unknown = [name for name in options if name not in taken]
    if not unknown:
        return ""
    name, fields = agent.__name__, list(agent.Config.__dataclass_fields__)
    known = [entry for entry in unknown if entry in fields]
    if known:
        written = ", ".join(f"{entry}={options[entry]!r}" for entry in known)
        return (
            f"{name}: {', '.join(known)}: expected settings in the config: write "
            f"{name}(observation_space, action_space, {name}.Config({written}))"
        )
    hint = did_you_mean(unknown[0], [*taken, *fields])
    return f"{name}: unknown argument {unknown[0]!r}{hint} (settings go into {name}.Config)"


def check_space(agent: type, what: str, space: Any, served: tuple[type, ...]) -> None:
    """Refuse a space that an agent does not serve; `what`: the name of what is in it.

    Raises:
        ArgumentError: it is no space.
        SpaceError: it is none of the kinds `served`.
    """
    if not isinstance(space, gym.Space):
        raise ArgumentError(instead_of_spaces(agent, space))
    if not isinstance(space, served):
        name, kinds = agent.__module__.rpartition(".")[2].lower(), ", ".join(kind.__name__ for kind in served)
        raise SpaceError(f"{name} serves {what} of the spaces {kinds}, got {space}: choose another agent")


def instead_of_spaces(agent: type, got: Any) -> str:
    """Return the message for an agent made of `got`: an environment, or a policy's name as in Stable-Baselines3."""
    single = "single_" if isinstance(got, gym.vector.VectorEnv) else ""
    spaces = f"env.{single}observation_space, env.{single}action_space"
    count = ", num_envs=env.num_envs" if single else ""
    shown = repr(got) if isinstance(got, str) else type(got).__name__
    name, module = agent.__name__, agent.__module__
    page = repr(module.rpartition(".")[2]) if module.startswith("dbrrl.agents.") else name
    return (
        f"{name}: expected the spaces of an environment (gymnasium.Space), got {shown}: write {name}({spaces}, "
        f"{name}.Config(){count}) and a loop with act and observe, or for a whole run "
        f"dbrrl.Experiment({page}, 'CartPole-v1').run()"
    )
