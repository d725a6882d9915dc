"""An agent made again from its record, which may say anything: nothing is made that the record could not fill."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dbrrl import checkpoint, nn
from dbrrl.checkpoint import State, untrusted
from dbrrl.config import Config
from dbrrl.errors import ConfigError
from dbrrl.learning.spaces import space_from_state

# Settings of what the weights of a network mean: with others they are of no use.
_OF_WEIGHTS = ("activation", "scale_observation", "normalize_observation", "frame_stack", "recurrent")


def agent_of(
    cls: Any, record: State, device: str, acting: bool, make_network: Callable[[Any], Any] | None = None
) -> tuple[Any, bool]:
    """The agent of class `cls` in a record, and whether it lacks the network that took the place of its own.

    Raises whatever a record that is not one of `cls` makes fail.
    """
    with untrusted.budget(untrusted.nbytes(record)):
        untrusted.table(record, "", "spaces", "config", "state", "num_envs", "seed")
        num_envs = untrusted.whole(record["num_envs"], "num_envs", 1)
        untrusted.ask(8 * num_envs, "num_envs")
        record = cls.for_acting(record) if acting else record
        agent = cls(
            space_from_state(record["spaces"]["observation"]),
            space_from_state(record["spaces"]["action"]),
            cls.Config.from_dict(record["config"]),
            num_envs=num_envs,
            seed=untrusted.whole(record["seed"], "seed", at_most=2**128),
            device=device,
        )
        if make_network is not None:
            set_network(agent, make_network)
        foreign = bool(record.get("replaced")) and not agent.replaced
        if not foreign:
            agent.load_state_dict(agent.state_dict() | record["state"] if acting else record["state"])
        return agent, foreign


def set_network(agent: Any, make: Callable[[Any], Any]) -> None:
    """Give an agent the network that `make(agent)` returns; ConfigError if there is none, or it does not fit."""
    name = getattr(make, "__qualname__", type(make).__name__)
    if isinstance(make, nn.Module) or not callable(make):
        raise ConfigError(
            f"network: expected a function that returns the network of an agent, network(agent), got "
            f"{type(make).__name__}: write lambda agent: ..."
        )
    if getattr(type(agent), "network", None) is None:
        raise ConfigError(f"network: {agent.name} has not one network that can be replaced: override what makes them")
    try:
        inspect.signature(make).bind(agent)
    except ValueError:  # a constructor that does not tell
        pass
    except TypeError as error:
        raise ConfigError(f"network: expected {name} to take the agent, network(agent), got {error}") from error
    module = make(agent)
    if not isinstance(module, nn.Module):
        got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise ConfigError(f"network: expected {name} to return a dbrrl.nn.Module, got {got}")
    agent.network = module


def remade(
    agent: Any, config: Config | Mapping[str, Any] | None, num_envs: int | None, network: Callable[[Any], Any] | None
) -> Any:
    """Return an agent with the state of `agent` and other settings; `agent` itself if nothing differs.

    Args:
        agent: the agent.
        config: a Config, or a table of those settings that differ.
        num_envs: how many environments it is for.
        network: makes its network, if `agent` has another than its own.

    Raises:
        ConfigError: the state does not fit the settings.
    """
    before = agent.config
    wanted = config if isinstance(config, Config) else before.replace(**dict(config or {}))
    count = agent.num_envs if num_envs is None else num_envs
    if wanted == before and count == agent.num_envs:
        return agent
    for name in _OF_WEIGHTS:
        was, now = getattr(before, name, None), getattr(wanted, name, None)
        if was != now:
            raise ConfigError(
                f"{name}: the weights were learned with {was}, got {now}: keep it, or make a new agent to learn others"
            )
    spaces = agent.observation_space, agent.action_space
    made = type(agent)(*spaces, wanted, num_envs=count, seed=agent.seed, device=agent.device)
    if agent.replaced and network is not None:
        set_network(made, network)
    with checkpoint.borrowed():
        state = made.adapted(agent.state_dict(), before, agent.num_envs)
        try:
            made.load_state_dict(state)
        except Exception as error:  # of another size
            changed = [name for name, value in wanted.to_dict().items() if before.to_dict().get(name) != value]
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"{', '.join(changed) or 'num_envs'}: what the agent has learned does not fit this ({reason}): keep "
                "what it was saved with"
            ) from error
    return made
