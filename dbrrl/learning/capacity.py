"""Whether the networks and batches that an agent's settings ask for can fit into memory, asked before any is made."""

from itertools import pairwise
from math import prod
from typing import Any

import gymnasium as gym

from dbrrl.buffers import memory
from dbrrl.errors import ConfigError
from dbrrl.networks.preprocessor import is_image

_FLOAT, _DOUBLE = 4, 8  # bytes of a number; initial weights are drawn as doubles
_COPIES = 3  # of each weight at the least: itself, its gradient, and what an optimizer keeps of it
_LAST = 64  # the last hidden layer is at least so wide where its size is left to the agent
_GATES = {"lstm": 4, "gru": 3}
_CURES = {
    "hidden_sizes": "give fewer or narrower layers",
    "recurrent_size": "give a narrower memory",
    "batch_size": "give a smaller batch",
    "n_steps": "give fewer steps, or a smaller num_envs",
    "atoms": "give fewer of them",
    "quantiles": "give fewer of them",
    "cosines": "give fewer of them",
}


def check(agent: Any) -> None:
    """ConfigError where the settings of an agent, whose spaces and config are set, ask for more memory than there is.

    It names the setting that asks for most. The numbers are the least that settings of these names take in this
    library's own agents: what passes may still not fit. Buffers are asked for where they are made.
    """
    wanted, free = needs(agent), memory.available_bytes()
    total = sum(wanted.values())
    if free is None or total <= free:
        return
    name = max(wanted, key=lambda one: wanted[one])
    value = getattr(agent.config, name)
    told = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    others = f", {total / 1e9:,.1f} GB with the rest" if total > wanted[name] else ""
    raise ConfigError(
        f"{name}: expected at most the {free / 1e9:,.1f} GB of memory available, {told} needs "
        f"{wanted[name] / 1e9:,.1f} GB{others}: {_CURES[name]}"
    )


def needs(agent: Any) -> dict[str, int]:
    """Bytes of the host's memory that an agent takes at the least, by the name of the setting that asks for them."""
    config, actions = agent.config, int(getattr(agent.action_space, "n", 1))
    inputs, pixels = _numbers(agent.observation_space)
    asked = getattr(config, "hidden_sizes", ())
    hidden = tuple(asked or ())
    on_policy, last = hasattr(config, "n_steps"), hidden[-1] if hidden else _LAST if asked is None else 1
    gates = _GATES.get(str(getattr(config, "recurrent", "none")), 0)
    size = int(config.recurrent_size) if gates else 0
    wanted: dict[str, int] = {}
    if hidden:
        weights = [a * b for a, b in pairwise((size or inputs, *hidden))]
        wanted["hidden_sizes"] = _bytes(sum(weights) * (2 if on_policy else 1), max(weights))
    if size:
        wanted["recurrent_size"] = _bytes(gates * size * (size + inputs), gates * size * size)
    for name, outputs in (("atoms", actions), ("cosines", 1), ("quantiles", actions)):
        if hasattr(config, name) and "cosines" not in wanted:  # with them, quantiles are no outputs
            wanted[name] = _bytes(int(getattr(config, name)) * outputs * last, 0)
    if agent.device != "cpu":
        return wanted
    row = _FLOAT * inputs + pixels
    if on_policy:  # whose batches are parts of a rollout, which is short where n_steps is not given
        wanted["n_steps"] = int(config.n_steps or 1) * agent.num_envs * (row + _FLOAT * max((1, *hidden)))
    elif hasattr(config, "batch_size"):
        wanted["batch_size"] = int(config.batch_size) * (2 * row + _FLOAT * (actions + sum(hidden)))
    return wanted


def _numbers(space: gym.Space[Any]) -> tuple[int, int]:
    """Numbers of the vector that an encoder makes of an observation, and bytes of its images, at the least."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        parts = [_numbers(part) for part in (space.values() if isinstance(space, gym.spaces.Dict) else space)]
        return sum(one for one, _ in parts), sum(pixels for _, pixels in parts)
    size = prod(space.shape or ())
    return (0, size) if is_image(space) else (size, 0)


def _bytes(weights: int, largest: int) -> int:
    """Return the bytes of so many weights, the largest matrix of which is drawn at once."""
    return _COPIES * _FLOAT * weights + _DOUBLE * largest
