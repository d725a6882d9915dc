"""Spaces of every kind, and random transitions for agents that act in them."""

from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import checkpoint

spaces = gym.spaces
BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
TWO = spaces.Discrete(2)
OBSERVATIONS = {
    "box": BOX,
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "discrete": spaces.Discrete(4, start=1),
    "image": IMAGE,
    "dict": spaces.Dict({"seen": IMAGE, "felt": BOX, "where": spaces.Discrete(3)}),
}
ACTIONS = {
    "discrete": spaces.Discrete(3, start=-1),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(2),
    "box": spaces.Box(-0.1, 0.1, (2,), np.float32),
    "box-matrix": spaces.Box(np.float32([[-2, 0]]), np.float32([[2, 0.5]])),
}


def actions_for(kind: Any) -> Any:
    """An action space that a kind of agent serves: two choices, or a number in [-1, 1]."""
    return TWO if spaces.Discrete in kind.action_spaces else spaces.Box(-1.0, 1.0, (1,), np.float32)


def feed(agent: Any, steps: int, *, first: int = 0, scale: float = 1.0) -> None:
    """Random transitions, always the same for the same `first`."""
    for t in range(first, first + steps):
        rng = np.random.default_rng(t)
        agent.act(rng.normal(size=(agent.num_envs, 3)).astype(np.float32) * scale)
        ends = rng.random((2, agent.num_envs)) < 0.1
        following = rng.normal(size=(agent.num_envs, 3)).astype(np.float32) * scale
        agent.observe(following, rng.normal(size=agent.num_envs) * scale, ends[0], ends[1] & ~ends[0])


def content(agent: Any) -> bytes:
    """All of its state as bytes."""
    return checkpoint.encode(agent.state_dict(), kind="agent")
