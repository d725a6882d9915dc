"""Networks whose outputs can be worked out by hand, and a batch of three transitions, for the continuous agents."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.buffers import Batch

BOX = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


class Stub(nn.Module):
    """A module that computes a function, times a parameter of 1, so that there is something to differentiate."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.one, self.function = nn.Parameter(np.ones(1, np.float32)), function

    def forward(self, *inputs: Any) -> Any:
        return self.function(self.one, *inputs)


def tensor(x: Any) -> Tensor:
    return Tensor(np.asarray(x, np.float32))


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def three(**more: Any) -> Batch:
    """Three transitions: on, cut after some steps, ended."""
    return Batch(
        observation=column(0.2, 0.4, -0.6),
        action=column(0.5, -0.5, 1.0),
        reward=np.array([1.0, 2.0, 3.0], np.float32),
        discount=np.array([0.5, 0.9, 0.0], np.float32),
        next_observation=column(1.0, -1.0, 1.8),
        index=np.arange(3),
        weight=None,
        **more,
    )
