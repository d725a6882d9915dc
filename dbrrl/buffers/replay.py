"""Experience replay (Lin 1992; Mnih et al. 2015): the latest transitions of B environments as arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl.buffers.memory import require_memory
from dbrrl.errors import CheckpointError, GraphError


@dataclass(slots=True)
class Batch:
    """n transitions of k <= n_steps steps each; `discount` is γᵏ, or 0 where the episode truly ended.

    A target is `reward + discount * value(next_parts)`: there is no ending to look at.
    """

    parts: list[np.ndarray]  # of the observation acted on, each (n, ...)
    action: np.ndarray  # (n, ...)
    reward: np.ndarray  # float32 (n,): r + γ r' + ... + γᵏ⁻¹ r⁽ᵏ⁻¹⁾
    discount: np.ndarray  # float32 (n,)
    next_parts: list[np.ndarray]  # of the observation k steps on, the true final one at a time limit, each (n, ...)
    index: np.ndarray  # int64 (n,): places in the buffer
    weight: np.ndarray | None = None  # float32 (n,): importance weights; None where all are 1


class ReplayBuffer:
    """A ring of rows of B transitions, filled in two moves per step: `begin` when acting, `end` with what followed.

    The observation that follows a row is the next row's, so none is stored twice; only the true final observations of
    truncated episodes are kept apart. n-step returns are formed when sampling: they stop early at the end of an
    episode, at a row that is not valid and at the newest row.

    Args:
        capacity: transitions held, in all environments together (rounded up to whole rows).
        num_envs: B.
        shapes, dtypes: of the observation's parts (see `Encoder`), unbatched.
        action_shape, action_dtype: of one action.

    Attributes:
        size: complete rows, at most `rows`.
        head: the place of the open row; the newest complete one is just before it.

    Raises:
        ConfigError: it cannot fit into memory.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Any],
        action_shape: tuple[int, ...] = (),
        action_dtype: Any = np.int64,
    ) -> None:
        self.num_envs, self.rows = num_envs, -(-capacity // num_envs)
        self._ring = self.rows + 1  # one row more: the observation that follows the newest
        places = self._ring * num_envs
        layout = [*zip(shapes, dtypes, strict=True), (action_shape, action_dtype)]
        require_memory(places * sum(_width(s, d) for s, d in [*layout, *_RESULTS.values()]), type(self).__name__)
        # Places are numbered row by row; zeros take no memory before they are written.
        *self.observations, self.actions = (np.zeros((places, *shape), dtype) for shape, dtype in layout)
        self.rewards, self.terminated, self.truncated, self.valid, self.final = (
            np.zeros((places, *shape), dtype) for shape, dtype in _RESULTS.values()
        )
        self.valid[:] = True
        self._by_row = [x.reshape(self._ring, num_envs, *x.shape[1:]) for x in (*self.observations, self.actions)]
        self._results = [getattr(self, name).reshape(self._ring, num_envs) for name in _RESULTS]
        self.size = self.head = 0
        self.begun = False
        self._invalid = 0  # entries among the complete rows that are not valid
        # A queue of final observations: the i-th ever stored lies at i modulo its length.
        self._finals = [np.zeros((1, *shape), dtype) for shape, dtype in layout[:-1]]
        self._first_final, self._next_final = 1, 1  # `final` is 0 where there is none

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self.size * self.num_envs - self._invalid

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, once filled."""
        arrays = [*self.observations, self.actions, *(getattr(self, name) for name in _RESULTS), *self._finals]
        return sum(array.nbytes for array in arrays)

    def begin(self, parts: Sequence[np.ndarray], action: np.ndarray) -> None:
        """Open a row: the observation acted on, and the action taken."""
        t = self.head
        self._write(t, parts)
        self._by_row[-1][t] = action
        self.begun = True

    def end(
        self, next_parts: Sequence[np.ndarray], reward: Any, terminated: Any, truncated: Any, valid: Any = None
    ) -> None:
        """Complete the open row with the true next observation. `valid` False marks entries that are no transition."""
        if not self.begun:
            raise GraphError("observe(): expected act() before it: call act(observation), step, then observe()")
        t, (rewards, terminations, truncations, validity, final) = self.head, self._results
        if self.size == self.rows:
            self._forget()
        else:
            self.size += 1
        rewards[t], terminations[t], truncations[t] = reward, terminated, truncated
        if valid is not None:
            validity[t] = valid
            self._invalid += self.num_envs - int(np.count_nonzero(valid))
        if np.count_nonzero(truncated):
            for env in np.flatnonzero(truncations[t] & ~terminations[t]):
                final[t, env] = self._keep_final([part[env] for part in next_parts])
        self.head = t = (t + 1) % self._ring
        self.begun = False
        self._write(t, next_parts)

    def sample(self, n: int, rng: np.random.Generator, gamma: float, n_steps: int = 1) -> Batch:
        """`n` transitions, uniformly with replacement.

        Raises:
            GraphError: there is none.
        """
        if not len(self):
            raise GraphError("sample(): expected a transition in the buffer, got none: observe() some first")
        first = (self.head - self.size) * self.num_envs
        index = self._wrapped(rng.integers(first, first + self.size * self.num_envs, size=n))
        while self._invalid and not (good := self.valid[index]).all():
            again = rng.integers(first, first + self.size * self.num_envs, size=n - int(np.count_nonzero(good)))
            index[~good] = self._wrapped(again)
        return self.gather(index, gamma, n_steps)

    def gather(self, index: np.ndarray, gamma: float, n_steps: int = 1) -> Batch:
        """The transitions that begin at the places `index` (n,)."""
        reward, last = self.rewards.take(index), index
        discount = np.full(len(index), gamma, np.float32)
        newest = self._wrapped(np.array((self.head - 1) * self.num_envs)) // self.num_envs
        for _ in range(n_steps - 1):
            following = self._wrapped(last + self.num_envs)
            on = (
                ~(self.terminated[last] | self.truncated[last])
                & (last // self.num_envs != newest)
                & self.valid[following]
            )
            if not on.any():
                break
            reward = reward + np.where(on, discount * self.rewards[following], np.float32(0))
            discount = np.where(on, discount * np.float32(gamma), discount)
            # An entry that stopped must not go on: its last place stays, and so does what stopped it.
            last = np.where(on, following, last)
        discount[self.terminated.take(last)] = 0
        following = self._wrapped(last + self.num_envs)
        next_parts = [store.take(following, axis=0) for store in self.observations]
        if self._next_final > self._first_final:
            final = self.final.take(last)
            cut = np.flatnonzero(final)
            for part, store in zip(next_parts, self._finals, strict=True):
                part[cut] = store[final[cut] % len(store)]
        parts = [store.take(index, axis=0) for store in self.observations]
        return Batch(parts, self.actions.take(index, axis=0), reward, discount, next_parts, index)

    def state_dict(self) -> dict[str, Any]:
        """Copies of the complete rows from the oldest on, of the open one's observation, and of the final ones."""
        complete = self._wrapped(self._places(self.size))
        opened = self._wrapped(self._places(self.size + 1))
        finals = np.arange(self._first_final, self._next_final)
        return {
            "size": self.size,
            "head": self.head,
            "begun": self.begun,
            "first_final": self._first_final,
            "observations": [store[opened] for store in self.observations],
            "actions": self.actions[opened],
            **{name: getattr(self, name)[complete] for name in _RESULTS},
            "finals": [store[finals % len(store)] for store in self._finals],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a buffer of other sizes."""
        try:
            size, head, begun = int(state["size"]), int(state["head"]), bool(state["begun"])
            opened = [*state["observations"], state["actions"]]
            complete = [state[name] for name in _RESULTS]
            finals, first = list(state["finals"]), int(state["first_final"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"replay: expected its state_dict, got {error!r}: load another state") from None
        stores = [*self.observations, self.actions, *(getattr(self, name) for name in _RESULTS), *self._finals]
        lengths = [(size + 1) * self.num_envs] * len(opened) + [size * self.num_envs] * len(complete)
        lengths += [len(finals[0])] * len(finals) if finals else []
        got = [np.shape(array) for array in [*opened, *complete, *finals]]
        expected = [(n, *store.shape[1:]) for n, store in zip(lengths, stores, strict=False)]
        if not 0 <= size <= self.rows or not 0 <= head < self._ring or got != expected or len(got) != len(stores):
            raise CheckpointError(
                f"replay: expected arrays {expected}, at most {self.rows} rows, got {got}: load with the same spaces, "
                "buffer_size and num_envs"
            )
        self.size, self.head, self.begun = size, head, begun
        self.valid[:], self.final[:] = True, 0
        at = self._wrapped(self._places(size + 1))
        for store, array, n in zip(stores, [*opened, *complete], lengths, strict=False):
            store[at[:n]] = array
        self._invalid = size * self.num_envs - int(np.count_nonzero(state["valid"]))
        self._first_final, self._next_final = first, first + len(finals[0])
        order = np.arange(self._first_final, self._next_final)
        self._finals = [np.zeros((_room(len(order)), *store.shape[1:]), store.dtype) for store in self._finals]
        for store, array in zip(self._finals, finals, strict=True):
            store[order % len(store)] = array

    def _write(self, t: int, parts: Sequence[np.ndarray]) -> None:
        stores = self._by_row
        stores[0][t] = parts[0]
        for i in range(1, len(parts)):
            stores[i][t] = parts[i]

    def _places(self, rows: int) -> np.ndarray:
        """Places of `rows` rows from the oldest complete one on, before wrapping."""
        first = (self.head - self.size) * self.num_envs
        return np.arange(first, first + rows * self.num_envs)

    def _wrapped(self, places: np.ndarray) -> np.ndarray:
        wrapped: np.ndarray = places % (self._ring * self.num_envs)
        return wrapped

    def _forget(self) -> None:
        """Let the oldest row go: its place becomes that of the open row's next observation."""
        t = (self.head - self.size) % self._ring
        *_, validity, final = self._results
        if self._first_final < self._next_final:
            self._first_final += int(np.count_nonzero(final[t]))
            final[t] = 0
        if self._invalid:
            self._invalid -= self.num_envs - int(np.count_nonzero(validity[t]))
            validity[t] = True

    def _keep_final(self, parts: list[np.ndarray]) -> int:
        """The number under which a final observation is kept."""
        count = self._next_final - self._first_final
        if count == len(self._finals[0]):
            order = np.arange(self._first_final, self._next_final)
            for i, store in enumerate(self._finals):
                self._finals[i] = np.zeros((2 * count, *store.shape[1:]), store.dtype)
                self._finals[i][order % (2 * count)] = store[order % count]
        for store, part in zip(self._finals, parts, strict=True):
            store[self._next_final % len(store)] = part
        self._next_final += 1
        return self._next_final - 1


_RESULTS: dict[str, tuple[tuple[int, ...], Any]] = {
    "rewards": ((), np.float32),
    "terminated": ((), np.bool_),
    "truncated": ((), np.bool_),
    "valid": ((), np.bool_),
    "final": ((), np.int64),  # number of the final observation kept apart
}


def _width(shape: tuple[int, ...], dtype: Any) -> int:
    size: int = math.prod(shape) * np.dtype(dtype).itemsize
    return size


def _room(count: int) -> int:
    """The smallest power of two that holds `count`: the length a queue has grown to."""
    return 1 << max(count - 1, 0).bit_length()
