"""Small agents that learn within a few steps, and networks for them."""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.agents import DQN, PPO

from .feeding import BOX, TWO, spaces

QUICK = {"learning_starts": 4, "batch_size": 8, "update_interval": 2, "buffer_size": 40, "hidden_sizes": (8,)}


def make_ppo(
    observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> PPO:
    config = {"n_steps": 8, "batch_size": 8, "n_epochs": 2} | settings
    return PPO(observation, action, PPO.Config(**config), num_envs=num_envs, seed=seed, device=device)


def make_q_learner(
    kind: type[DQN] = DQN, space: Any = BOX, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> Any:
    actions = spaces.Discrete(3, start=-1)
    return kind(space, actions, kind.Config(**{**QUICK, **settings}), num_envs=num_envs, seed=seed, device=device)


class Shared(nn.Module):
    """Policy and values on one trunk."""

    def __init__(self, outputs: int) -> None:
        self.trunk = nn.Linear(3, 16, rng=0)
        self.heads = nn.Linear(16, outputs + 1, rng=1)

    def forward(self, observation: Any) -> tuple[Any, Any]:
        both = self.heads(F.tanh(self.trunk(observation)))
        return both[:, :-1], both[:, -1]

    def policy(self, observation: Any) -> Any:
        return self.forward(observation)[0]

    def value(self, observation: Any) -> Any:
        return self.forward(observation)[1]


class Known(nn.Module):
    """V(s) is the first entry of s; logits (w, 0) with the one weight w."""

    def __init__(self) -> None:
        self.w = nn.Parameter(np.zeros(1, np.float32))

    def policy(self, observation: Any) -> Any:
        column = F.broadcast_to(self.w, (len(observation), 1))
        return F.concatenate([column, column * 0.0], axis=1)

    def value(self, observation: Any) -> Any:
        return observation[:, 0] + 0.0 * self.w.sum()

    def forward(self, observation: Any) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)
