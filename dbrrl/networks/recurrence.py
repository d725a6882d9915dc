"""The state of a recurrent policy within an episode, and the sequences that it learns from.

A state is a tuple of arrays whose second axis counts environments, as nn.LSTM and nn.GRU have it; its network is like
dbrrl.networks.actor_critic.RecurrentActorCritic. `FeedForward` in that module has the methods of `Recurrent` for a
network without a state, so that an agent need not know which of them it has.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module, device_name, to_device, to_device_of, to_numpy
from dbrrl.backend.trees import leaves, mapped, to_device_tree
from dbrrl.buffers.batch import Batch, flat_rows
from dbrrl.checkpoint import untrusted
from dbrrl.distributions.masks import masked
from dbrrl.errors import GraphError, ShapeError, other_count
from dbrrl.types import Observation

State = tuple[Any, ...]


class Recurrent:
    """The states of the episodes under way: those learned from, and apart from them those of an evaluation.

    Attributes:
        start: the state before the first row of the rollout.
        state: before the next act that is learned from; episodes that ended begin anew in it.
        ahead: after the last such act.
        played: after the last act in evaluation; empty before the first.
    """

    recurrent = True

    def __init__(self, network: Any, num_envs: int) -> None:
        self.network = network
        self.start: State = tuple(network.initial_state(num_envs))
        self.state = self.ahead = self.start
        self.played: State = ()

    def act(self, observation: Observation, learning: bool, episode_start: Any = None) -> Any:
        """Return the policy's outputs (B, n) for one step, -∞ for masked actions; `episode_start` as in `Agent.act`."""
        state, rows = self.state, len(leaves(observation)[0])
        if not learning:
            state = self._recalled(episode_start, rows)
        elif state[0].shape[1] != rows:
            raise other_count("act()", "observations", state[0].shape[1], rows, rows)
        outputs, _, after = self.network(mapped(one_step, observation), state, None)
        after = tuple(plain(part) for part in after)
        if learning:
            self.ahead = after
        else:
            self.played = after
        return masked(outputs[0], observation)

    def look(self, observation: Observation, episode_start: Any) -> tuple[Any, Any]:
        """Return the policy's outputs (B, n) and the values (B,) for one step, and remember nothing."""
        state = self._recalled(episode_start, len(leaves(observation)[0]))
        outputs, values, _ = self.network(mapped(one_step, observation), state, None)
        return masked(outputs[0], observation), values[0]

    def advance(self, ended: np.ndarray) -> None:
        """Go on to the next step; where an episode ended, bool (B,), the state begins again."""
        self.state = self._begun(self.ahead, ended) if ended.any() else self.ahead

    def start_rollout(self) -> None:
        """Keep the state before the first row of the next rollout."""
        self.start = self.state

    def final_state(self, env: int) -> list[np.ndarray]:
        """Return copies of the state of one environment after its last step."""
        return [to_numpy(part[:, env]).copy() for part in self.ahead]

    def values(
        self, observations: Observation, ended: Any, finals: Observation | None, final_state: list[Any]
    ) -> tuple[Any, Any]:
        """Return V of a rollout's T + 1 observations, (T + 1, B), and of its n final observations, (n,), or None."""
        _, values, _ = self.network(observations, self.start, resets(ended))
        final = None
        if finals is not None:
            before = tuple(array_module(part).moveaxis(part, 0, 1) for part in final_state)
            final = to_numpy(plain(self.network(mapped(one_step, finals), before, None)[1]))[0]
        return to_numpy(plain(values)), final

    def batch(self, observations: Observation, ended: Any, keep: Any, columns: dict[str, Any]) -> Batch:
        """Return the batch of some transitions, whose observations are `Sequences`.

        Args:
            observations: of the whole rollout, (T, B, ...).
            ended: where an episode does not go on after a step, bool (T, B).
            keep: numbers of the rows of (T B) that the batch has; None: all.
            columns: further columns of these rows.
        """
        steps, envs = ended.shape
        time, env = np.divmod(np.arange(steps * envs) if keep is None else keep, envs)
        return SequenceBatch(**columns, observation=Sequences(observations, self.start, resets(ended)[:-1], time, env))

    def policy(self, observation: Any) -> Any:
        """Return the policy's outputs for observations of a batch."""
        return observation.unroll(self.network)[0]

    def forward(self, observation: Any) -> tuple[Any, Any]:
        """Return outputs and values for observations of a batch."""
        outputs, values = observation.unroll(self.network)
        return outputs, values

    def rows_at_once(self, rows: int, steps: int) -> int:
        """Return how many of `rows` transitions go through the network in one matrix product: those of one step."""
        return max(1, rows // steps)

    def _recalled(self, start: Any, batch: int) -> State:
        """Return the state before an act in evaluation."""
        if start is None:
            raise GraphError(
                "act(): an agent with a memory expected `episode_start`, got none: say in evaluation which rows "
                "begin an episode, True at its first step and False after it, or one entry per row"
            )
        if np.shape(start) not in ((), (batch,)):
            raise ShapeError(
                f"act(): expected episode_start of shape ({batch},), got {np.shape(start)}: one entry per row"
            )
        begins = np.broadcast_to(np.asarray(start, bool), batch)
        if begins.all():
            return tuple(self.network.initial_state(batch))
        if not self.played or self.played[0].shape[1] != batch:
            raise GraphError(f"act(): expected episode_start=True at the first step of {batch} episodes, got False")
        return self._begun(self.played, begins) if begins.any() else self.played

    def _begun(self, state: State, where: np.ndarray) -> State:
        """The state with episodes begun in the rows `where`."""
        fresh = self.network.initial_state(len(where))
        found = []
        for old, new in zip(state, fresh, strict=True):
            mask = to_device(where.reshape(1, -1, *[1] * (old.ndim - 2)), device_name(old))
            found.append(array_module(old).where(mask, new, old))
        return tuple(found)

    def state_dict(self) -> dict[str, Any]:
        """The states that are learned from; an evaluation under way is not among them."""
        return {name: [np.array(to_numpy(part)) for part in getattr(self, name)] for name in _SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of another network or number of environments."""
        with untrusted.state_of("memory", "load with the same network and num_envs"):
            untrusted.table(state, "", *_SAVED)
            for name in _SAVED:
                for at, part in zip(self.state, untrusted.entries(state[name], name, len(self.state)), strict=True):
                    untrusted.array(part, name, at.dtype, at.shape)
        for name in _SAVED:
            old: State = getattr(self, name)
            pairs = zip(old, state[name], strict=True)
            setattr(self, name, tuple(to_device(np.array(new, at.dtype), device_name(at)) for at, new in pairs))


_SAVED = ("start", "state", "ahead")


class Sequences:
    """A rollout's observations as whole sequences, one per environment; its rows are the n transitions that count.

    Indexing with rows gives the sequences that these need. A batch splits it by `groups`.

    Attributes:
        observation: (T, B, ...), an array or a dict of arrays; state: before the first step; reset: booleans (T, B),
            true where an episode begins.
        time, env: the step and the environment of each row, integers (n,).
    """

    def __init__(self, observation: Observation, state: State, reset: np.ndarray, time: Any, env: Any) -> None:
        self.observation, self.state, self.reset, self.time, self.env = observation, state, reset, time, env

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: Any) -> Self:
        rows = to_numpy(rows)
        envs, env = np.unique(self.env[rows], return_inverse=True)
        at = to_device(envs, device_name(leaves(self.observation)[0]))
        observation, state = mapped(lambda x: x[:, at], self.observation), tuple(part[:, at] for part in self.state)
        return type(self)(observation, state, self.reset[:, envs], self.time[rows], env)

    def groups(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the rows of about `size` transitions, whole sequences in random order; each row comes once."""
        steps, batch = self.reset.shape
        order, count = rng.permutation(batch), max(1, size // steps)
        for start in range(0, batch, count):
            rows = np.flatnonzero(np.isin(self.env, order[start : start + count]))
            if len(rows):
                yield rows

    def to(self, device: str) -> Self:
        """Return the sequences with their observations on `device`."""
        observation = to_device_tree(self.observation, device)
        return type(self)(observation, self.state, self.reset, self.time, self.env)

    def unroll(self, network: Any) -> tuple[Any, Any]:
        """Return the network's outputs (n, k), -∞ for masked actions, and values (n,)."""
        outputs, values, _ = network(self.observation, self.state, self.reset)
        steps, batch = self.reset.shape
        outputs, values = outputs.reshape(steps * batch, -1), values.reshape(-1)
        if type(self.observation) is dict:
            outputs = masked(outputs, mapped(flat_rows, self.observation))
        rows = self.time * batch + self.env
        if len(rows) == steps * batch and np.all(rows[1:] > rows[:-1]):
            return outputs, values
        rows = to_device(rows, device_name(leaves(self.observation)[0]))
        return outputs[rows], values[rows]


class SequenceBatch(Batch):
    """A batch whose observations are `Sequences`; its minibatches hold whole sequences, one per environment."""

    def minibatches(self, size: int, rng: Any) -> Iterator[Self]:
        """Split all rows into batches of about `size` transitions; a batch no larger than that comes as it is."""
        if len(self) <= size:
            yield self
            return
        for rows in self.observation.groups(size, rng):
            yield self[to_device_of(self.action, rows)]


def plain(x: Any) -> Any:
    """Return the array of a tensor; an array itself."""
    return x.array if isinstance(x, Tensor) else x


def one_step(array: Any) -> Any:
    """Return (B, ...) as a sequence of one step, (1, B, ...)."""
    return array[None]


def resets(ended: np.ndarray) -> np.ndarray:
    """Return where an episode begins, (T + 1, B), given after which steps one ended, (T, B). The first step of a
    rollout only goes on.
    """
    return np.concatenate([np.zeros((1, ended.shape[1]), bool), ended])
