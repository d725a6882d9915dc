"""Whether a network that takes the place of an agent's own fits it: found out on copies and blank observations."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import to_device
from dbrrl.backend.trees import leaves
from dbrrl.errors import AnomalyError, ConfigError
from dbrrl.nn.module import Module
from dbrrl.types import Observation

ROWS = 3  # blank observations
Read = Callable[[Any, Observation], dict[str, Any]]


def check(agent: Any, network: Any, read: Read, expected: dict[str, Any], own: Any = None) -> None:
    """Refuse a network whose outputs have other shapes than an agent needs; nothing of it changes.

    Args:
        agent: the agent, whose preprocessor says what the network takes, and whose device is the network's.
        network: a module.
        read: returns the outputs, by name, of a network for `ROWS` observations.
        expected: shapes of outputs.
        own: the network that it replaces; its outputs have the shapes of those that `expected` does not name.

    Raises:
        ConfigError: it is no module, it does not take the observations, or an output has another shape.
    """
    if not isinstance(network, Module):
        raise ConfigError(f"network: expected an nn.Module, got {type(network).__name__}")
    given, device = agent.preprocessor, agent.device
    zeros = [np.zeros((ROWS, *shape), dtype) for shape, dtype in zip(given.shapes, given.dtypes, strict=True)]
    blank = given.named([array if device == "cpu" else to_device(array, device) for array in zeros])
    if own is not None:
        expected = _shapes(agent, own, blank, read) | expected
    try:
        found = _shapes(agent, network, blank, read)
    except Exception as error:
        names = [f"{name}: " for name in given.names] or [""]
        taken = ", ".join(f"{name}{x.dtype} {x.shape}" for name, x in zip(names, leaves(blank), strict=True))
        raise ConfigError(
            f"network: expected one that takes {ROWS} observations ({taken}), got {type(error).__name__}: {error}"
        ) from error
    for name, shape in found.items():
        if shape != expected.get(name, shape):
            wanted = f"{name} of shape {expected[name]}"
            cure = "change its last layer"
            if shape == expected[name][1:]:
                cure = "it reads the first row alone; networks take an array or a dict of arrays, no list of `parts`"
            raise ConfigError(f"network: expected {wanted} for {ROWS} observations, got {shape}: {cure}")


def _shapes(agent: Any, network: Module, observation: Observation, read: Read) -> dict[str, Any]:
    """The shapes of what a copy of the network gives in evaluation mode; {} where that cannot be found out."""
    try:
        twin = copy.deepcopy(network).to(agent.device).eval()
    except Exception:  # it holds what cannot be copied, such as a file: the first act tells whether it fits
        return {}
    try:
        with no_grad(), np.errstate(all="ignore"):
            outputs = read(twin, observation)
    except AnomalyError:  # blank observations may well give what is not finite
        return {}
    except AttributeError as error:
        if error.obj is agent:  # one of the user's own, whose constructor has not ended yet
            return {}
        raise
    return {name: tuple(x.shape) if hasattr(x, "shape") else type(x).__name__ for name, x in outputs.items()}
