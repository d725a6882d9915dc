"""Methods of `OnPolicyAgent` that no update needs: how it chooses actions, what it tells of its policy and its values,
how it takes back a state, and how it goes on in other environments.
"""

from typing import Any

import numpy as np

from dbrrl import nn, seeding
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import to_numpy
from dbrrl.checkpoint import State, untrusted
from dbrrl.config import Config
from dbrrl.distributions import Distribution
from dbrrl.learning.agent import Agent
from dbrrl.learning.saved_agent import state_of
from dbrrl.networks import actor_critic
from dbrrl.types import Metrics, Observation


def adapted(self: Any, state: State, config: Config, num_envs: int) -> State:
    """As `Agent.adapted`; of the normalization of rewards the statistics stay, and streams of shares end."""
    found = Agent.adapted(self, state, config, num_envs)
    for name in ("policy_rng", "batch_rng") if num_envs != self.num_envs else ():
        if "streams" in found.get(name, ()):
            found[name] = state_of(getattr(self, name))
    if self.reward_norm is not None and num_envs != self.num_envs:
        found["reward_norm"] = found["reward_norm"] | {"returns": np.zeros(self.num_envs)}
    return found


def load_state_dict(self: Any, state: State) -> None:
    """As `Agent.load_state_dict`; recorded graphs are dropped, as their generators were replaced."""
    untrusted.absent(self, state, "observation_norm", "reward_norm")
    Agent.load_state_dict(self, state)
    self.step.forget()
    self.act_graph.forget()
    self.computed.programs.forget()


def choose(self: Any, given: Observation, explore: bool, learning: bool, episode_start: Any) -> np.ndarray:
    """Return actions as the rollout stores them, for preprocessed observations.

    Those of a policy without a state are computed by a program, where there is one.
    """
    if not self.recurrent:
        if explore:
            return self.computed(self._sampled, given, self.policy_rng, True)  # type: ignore[no-any-return]
        return self.computed(self._likeliest, given)  # type: ignore[no-any-return]
    with nn.evaluation(noise=explore):
        policy = self.distribution(self.memory.act(self.to_device(given), learning, episode_start))
    return to_numpy(policy.sample(self.policy_rng) if explore else policy.mode())


def sample(self: Any, explore: bool, *arrays: Any) -> tuple[Any, Any]:
    """Return a sample of the policy, or its mode, and the actions, on the device of the observation's arrays."""
    with nn.evaluation(noise=explore):
        policy = self.policy(self.preprocessor.named(list(arrays)))
    found = policy.sample(self.policy_rng) if explore else policy.mode()
    return found, self.head.to_action(found)


def sampled(self: Any, observation: Observation, rng: np.random.Generator) -> Any:
    """Return a sample of the policy for each observation of a batch."""
    return self.policy(observation).sample(rng)


def likeliest(self: Any, observation: Observation) -> Any:
    """Return the mode of the policy for each observation of a batch."""
    return self.policy(observation).mode()


def preprocess(self: Any, observation: Any, update: bool = False) -> Observation:
    """Return the network's input for a batch of observations; `update` adds them to the running statistics."""
    if self.observation_norm is None:
        return self.preprocessor(observation)  # type: ignore[no-any-return]
    vector, *images = self.preprocessor.exact(observation)
    if update:
        self.observation_norm.update(vector)
    return self.preprocessor.named([self.observation_norm(vector), *images])  # type: ignore[no-any-return]


def scaled_reward(self: Any, reward: Any, terminated: Any, truncated: Any, valid: Any) -> Any:
    """Return rewards as they are learned from: clipped, and divided by the deviation of the return, as is set."""
    if self.config.clip_reward:
        reward = np.clip(reward, -1, 1)
    if self.reward_norm is None:
        return reward
    ended = np.logical_or(terminated, truncated)
    return self.reward_norm(np.reshape(reward, -1), np.reshape(ended, -1), valid)


def generator(self: Any, name: str) -> Any:
    """Return a random generator of the agent's own, by name, which draws where its batches are kept."""
    return seeding.generator_on(self.device if self.keeps_data_on_gpu else "cpu", self.seed, name)


def make_network(self: Any, rng: np.random.Generator) -> nn.Module:
    """Return the networks that the settings ask for."""
    return actor_critic.network_for(self.config, self.preprocessor, self.head, rng)


def supports_device_envs(cls: Any, config: Config) -> bool:
    """All but recurrent agents."""
    return getattr(config, "recurrent", "none") == "none"


def largest_matmul(self: Any) -> int:
    """Multiply-adds of the largest layer over a minibatch, or over the rollout where there are none."""
    rows = getattr(self.config, "batch_size", self.n_steps * self.num_envs)
    found: int = self.memory.rows_at_once(rows, self.n_steps) * max(int(p.size) for p in self.network.parameters())
    return found


def statistics(self: Any) -> Metrics:
    """Return the statistics of the latest update."""
    return dict(self.latest)


def begin_elsewhere(self: Any) -> None:
    """Drop the rollout that is not full, as what is acted on next does not follow it."""
    Agent.begin_elsewhere(self)
    self.rollout.clear()
    self.memory = type(self.memory)(self.network, self.num_envs)
    if self.reward_norm is not None:
        self.reward_norm.returns = np.zeros(self.num_envs)


def action_distribution(self: Any, observation: Any, episode_start: Any = None) -> Distribution:
    """Return π(·|s) of a batch of observations, a row each; a single observation is a batch of one.

    Its samples are as a rollout stores them: an action of a Discrete counts from 0, one of a Box is not clipped.
    Nothing of the agent changes; `episode_start` as in `act`.
    """
    return _look(self, observation, episode_start)[0]


def value(self: Any, observation: Any, episode_start: Any = None) -> Any:
    """Return V(s) of a batch of observations, float32 (B,), or of a single one, a number.

    It is in the unit of what is learned from: that of normalized rewards, if these are normalized.
    """
    values = to_numpy(plain(_look(self, observation, episode_start)[1]))
    return float(values[0]) if self.as_batch(observation)[1] else values


def chosen_output(self: Any, given: Any, sample: Any, episode_start: Any = None) -> Any:
    """Return log π(a|s) of a batch of preprocessed observations, (B,), with its graph."""
    return self.distribution(self.memory.look(given, episode_start)[0]).log_prob(sample)


def _look(self: Any, observation: Any, episode_start: Any) -> tuple[Distribution, Any]:
    batch, _ = self.as_batch(observation)
    with nn.evaluation(noise=False):
        outputs, values = self.memory.look(self.to_device(self.preprocess(batch)), episode_start)
        return self.distribution(outputs), values
