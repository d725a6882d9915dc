"""A Q-network with a memory (Hausknecht & Stone 2015, arXiv:1507.06527), and the state that it acts by."""

from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.backend.trees import leaves, mapped
from dbrrl.buffers.batch import flat_rows
from dbrrl.distributions.masks import masked
from dbrrl.networks import fitting
from dbrrl.networks.actor_critic import MEMORIES
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.networks.recurrence import Recurrent, State, one_step, plain
from dbrrl.types import Observation


class RecurrentQNetwork(nn.Module):
    """Q(h_t, ·), h_t = LSTM(x_t, h_{t-1}): an LSTM or a GRU reads the features, and the hidden layers its outputs.

    Any recurrent module can take its place that has this `initial_state` and `forward`. A state is a tuple of arrays
    whose second axis counts sequences.

    Args:
        preprocessor: describes the observations; images go through the convolutions of an `nn.image_network` first.
        actions: how many there are.
        hidden_sizes: hidden layers after the recurrent one; None: none, as in the paper.
        activation: "relu" or "tanh".
        kind: "lstm" or "gru".
        size: units of the recurrent layer.
        rng: generator of the initial weights.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        actions: int,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        kind: str,
        size: int,
        rng: np.random.Generator,
    ) -> None:
        self.encoder = nn.Encoder(preprocessor, hidden=False, rng=rng)
        self.memory = MEMORIES[kind](self.encoder.size, size, gain=1.0, rng=rng)
        self.values = nn.mlp((size, *(hidden_sizes or ()), actions), activation, out_gain=0.01, rng=rng)

    def initial_state(self, batch: int) -> State:
        """Return the state at the start of `batch` episodes: zeros (1, batch, n)."""
        return tuple(part[None] for part in self.memory.cells[0].zeros(batch))

    def forward(self, observation: Observation, state: State, lengths: Any = None) -> tuple[Any, State]:
        """Return Q (T, B, actions) of sequences, and the state after them.

        Args:
            observation: what `Preprocessor` returns, with two leading axes, (T, B, ...).
            state: the state before the first step.
            lengths: integers (B,), steps in each sequence, after which its state stays as it is; None: T in all.
        """
        steps, batch = leaves(observation)[0].shape[:2]
        features = self.encoder(mapped(flat_rows, observation)).reshape(steps, batch, -1)
        hidden, after = self.memory(features, state[0] if len(state) == 1 else state, lengths=lengths)
        values = self.values(hidden.reshape(steps * batch, -1)).reshape(steps, batch, -1)
        return values, after if isinstance(after, tuple) else (after,)


class Acting(Recurrent):
    """The states of the episodes under way of a recurrent Q-network (see `Recurrent`)."""

    def __init__(self, network: Any, num_envs: int) -> None:
        super().__init__(_OneStep(network), num_envs)


class _OneStep:
    """A recurrent Q-network as `Recurrent` calls its network."""

    def __init__(self, network: Any) -> None:
        self.network, self.initial_state = network, network.initial_state

    def __call__(self, observation: Observation, state: State, reset: None) -> tuple[Any, Any, State]:
        values, after = self.network(observation, state)
        best = masked(plain(values)[0], mapped(lambda part: part[0], observation)).max(axis=-1)
        return values, best[None], after


def check(agent: Any, network: Any, own: Any) -> bool:
    """Return whether a network replaces one, `own`; ConfigError where it cannot take a RecurrentQNetwork's place."""

    def read(twin: Any, observation: Observation) -> dict[str, Any]:
        values, _ = twin(mapped(one_step, observation), tuple(twin.initial_state(fitting.ROWS)))
        return {"values": values[0]}

    fitting.check(agent, network, read, {"values": (fitting.ROWS, agent.actions)})
    return own is not None
