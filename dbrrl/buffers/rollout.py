"""The rollout of an on-policy agent: T steps of B environments as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import module_on, to_device, to_numpy
from dbrrl.buffers import memory
from dbrrl.errors import CheckpointError, EnvError, GraphError, ShapeError, other_count


class RolloutBuffer:
    """T rows of B transitions, filled in two moves per step: `begin` when acting, `end` when its result is known.

    Attributes:
        observations: list of parts, each (T + 1, B, ...): row t + 1 follows row t, the last one follows the rollout.
        actions: samples (T, B, ...).
        rewards: float32 (T, B); terminated, truncated, valid: bool (T, B).
        finals: the true last observations of truncated episodes, as (t, environment, parts).
        following: of transitions that were given on a GPU, where none can be picked out without waiting: the true next
            observations of all, parts (T, B, ...).
        first_env: the number of the first environment, for messages.
        all_valid: whether no row was marked otherwise.
        size: rows complete so far.
    """

    def __init__(
        self,
        n_steps: int,
        num_envs: int,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Any],
        action_shape: tuple[int, ...],
        action_dtype: Any,
        device: str = "cpu",
    ) -> None:
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
        self.valid = xp.ones((n_steps, num_envs), np.bool_)
        self.all_valid = True
        self.first_env = 0
        self.finals: list[tuple[int, int, list[np.ndarray]]] = []
        self.following: list[Any] = []
        self.followed = 0
        self.size = 0
        self.begun = False

    @property
    def full(self) -> bool:
        """Whether all T rows are complete."""
        return self.size == self.n_steps

    @property
    def ended(self) -> Any:
        """Complete rows after which an episode does not go on, bool (size, B): ends, and rows without a transition."""
        n = self.size
        return self.terminated[:n] | self.truncated[:n] | ~self.valid[:n]

    def begin(self, parts: Sequence[np.ndarray], action: np.ndarray) -> None:
        """Open a row: the observation acted on, and the sample drawn; ShapeError if not one per environment."""
        t = self.size
        if t == self.n_steps:
            raise GraphError(f"act(): expected a rollout with room, got all {t} steps: call clear() after learning")
        if len(action) != self.num_envs:
            raise other_count("act()", "observations", self.num_envs, len(action), len(action))
        for store, part in zip(self.observations, parts, strict=True):
            store[t] = part
        self.actions[t] = action
        self.begun = True

    def end(self, reward: Any, terminated: Any, truncated: Any, valid: Any = None) -> None:
        """Complete the open row. `valid` False marks entries that carry no transition.

        Raises:
            GraphError: there is none.
            ShapeError: not one reward or end per environment.
        """
        if not self.begun:
            raise GraphError("observe(): expected act() before it: call act(observation), step, then observe()")
        if self.device != "cpu":
            reward, terminated, truncated = (self._there(x) for x in (reward, terminated, truncated))
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
                self.valid[t] = True
        else:
            self.valid[t], self.all_valid = self._there(valid) if self.device != "cpu" else valid, False
        self.size, self.begun = t + 1, False

    def follow(self, parts: Sequence[Any]) -> None:
        """The true next observations of the row completed last, for the GPU; those of rows before are filled in."""
        before = self.size - 1
        if not self.following:
            self.following = [self._xp.zeros((self.n_steps, *part.shape), part.dtype) for part in parts]
        for k, (store, part) in enumerate(zip(self.following, parts, strict=True)):
            if self.followed != before:  # those rows were given on the host: the next one follows, or a final
                store[:before] = self.observations[k][1 : before + 1]
                for t, env, final in self.finals:
                    store[t, env] = self._there(final[k])
            store[before] = self._there(part)
        self.finals, self.followed = [], self.size

    def _there(self, x: Any) -> Any:
        """`x` on the GPU of the rollout."""
        return x if type(x) is self._xp.ndarray else to_device(np.asarray(x), self.device)

    def close(self, parts: Sequence[np.ndarray]) -> None:
        """Set the observation that follows the last complete row.

        Raises:
            EnvError: a reward or an observation of the rollout is not finite; the first one is named.
        """
        for store, part in zip(self.observations, parts, strict=True):
            store[self.size] = part if self.device == "cpu" else self._there(part)
        self._check_finite("reward", self.rewards[: self.size])
        for store in self.observations:
            if store.dtype.kind == "f":
                self._check_finite("observation", store[: self.size + 1])
        for t, env, final in self.finals:
            for part in final:
                if part.dtype.kind == "f" and not np.isfinite(part).all():
                    raise self._unsound("final observation", part, t, env)
        for following in self.following if self.followed else ():
            if following.dtype.kind == "f":
                self._check_finite("next observation", following[: self.followed])

    def _check_finite(self, field: str, values: np.ndarray) -> None:
        if np.isfinite(values).all():
            return
        values = to_numpy(values)
        step, env = map(int, np.argwhere(~np.isfinite(values))[0][:2])
        raise self._unsound(field, values[step, env], step, env)

    def _unsound(self, field: str, value: Any, step: int, env: int) -> EnvError:
        return EnvError(
            f"{field}: expected finite numbers, got {value} in environment {self.first_env + env}, {self.size - step} "
            "steps before the end of the rollout: mend the environment, or limit what it gives"
        )

    def clear(self) -> None:
        """Start a new rollout."""
        self.size, self.begun, self.finals, self.followed = 0, False, [], 0
        if not self.all_valid:
            self.valid[...], self.all_valid = True, True

    def state_dict(self) -> dict[str, Any]:
        """Copies of the rows so far, and of a row that is begun."""
        rows = self.size + self.begun
        return {
            "size": self.size,
            "begun": self.begun,
            "observations": [_copy(store[:rows]) for store in self.observations],
            "actions": _copy(self.actions[:rows]),
            **{name: _copy(getattr(self, name)[: self.size]) for name in _RESULTS},
            "finals": [{"row": t, "env": env, "parts": [np.array(p) for p in parts]} for t, env, parts in self.finals],
        } | ({"following": [_copy(store[: self.followed]) for store in self.following]} if self.followed else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a rollout of other sizes."""
        try:
            size, begun = int(state["size"]), bool(state["begun"])
            saved = [*state["observations"], state["actions"], *(state[name] for name in _RESULTS)]
            finals = [(int(f["row"]), int(f["env"]), list(f["parts"])) for f in state["finals"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"rollout: expected its state_dict, got {error!r}: load another state") from None
        stores = [*self.observations, self.actions, *(getattr(self, name) for name in _RESULTS)]
        rows = [size + begun] * (len(self.observations) + 1) + [size] * len(_RESULTS)
        expected = [(n, *store.shape[1:]) for n, store in zip(rows, stores, strict=True)]
        got = [np.shape(array) for array in saved]
        if not 0 <= size + begun <= self.n_steps or got != expected:
            raise CheckpointError(
                f"rollout: expected arrays {expected}, at most {self.n_steps} rows, got {got}: load with the same "
                "spaces, n_steps and num_envs"
            )
        for store, array, n in zip(stores, saved, rows, strict=True):
            store[:n] = self._xp.asarray(array)
        self.all_valid = bool(np.all(state["valid"]))
        following = state.get("following", [])
        self.followed = len(following[0]) if following and self.device != "cpu" else 0
        if following and not self.followed:  # saved on a GPU: here the truncated ones are picked out
            cut = np.argwhere(state["truncated"])
            finals = [(int(t), int(env), [np.array(part[t, env]) for part in following]) for t, env in cut]
        if self.followed:
            self.following = [self._xp.zeros((self.n_steps, *part.shape[1:]), part.dtype) for part in following]
            for store, part in zip(self.following, following, strict=True):
                store[: self.followed] = self._xp.asarray(part)
        self.finals, self.size, self.begun = finals, size, begun


def _copy(array: Any) -> np.ndarray:
    return np.array(to_numpy(array))


_RESULTS = ("rewards", "terminated", "truncated", "valid")
