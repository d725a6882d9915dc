"""The networks of the policy-gradient agents: a policy and a value, feed-forward or recurrent."""

from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.backend import to_device_of
from dbrrl.backend.trees import leaves, mapped
from dbrrl.buffers.batch import Batch, flat_rows
from dbrrl.distributions.heads import Head
from dbrrl.distributions.masks import masked
from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.networks import fitting
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.networks.recurrence import one_step
from dbrrl.types import Observation


class PolicyAndValue(nn.Module):
    """A policy and a value network that read the same numbers: features of the observation, or a recurrent layer.

    Args:
        preprocessor: describes the observations; on images both networks share one convolutional encoder.
        head: of the action space, with the number of outputs of the policy.
        hidden_sizes: hidden layers of each network; None: 64, 64, on images none.
        activation: "tanh" or "relu".
        log_std_init: initial log standard deviation of continuous actions.
        rng: generator of the initial weights.
        inputs: numbers that the two networks read; None: the features.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        head: Head,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        log_std_init: float,
        rng: np.random.Generator,
        inputs: int | None = None,
    ) -> None:
        self.encoder = nn.Encoder(preprocessor, rng=rng)
        hidden = hidden_sizes if hidden_sizes is not None else () if self.encoder.images else (64, 64)
        inputs = self.encoder.size if inputs is None else inputs
        self.actor = nn.mlp((inputs, *hidden, head.size), activation, out_gain=0.01, rng=rng)
        self.critic = nn.mlp((inputs, *hidden, 1), activation, out_gain=1.0, rng=rng)
        start = np.full(head.size, log_std_init, np.float32)
        self.log_std = nn.Parameter(start) if head.continuous else None


class ActorCritic(PolicyAndValue):
    """Separate policy and value networks; on images they share one `nn.Encoder`.

    Any module can take its place that has `policy(observation)` -> (B, head.size), `value(observation)` -> (B,),
    `forward(observation)` -> both, and, for Box actions, a Parameter `log_std` (head.size,). `observation` is what
    `Preprocessor` returns: an array, or a dict of arrays. A file saved by an agent with another network is read by its
    `restore`, once it has been given that network again.
    """

    def policy(self, observation: Observation) -> Any:
        """Return the outputs that the head reads: (B, head.size)."""
        return self.actor(self.encoder(observation))

    def value(self, observation: Observation) -> Any:
        """Return V(s): (B,)."""
        return self.critic(self.encoder(observation)).reshape(-1)

    def forward(self, observation: Observation) -> tuple[Any, Any]:
        """Return outputs and values, with the features computed once."""
        features = self.encoder(observation)
        return self.actor(features), self.critic(features).reshape(-1)


class RecurrentActorCritic(PolicyAndValue):
    """An LSTM or a GRU reads the features; the policy and the value network read its outputs.

    Any recurrent module can take its place that has this `initial_state` and `forward`, and, for Box actions, a
    Parameter `log_std` (head.size,). A state is a tuple of arrays whose second axis counts environments.

    Args:
        kind: "lstm" or "gru".
        size: units of the recurrent layer. The other arguments are those of `PolicyAndValue`.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        head: Head,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        log_std_init: float,
        rng: np.random.Generator,
        kind: str,
        size: int,
    ) -> None:
        super().__init__(preprocessor, head, hidden_sizes, activation, log_std_init, rng, inputs=size)
        self.memory = MEMORIES[kind](self.encoder.size, size, gain=1.0, rng=rng)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """Return the state at the start of `batch` episodes: zeros (1, batch, n)."""
        return tuple(part[None] for part in self.memory.cells[0].zeros(batch))

    def forward(self, observation: Observation, state: tuple[Any, ...], reset: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Return outputs (T, B, head.size) and values (T, B) of sequences, and the state after them.

        Args:
            observation: what `Preprocessor` returns, with two leading axes, (T, B, ...).
            state: the state before the first step.
            reset: booleans (T, B), true where an episode begins; None: nowhere.
        """
        steps, batch = leaves(observation)[0].shape[:2]
        features = self.encoder(mapped(flat_rows, observation)).reshape(steps, batch, -1)
        hidden, after = self.memory(features, state[0] if len(state) == 1 else state, reset)
        hidden = hidden.reshape(steps * batch, -1)
        outputs, values = self.actor(hidden).reshape(steps, batch, -1), self.critic(hidden).reshape(steps, batch)
        return outputs, values, after if isinstance(after, tuple) else (after,)


class FeedForward:
    """The methods of `Recurrent` for a network without a state."""

    recurrent = False
    start: tuple[Any, ...] = ()

    def __init__(self, network: Any, num_envs: int) -> None:
        self.network = network

    def act(self, observation: Observation, learning: bool, episode_start: Any = None) -> Any:
        """Return the policy's outputs (B, n) for one step, -∞ for masked actions."""
        return masked(self.network.policy(observation), observation)

    def look(self, observation: Observation, episode_start: Any) -> tuple[Any, Any]:
        """Return the policy's outputs (B, n), -∞ for masked actions, and the values (B,) for one step."""
        return self.forward(observation)

    def advance(self, ended: np.ndarray) -> None:
        """Do nothing: no state has to begin again."""

    def start_rollout(self) -> None:
        """Do nothing: no state has to be kept."""

    def final_state(self, env: int) -> list[np.ndarray]:
        """Return the state of one environment: no array."""
        return []

    def values(
        self, observations: Observation, ended: Any, finals: Observation | None, final_state: list[Any]
    ) -> tuple[Any, Any]:
        """Return V of a rollout's T + 1 observations, (T + 1, B), and of its n final observations, (n,), or None."""
        rows, envs = leaves(observations)[0].shape[:2]
        values = self.network.value(mapped(flat_rows, observations)).array.reshape(rows, envs)
        return values, None if finals is None else self.network.value(finals).array

    def batch(self, observations: Observation, ended: Any, keep: Any, columns: dict[str, Any]) -> Batch:
        """Return the batch of the rows `keep` of (T B), None: all, with `columns` of these rows."""
        rows = mapped(flat_rows, observations)
        if keep is not None:
            rows = mapped(lambda array: array[to_device_of(array, keep)], rows)
        return Batch(**columns, observation=rows)

    def policy(self, observation: Observation) -> Any:
        """Return the policy's outputs for observations of a batch, -∞ for masked actions."""
        return masked(self.network.policy(observation), observation)

    def forward(self, observation: Observation) -> tuple[Any, Any]:
        """Return outputs, -∞ for masked actions, and values for observations of a batch."""
        outputs, values = self.network(observation)
        return masked(outputs, observation), values

    def rows_at_once(self, rows: int, steps: int) -> int:
        """Return how many of `rows` transitions go through the network in one matrix product."""
        return rows

    def state_dict(self) -> dict[str, Any] | None:
        """Return None: there is no state."""
        return None

    def load_state_dict(self, state: Any) -> None:
        """Accept None alone; CheckpointError for the state of a recurrent network."""
        if state is not None:
            raise CheckpointError("memory: expected none, got some: load with the same settings")


MEMORIES: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def network_for(config: Any, preprocessor: Preprocessor, head: Head, rng: np.random.Generator) -> nn.Module:
    """Return the networks that an `OnPolicyConfig` asks for."""
    c = config
    common = (preprocessor, head, c.hidden_sizes, c.activation, c.log_std_init, rng)
    return (
        ActorCritic(*common) if c.recurrent == "none" else RecurrentActorCritic(*common, c.recurrent, c.recurrent_size)
    )


def check(agent: Any, network: Any, size: int | None) -> bool:
    """Return whether a network replaces another one of the agent.

    Args:
        agent: the agent.
        network: the module that is to act for it.
        size: outputs that the agent's head reads; None: unknown.

    Raises:
        ConfigError: the network cannot take the place of an ActorCritic or RecurrentActorCritic.
    """
    rows = hasattr(network, "policy") and hasattr(network, "value")
    if not isinstance(network, nn.Module) or not (rows or hasattr(network, "initial_state")):
        raise ConfigError(
            "network: expected an nn.Module with policy(observation), value(observation) and forward(observation), or "
            "a recurrent one (initial_state(batch), forward(observation, state, reset)), got "
            f"{type(network).__name__}: "
            "write it like dbrrl.networks.actor_critic.ActorCritic or RecurrentActorCritic"
        )
    expected: dict[str, Any] = {"values of forward": (fitting.ROWS,), "values of value": (fitting.ROWS,)}
    if size is not None:
        expected |= dict.fromkeys(("outputs of forward", "outputs of policy"), (fitting.ROWS, size))
        if agent.head.continuous:
            expected["log_std"] = (size,)
    fitting.check(agent, network, _outputs, expected)
    return hasattr(agent, "_network")


def _outputs(network: Any, observation: Observation) -> dict[str, Any]:
    """Return what a network gives for a batch of observations, by name."""
    log_std = {"log_std": getattr(network, "log_std", None)}
    if hasattr(network, "initial_state"):
        state = tuple(network.initial_state(len(leaves(observation)[0])))
        outputs, values, _ = network(mapped(one_step, observation), state, None)
        return {"outputs of forward": outputs[0], "values of forward": values[0]} | log_std
    outputs, values = network(observation)
    found = {"outputs of forward": outputs, "values of forward": values}
    found |= {"outputs of policy": network.policy(observation), "values of value": network.value(observation)}
    return found | log_std
