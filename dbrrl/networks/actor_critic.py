"""The networks of the policy-gradient agents: a policy and a value over one set of features, or over a memory."""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.errors import ConfigError
from dbrrl.networks import fitting
from dbrrl.networks.encoder import Encoder
from dbrrl.networks.heads import Head


class PolicyAndValue(nn.Module):
    """A policy and a value network over the same (B, n), and what makes features of an observation's parts.

    `reads`: n where it is not the number of features, `size`. On images both read one `nn.image_network`.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        log_std_init: float,
        rng: np.random.Generator,
        reads: int | None = None,
    ) -> None:
        self.images = [nn.image_network(shape, rng=rng, high=high) for shape, high in encoder.images]
        hidden = hidden_sizes if hidden_sizes is not None else () if self.images else (64, 64)
        self.size = encoder.vector_size + sum(cnn.features for cnn in self.images)
        reads = self.size if reads is None else reads
        self.actor = nn.mlp((reads, *hidden, head.size), activation, out_gain=0.01, rng=rng)
        self.critic = nn.mlp((reads, *hidden, 1), activation, out_gain=1.0, rng=rng)
        start = np.full(head.size, log_std_init, np.float32)
        self.log_std = nn.Parameter(start) if head.continuous else None

    def features(self, parts: list[Any]) -> Any:
        """All parts in one: (B, size)."""
        vectors = parts[: len(parts) - len(self.images)]
        images = [cnn(part) for cnn, part in zip(self.images, parts[len(vectors) :], strict=True)]
        joined = vectors + images
        return joined[0] if len(joined) == 1 else F.concatenate(joined, axis=1)


class ActorCritic(PolicyAndValue):
    """Separate policy and value networks; on images they share one `nn.image_network`.

    Any module can take its place that has `policy(parts)` -> (B, head.size), `value(parts)` -> (B,), `forward(parts)`
    -> both, and, for Box actions, a Parameter `log_std` (head.size,). `parts` are those of `Encoder`.
    A file saved by an agent with another network is read by its `restore`, once it has been given that network again.
    """

    def policy(self, parts: list[Any]) -> Any:
        """The outputs that the head reads: (B, head.size)."""
        return self.actor(self.features(parts))

    def value(self, parts: list[Any]) -> Any:
        """V(s): (B,)."""
        return self.critic(self.features(parts)).reshape(-1)

    def forward(self, parts: list[Any]) -> tuple[Any, Any]:
        """Outputs and values, with the features computed once."""
        features = self.features(parts)
        return self.actor(features), self.critic(features).reshape(-1)


class RecurrentActorCritic(PolicyAndValue):
    """An LSTM or a GRU reads the features, the policy and the value network what it puts out.

    Any module with a memory can take its place that has this `initial_state` and `forward`, and, for Box actions, a
    Parameter `log_std` (head.size,). A state is a tuple of arrays whose second axis counts environments.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        log_std_init: float,
        rng: np.random.Generator,
        kind: str,
        size: int,
    ) -> None:
        super().__init__(encoder, head, hidden_sizes, activation, log_std_init, rng, reads=size)
        self.memory = MEMORIES[kind](self.size, size, gain=1.0, rng=rng)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        """The state at the start of `batch` episodes: zeros (1, batch, n)."""
        return tuple(part[None] for part in self.memory.cells[0].zeros(batch))

    def forward(self, parts: list[Any], state: tuple[Any, ...], reset: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Outputs (T, B, head.size) and values (T, B) of sequences, and the state after them.

        Args:
            parts: those of `Encoder`, (T, B, ...).
            state: the state before the first step.
            reset: booleans (T, B), true where an episode begins; None: nowhere.
        """
        steps, batch = parts[0].shape[:2]
        features = self.features([part.reshape(-1, *part.shape[2:]) for part in parts]).reshape(steps, batch, -1)
        read, after = self.memory(features, state[0] if len(state) == 1 else state, reset)
        read = read.reshape(steps * batch, -1)
        outputs, values = self.actor(read).reshape(steps, batch, -1), self.critic(read).reshape(steps, batch)
        return outputs, values, after if isinstance(after, tuple) else (after,)


MEMORIES: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def check(agent: Any, network: Any, size: int | None) -> bool:
    """Refuse a network that cannot take the place of an ActorCritic or RecurrentActorCritic; whether it replaces one.

    `size`: the number of outputs that the agent's head reads; None: it is not known.
    """
    rows = hasattr(network, "policy") and hasattr(network, "value")
    if not isinstance(network, nn.Module) or not (rows or hasattr(network, "initial_state")):
        raise ConfigError(
            f"network: expected an nn.Module with policy(parts), value(parts) and forward(parts), or one with a memory "
            f"(initial_state(batch), forward(parts, state, reset)), got {type(network).__name__}: write it like "
            "dbrrl.networks.actor_critic.ActorCritic or RecurrentActorCritic"
        )
    expected: dict[str, Any] = {"values of forward": (fitting.ROWS,), "values of value": (fitting.ROWS,)}
    if size is not None:
        expected |= dict.fromkeys(("outputs of forward", "outputs of policy"), (fitting.ROWS, size))
        if agent.head.continuous:
            expected["log_std"] = (size,)
    fitting.check(agent, network, _outputs, expected)
    return hasattr(agent, "_network")


def _outputs(network: Any, parts: list[Any]) -> dict[str, Any]:
    """What a network gives for a batch of observations, by name."""
    log_std = {"log_std": getattr(network, "log_std", None)}
    if hasattr(network, "initial_state"):
        state = tuple(network.initial_state(len(parts[0])))
        outputs, values, _ = network([part[None] for part in parts], state, None)
        return {"outputs of forward": outputs[0], "values of forward": values[0]} | log_std
    outputs, values = network(parts)
    found = {"outputs of forward": outputs, "values of forward": values}
    return found | {"outputs of policy": network.policy(parts), "values of value": network.value(parts)} | log_std
