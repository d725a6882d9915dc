"""The attribute `network` of agents that learn an actor and critics from replay, which can be set to one's own."""

from typing import Any

from dbrrl.errors import ConfigError
from dbrrl.networks import fitting
from dbrrl.nn import Module


def _network(agent: Any) -> Any:
    """The actor and the critics, one module; set it before training to a module of your own that has both.

    See `dbrrl.networks.continuous.ActorAndCritics`. Their targets, optimizers and gradient steps are made anew. A
    ConfigError tells what does not fit.
    """
    return agent._network


def _set_network(agent: Any, module: Any) -> None:
    for name in ("actor", "critics"):
        if not isinstance(module, Module) or not isinstance(getattr(module, name, None), Module):
            raise ConfigError(
                f"network: expected an nn.Module with the modules `actor` and `critics`, got {type(module).__name__}: "
                "write it like dbrrl.networks.continuous.ActorAndCritics"
            )
    own = getattr(agent, "_network", None)
    if own is not None:
        fitting.check(agent, module, agent.outputs, {}, own)
    agent.replaced = own is not None
    agent._network = module.to(agent.device)
    agent.actor, agent.critics = module.actor, module.critics
    agent.make_steps()


network = property(_network, _set_network)
