"""What a network with a memory needs to act and to learn: the states of its episodes, and whole sequences.

A state is a tuple of arrays whose second axis counts environments, as nn.LSTM and nn.GRU have it. The network is one
like dbrrl.networks.actor_critic.RecurrentActorCritic.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module, device_name, to_device, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import GraphError, ShapeError, other_count

State = tuple[Any, ...]


class Memory:
    """The states of the episodes under way: those learned from, and apart from them those of an evaluation.

    Attributes:
        start: the state before the first row of the rollout.
        state: before the next act that is learned from; episodes that ended begin anew in it.
        ahead: after the last such act.
        played: after the last act in evaluation; empty before the first.
    """

    def __init__(self, network: Any, num_envs: int) -> None:
        self.network = network
        self.start: State = tuple(network.initial_state(num_envs))
        self.state = self.ahead = self.start
        self.played: State = ()

    def act(self, parts: list[Any], learning: bool, first: Any = None) -> Any:
        """The network's outputs (B, n) for one step; `first` as in `Agent.act`."""
        state, rows = self.state, len(parts[0])
        if not learning:
            state = self._recalled(first, rows)
        elif state[0].shape[1] != rows:
            raise other_count("act()", "observations", state[0].shape[1], rows, rows)
        outputs, _, after = self.network([part[None] for part in parts], state, None)
        after = tuple(plain(part) for part in after)
        if learning:
            self.ahead = after
        else:
            self.played = after
        return outputs[0]

    def step(self, ended: np.ndarray) -> None:
        """Go on to the next step; where an episode ended, bool (B,), another one begins."""
        self.state = self._begun(self.ahead, ended) if ended.any() else self.ahead

    def values(self, parts: list[Any], reset: np.ndarray, finals: list[Any]) -> tuple[np.ndarray, Any]:
        """V of a rollout's T + 1 observations, (T + 1, B), and of its n finals: their parts, then states."""
        _, values, _ = self.network(parts, self.start, reset)
        final = None
        if finals:
            found, state = finals[: len(parts)], finals[len(parts) :]
            before = tuple(array_module(part).moveaxis(part, 0, 1) for part in state)
            final = to_numpy(plain(self.network([part[None] for part in found], before, None)[1]))[0]
        return to_numpy(plain(values)), final

    def _recalled(self, first: Any, batch: int) -> State:
        """The state before an act in evaluation."""
        if first is None:
            raise GraphError(
                "act(): an agent with a memory expected `first`, got none: say in evaluation which rows begin an "
                "episode, first=True at its first step and first=False after it, or one entry per row"
            )
        if np.shape(first) not in ((), (batch,)):
            raise ShapeError(f"act(): expected first of shape ({batch},), got {np.shape(first)}: one entry per row")
        begins = np.broadcast_to(np.asarray(first, bool), batch)
        if begins.all():
            return tuple(self.network.initial_state(batch))
        if not self.played or self.played[0].shape[1] != batch:
            raise GraphError(f"act(): expected first=True at the first step of these {batch} episodes, got False")
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

    Indexing with rows gives the sequences that these need.

    Attributes:
        parts: (T, B, ...); state: before the first step; reset: booleans (T, B), where an episode begins.
        time, env: the place of each row, integers (n,).
    """

    def __init__(self, parts: list[Any], state: State, reset: np.ndarray, time: np.ndarray, env: np.ndarray) -> None:
        self.parts, self.state, self.reset, self.time, self.env = parts, state, reset, time, env

    def __getitem__(self, rows: Any) -> Self:
        rows = to_numpy(rows)
        envs, env = np.unique(self.env[rows], return_inverse=True)
        at = to_device(envs, device_name(self.parts[0]))
        parts, state = [part[:, at] for part in self.parts], tuple(part[:, at] for part in self.state)
        return type(self)(parts, state, self.reset[:, envs], self.time[rows], env)

    def groups(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Rows of about `size` transitions, whole sequences in random order, which hold each row once."""
        steps, batch = self.reset.shape
        order, count = rng.permutation(batch), max(1, size // steps)
        for start in range(0, batch, count):
            rows = np.flatnonzero(np.isin(self.env, order[start : start + count]))
            if len(rows):
                yield rows

    def unroll(self, network: Any) -> tuple[Any, Any]:
        """The network's outputs (n, k) and values (n,)."""
        outputs, values, _ = network(self.parts, self.state, self.reset)
        steps, batch = self.reset.shape
        outputs, values = outputs.reshape(steps * batch, -1), values.reshape(-1)
        rows = self.time * batch + self.env
        if len(rows) == steps * batch and np.all(rows[1:] > rows[:-1]):
            return outputs, values
        rows = to_device(rows, device_name(self.parts[0]))
        return outputs[rows], values[rows]


def plain(x: Any) -> Any:
    """The array of a tensor; an array itself."""
    return x.array if isinstance(x, Tensor) else x


def resets(ended: np.ndarray) -> np.ndarray:
    """Where an episode begins, (T + 1, B), given after which steps one ended, (T, B); the first step only goes on."""
    return np.concatenate([np.zeros((1, ended.shape[1]), bool), ended])
