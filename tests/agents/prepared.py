"""A network with dropout and a running mean in front of an agent's own, and an A3C that has it."""

from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.agents import A3C


class Running(nn.Module):
    """Takes off the running mean of all that it was given in training, and counts the batches."""

    buffers = ("mean", "batches")

    def __init__(self, size: int) -> None:
        self.mean, self.batches = np.zeros(size, np.float32), np.zeros((), np.int64)

    def forward(self, x: Any) -> Any:
        if self.training:
            self.mean += 0.1 * (x.reshape(-1, x.shape[-1]).mean(0) - self.mean)
            self.batches = self.batches + 1
        return x - self.mean


class Prepared(nn.Module):
    """A network behind a running mean and dropout."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.running, self.dropout = inner, Running(4), nn.Dropout(0.5, rng=0)
        if hasattr(inner, "critic"):
            self.critic = inner.critic
        if hasattr(inner, "initial_state"):
            self.initial_state = inner.initial_state

    def prepared(self, observation: Any) -> Any:
        return self.dropout(self.running(observation))

    def forward(self, observation: Any, *rest: Any) -> Any:
        return self.inner(self.prepared(observation), *rest)

    def policy(self, observation: Any) -> Any:
        return self.inner.policy(self.prepared(observation))

    def value(self, observation: Any) -> Any:
        return self.inner.value(self.prepared(observation))


class PreparedA3C(A3C):
    """A3C, its network behind a running mean and dropout."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.network = Prepared(self.network)
