"""What an agent with a policy and a value network tells of them, and how it goes on in other environments."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from dbrrl import nn
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import to_numpy
from dbrrl.checkpoint import State
from dbrrl.config import Config
from dbrrl.distributions import Distribution
from dbrrl.learning.agent import Agent
from dbrrl.networks.actor_critic import FeedForward
from dbrrl.networks.recurrence import Recurrent


class OpenPolicy(Agent):
    """The part of an `OnPolicyAgent` that no update needs."""

    sized_by: ClassVar[Mapping[str, tuple[str, ...]]] = {"rollout": ("n_steps",), "memory": ("n_steps",)}
    rollout: Any
    memory: FeedForward | Recurrent
    network: Any
    reward_norm: Any

    def preprocess(self, observation: Any, update: bool = False) -> Any:
        """Return the network's input for a batch of observations."""
        raise NotImplementedError

    def distribution(self, outputs: Any) -> Distribution:
        """Return the policy π(·|s) of a batch of the network's outputs."""
        raise NotImplementedError

    def adapted(self, state: State, config: Config, num_envs: int) -> State:
        """As `Agent.adapted`; of the normalization of rewards the statistics stay."""
        found = super().adapted(state, config, num_envs)
        if self.reward_norm is not None and num_envs != self.num_envs:
            found["reward_norm"] = found["reward_norm"] | {"returns": np.zeros(self.num_envs)}
        return found

    def begin_elsewhere(self) -> None:
        """Drop the rollout that is not full, as what is acted on next does not follow it."""
        super().begin_elsewhere()
        self.rollout.clear()
        self.memory = type(self.memory)(self.network, self.num_envs)
        if self.reward_norm is not None:
            self.reward_norm.returns = np.zeros(self.num_envs)

    def action_distribution(self, observation: Any, episode_start: Any = None) -> Distribution:
        """Return π(·|s) of a batch of observations, a row each; a single observation is a batch of one.

        Its samples are as a rollout stores them: an action of a Discrete counts from 0, one of a Box is not clipped.
        Nothing of the agent changes; `episode_start` as in `act`.
        """
        return self._look(observation, episode_start)[0]

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return V(s) of a batch of observations, float32 (B,), or of a single one, a number.

        It is in the unit of what is learned from: that of normalized rewards, if these are normalized.
        """
        values = to_numpy(plain(self._look(observation, episode_start)[1]))
        return float(values[0]) if self.as_batch(observation)[1] else values

    def _look(self, observation: Any, episode_start: Any) -> tuple[Distribution, Any]:
        batch, _ = self.as_batch(observation)
        with nn.evaluation(noise=False):
            outputs, values = self.memory.look(self.to_device(self.preprocess(batch)), episode_start)
            return self.distribution(outputs), values
