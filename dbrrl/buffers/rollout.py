"""The rollout of an on-policy agent: T steps of B environments as arrays."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import module_on, to_device, to_numpy
from dbrrl.backend.trees import leaves, tree_of
from dbrrl.buffers import memory
from dbrrl.checkpoint import untrusted
from dbrrl.errors import (
    AnomalyError,
    CheckpointError,
    DbrrlError,
    EnvError,
    GraphError,
    ShapeError,
    other_count,
)
from dbrrl.renamed import Renamed, TakesOldNames
from dbrrl.types import Observation


class RolloutBuffer(TakesOldNames):
    """T rows of B transitions, filled in two moves per step: `add_action`, then `add_outcome`.

    Attributes:
        observations: list of parts, each (T + 1, B, ...): row t + 1 follows row t, the last one follows the rollout.
        actions: samples (T, B, ...).
        rewards: float32 (T, B); terminated, truncated, invalid (rows that carry no transition): bool (T, B).
        finals: the true last observations of truncated episodes, as (t, environment, parts).
        next_observations: of transitions that were given on a GPU, where none can be picked out without waiting: the
            true next observations of all, parts (T, B, ...).
        next_rows: rows of these that are filled.
        first_env: the number of the first environment, for messages.
        all_valid: whether no row was marked otherwise.
        size: rows complete so far.
    """

    begin, end, follow = Renamed("add_action"), Renamed("add_outcome"), Renamed("add_next_observation")
    following, followed = Renamed("next_observations"), Renamed("next_rows")

    def __init__(
        self,
        n_steps: int,
        num_envs: int,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Any],
        action_shape: tuple[int, ...],
        action_dtype: Any,
        device: str = "cpu",
        names: Sequence[str] = (),
    ) -> None:
        self.names = names
        self.n_steps, self.num_envs, self.device = n_steps, num_envs, device
        xp = self._xp = module_on(device)
        kinds = list(zip(shapes, dtypes, strict=True))
        if device == "cpu":
            layout = [((n_steps + 1, num_envs, *s), d) for s, d in kinds]
            layout += [((n_steps, num_envs, *action_shape), action_dtype), ((n_steps, num_envs), np.float64)]
            memory.require_memory(memory.nbytes(layout), type(self).__name__, "give a smaller n_steps or num_envs")
        self.observations = [xp.zeros((n_steps + 1, num_envs, *s), d) for s, d in kinds]
        self.actions = xp.zeros((n_steps, num_envs, *action_shape), action_dtype)
        self.rewards = xp.zeros((n_steps, num_envs), np.float32)
        self.terminated, self.truncated = (xp.zeros((n_steps, num_envs), np.bool_) for _ in range(2))
        self.invalid = xp.zeros((n_steps, num_envs), np.bool_)  # like all here it takes no memory before it is written
        self.all_valid = True
        self.first_env = 0
        self.finals: list[tuple[int, int, list[np.ndarray]]] = []
        self.next_observations: list[Any] = []
        self.next_rows = 0
        self.size = 0
        self.begun = False

    @property
    def valid(self) -> Any:
        """Whether a row carries a transition, bool (T, B)."""
        return ~self.invalid

    @property
    def full(self) -> bool:
        """Whether all T rows are complete."""
        return self.size == self.n_steps

    @property
    def ended(self) -> Any:
        """Complete rows after which an episode does not go on, bool (size, B): ends, and rows without a transition."""
        n = self.size
        return self.terminated[:n] | self.truncated[:n] | self.invalid[:n]

    def observation(self, rows: int) -> Observation:
        """Return the observations of the first rows, (rows, B, ...)."""
        named: Observation = tree_of(self.names, [store[:rows] for store in self.observations])
        return named

    def add_action(self, observation: Observation, action: np.ndarray) -> None:
        """Open a row: the observation acted on, and the sample drawn; ShapeError if not one per environment."""
        t = self.size
        if t == self.n_steps:
            raise GraphError(f"act(): expected a rollout with room, got all {t} steps: call clear() after learning")
        if len(action) != self.num_envs:
            raise other_count("act()", "observations", self.num_envs, len(action), len(action))
        if type(observation) is np.ndarray and len(self.observations) == 1:
            self.observations[0][t] = observation
        else:
            for store, array in zip(self.observations, leaves(observation), strict=True):
                store[t] = array
        self.actions[t] = action
        self.begun = True

    def add_outcome(self, reward: Any, terminated: Any, truncated: Any, valid: Any = None) -> None:
        """Complete the open row. `valid` False marks entries that carry no transition.

        Raises:
            GraphError: there is none.
            ShapeError: not one reward or end per environment.
        """
        if not self.begun:
            raise GraphError("observe(): expected act() before it: call act(observation), step, then observe()")
        if self.device != "cpu":
            reward, terminated, truncated = (self._to_device(x) for x in (reward, terminated, truncated))
        if self.num_envs > 1:  # alone, numbers without an axis will do
            for name, x in (("reward", reward), ("terminated", terminated), ("truncated", truncated)):
                if getattr(x, "shape", None) != (self.num_envs,) and np.shape(x) != (self.num_envs,):
                    raise ShapeError(
                        f"observe(): expected {name} of shape ({self.num_envs},), got {np.shape(x)}: one entry per "
                        "environment"
                    )
        t = self.size
        self.rewards[t], self.terminated[t], self.truncated[t] = reward, terminated, truncated
        if valid is None:
            if not self.all_valid:
                self.invalid[t] = False
        else:
            self.invalid[t] = ~(self._to_device(valid) if self.device != "cpu" else np.asarray(valid))
            self.all_valid = False
        self.size, self.begun = t + 1, False

    def add_next_observation(self, observation: Observation) -> None:
        """Store the true next observations of the latest row, for the GPU; those of earlier rows are filled in."""
        before, parts = self.size - 1, leaves(observation)
        if not self.next_observations:
            self.next_observations = [self._xp.zeros((self.n_steps, *part.shape), part.dtype) for part in parts]
        for k, (store, part) in enumerate(zip(self.next_observations, parts, strict=True)):
            if self.next_rows != before:  # those rows were given on the host: the next one follows, or a final
                store[:before] = self.observations[k][1 : before + 1]
                for t, env, final in self.finals:
                    store[t, env] = self._to_device(final[k])
            store[before] = self._to_device(part)
        self.finals, self.next_rows = [], self.size

    def keep_final(self, env: int, observation: Observation, state: list[np.ndarray]) -> None:
        """Keep the true last observation of an environment that was truncated in the latest row, and the policy's
        state after it.
        """
        final = [array[env].copy() for array in leaves(observation)]
        self.finals.append((self.size - 1, env, final + state))

    def _to_device(self, x: Any) -> Any:
        """`x` on the GPU of the rollout."""
        return x if type(x) is self._xp.ndarray else to_device(np.asarray(x), self.device)

    def close(self, observation: Observation) -> None:
        """Set the observation that follows the last complete row.

        Raises:
            EnvError: a reward or an observation of the rollout is not finite; the first one is named.
            AnomalyError: so is an action that came before it.
        """
        for store, part in zip(self.observations, leaves(observation), strict=True):
            store[self.size] = part if self.device == "cpu" else self._to_device(part)
        self._check_finite("reward", self.rewards[: self.size])
        for store in self.observations:
            if store.dtype.kind == "f":
                self._check_finite("observation", store[: self.size + 1])
        for t, env, final in self.finals:
            for part in final:
                if part.dtype.kind == "f" and not np.isfinite(part).all():
                    raise self._unsound("final observation", part, t, env)
        for following in self.next_observations if self.next_rows else ():
            if following.dtype.kind == "f":
                self._check_finite("next observation", following[: self.next_rows])

    def _check_finite(self, field: str, values: np.ndarray) -> None:
        if np.isfinite(values).all():
            return
        values = to_numpy(values)
        step, env = map(int, np.argwhere(~np.isfinite(values))[0][:2])
        raise self._unsound(field, values[step, env], step, env)

    def _unsound(self, field: str, value: Any, step: int, env: int) -> DbrrlError:
        """The error for a number that is not finite: the agent's, if an action before it is not finite either."""
        earlier = to_numpy(self.actions[: step + (field != "observation"), env]).reshape(-1, self.actions[0, 0].size)
        if earlier.dtype.kind == "f" and not np.isfinite(earlier).all():
            first = int(np.flatnonzero(~np.isfinite(earlier).all(1))[0])
            return AnomalyError(
                f"action: expected finite numbers from the agent's act() in environment {self.first_env + env}, got "
                f"{earlier[first]}, {self.size - first} steps before the end of the rollout: lower the learning rate, "
                "or find the op with dbrrl.detect_anomaly()"
            )
        return EnvError(
            f"{field}: expected finite numbers, got {value} in environment {self.first_env + env}, {self.size - step} "
            "steps before the end of the rollout: correct the environment, or limit what it gives"
        )

    def clear(self) -> None:
        """Start a new rollout."""
        self.size, self.begun, self.finals, self.next_rows = 0, False, [], 0
        if not self.all_valid:
            self.invalid[...], self.all_valid = False, True

    def state_dict(self) -> dict[str, Any]:
        """Copies of the rows so far, and of a row that is begun."""
        rows = self.size + self.begun
        return {
            "size": self.size,
            "begun": self.begun,
            "observations": [_copy(store[:rows]) for store in self.observations],
            "actions": _copy(self.actions[:rows]),
            **{name: _copy(getattr(self, name)[: self.size]) for name in _RESULTS[:-1]},
            "valid": ~_copy(self.invalid[: self.size]),
            "finals": [{"row": t, "env": env, "parts": [np.array(p) for p in parts]} for t, env, parts in self.finals],
            **({"following": [_copy(x[: self.next_rows]) for x in self.next_observations]} if self.next_rows else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a rollout of other sizes."""
        with untrusted.state_of("rollout", "load with the same spaces, n_steps and num_envs"):
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        keys = ("size", "begun", "observations", "actions", "finals", *_RESULTS)
        state = untrusted.table(state, "", *keys)
        begun = untrusted.truth(state["begun"], "begun")
        size = untrusted.whole(state["size"], "size", at_most=self.n_steps - begun)
        rows, parts = size + begun, len(self.observations)
        stores = [*self.observations, self.actions, self.rewards, self.terminated, self.truncated, self.invalid]
        names = [*(f"observations {k}" for k in range(parts)), "actions", *_RESULTS]
        given = [*untrusted.entries(state["observations"], "observations", parts), *(state[n] for n in names[parts:])]
        lengths = [rows] * (parts + 1) + [size] * len(_RESULTS)
        for name, array, store, n in zip(names, given, stores, lengths, strict=True):
            untrusted.array(array, name, store.dtype, (n, *store.shape[1:]), finite=name != "rewards")
        if not np.isfinite(state["rewards"][state["valid"]]).all():
            raise CheckpointError("rewards: expected finite numbers, got nan or inf")
        finals = [self._final(entry, size) for entry in untrusted.entries(state["finals"], "finals")]
        following = self._checked_following(state.get("following", []), size)
        given[-1] = ~given[-1]
        for store, array, n in zip(stores, given, lengths, strict=True):
            store[:n] = self._xp.asarray(array)
        self.all_valid = bool(np.all(state["valid"]))
        self.next_rows = len(following[0]) if following and self.device != "cpu" else 0
        if following and not self.next_rows:  # saved on a GPU: here the truncated ones are picked out
            cut = np.argwhere(state["truncated"])
            finals = [(int(t), int(env), [np.array(part[t, env]) for part in following]) for t, env in cut]
        if self.next_rows:
            self.next_observations = [self._xp.zeros((self.n_steps, *part.shape[1:]), part.dtype) for part in following]
            for store, part in zip(self.next_observations, following, strict=True):
                store[: self.next_rows] = self._xp.asarray(part)
        self.finals, self.size, self.begun = finals, size, begun

    def _final(self, entry: Any, size: int) -> tuple[int, int, list[np.ndarray]]:
        """One of `finals` as it is kept: the observation's parts, and behind them what a memory adds."""
        entry = untrusted.table(entry, "finals", "row", "env", "parts")
        row = untrusted.whole(entry["row"], "finals: row", at_most=size - 1)
        env = untrusted.whole(entry["env"], "finals: env", at_most=self.num_envs - 1)
        parts = untrusted.entries(entry["parts"], "finals: parts")
        if len(parts) < len(self.observations):
            raise CheckpointError(f"finals: expected {len(self.observations)} parts or more, got {len(parts)}")
        for part, store in itertools.zip_longest(parts, self.observations):
            shape = None if store is None else store.shape[2:]
            untrusted.array(part, "finals: parts", np.float32 if store is None else store.dtype, shape)
        return row, env, parts

    def _checked_following(self, following: Any, size: int) -> list[np.ndarray]:
        """`following` of a state, which only a rollout that was given on a GPU has."""
        parts = untrusted.entries(following, "following")
        if parts and len(parts) != len(self.observations):
            raise CheckpointError(f"following: expected {len(self.observations)} parts, got {len(parts)}")
        for part, store in zip(parts, self.observations, strict=False):
            untrusted.array(part, "following", store.dtype, (size, *store.shape[1:]))
        return parts


def _copy(array: Any) -> np.ndarray:
    return np.array(to_numpy(array))


_RESULTS = ("rewards", "terminated", "truncated", "valid")
