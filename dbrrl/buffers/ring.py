"""The latest transitions of B environments, in a ring of arrays: what all replay buffers are filled and saved by."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl import checkpoint
from dbrrl.backend import array_module, load_kernels, to_device_of
from dbrrl.backend.trees import leaves, tree_maker
from dbrrl.buffers import memory, placement
from dbrrl.buffers.bits import INVALID, TERMINATED, TRUNCATED
from dbrrl.buffers.loading import check_ring
from dbrrl.buffers.queue import Queue
from dbrrl.buffers.stores import DeviceRows, Plain, Stack, depths_of, frame_of
from dbrrl.checkpoint import untrusted
from dbrrl.errors import ConfigError, GraphError, ShapeError, other_count
from dbrrl.renamed import Renamed, TakesOldNames
from dbrrl.types import Observation


class Ring(TakesOldNames):
    """A ring of rows of B transitions, filled in two moves per step: `add_action`, then `add_outcome`.

    The observation that follows a row is the next row's, so none is stored twice; only the true final observations of
    truncated episodes are kept apart. Places are numbered row by row.

    Args:
        capacity: transitions held, in all environments together (rounded up to whole rows).
        num_envs: B.
        shapes, dtypes: of the observation's parts (see `Encoder`), unbatched.
        action_shape, action_dtype: of one action.
        frame_stack: k, where images are stacks of k frames, the newest last: only that one is stored. 1: no stacks.
        file: name of a file to make, that holds the observations in place of memory. It is gone with the buffer; a
            checkpoint holds what is in it.
        device: a GPU whose memory holds the observations, and the parts of what is sampled. "cpu": none.
        pinned: they are in page-locked memory of the host instead, which that GPU reads when it samples.
        names: of the observation's arrays, where it is a dict.

    Attributes:
        size: complete rows, at most `rows`.
        head: the place of the open row; the newest complete one is just before it.
        ends: bits of each place: 1 terminated, 2 truncated, 4 not valid.

    Raises:
        ConfigError: it cannot fit into memory, or onto the disk; `frame_stack` is not of the images; a number below 1.
    """

    arrays: tuple[str, ...] = ("actions", "rewards", "ends", "final")  # attributes of one entry a place
    final_kept: np.ndarray = np.array([False, False, True, False] * 2)  # by bits: whether what followed is kept apart
    per_place: int = 0  # bytes that a subclass has beside these
    begin, end = Renamed("add_action"), Renamed("add_outcome")

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        shapes: Sequence[tuple[int, ...]],
        dtypes: Sequence[Any],
        action_shape: tuple[int, ...] = (),
        action_dtype: Any = np.int64,
        *,
        frame_stack: int = 1,
        file: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        pinned: bool = False,
        names: Sequence[str] = (),
    ) -> None:
        load_kernels("cpu")
        self.names, self.observation_of = names, tree_maker(names, len(shapes))
        for name, value in (("capacity", capacity), ("num_envs", num_envs), ("frame_stack", frame_stack)):
            if value < 1:
                raise ConfigError(f"{type(self).__name__}: expected {name} of at least 1, got {value}")
        self.num_envs, self.rows = num_envs, -(-capacity // num_envs)
        self._row = np.array(num_envs)  # from a place to that of the next row; NumPy adds an array in half the time
        depths = depths_of(shapes, dtypes, frame_stack)
        self._ring = self.rows + max(depths)  # with the observation after the newest row, and frames before the oldest
        self._places = self._ring * num_envs
        layout = [((self._ring, num_envs, *frame_of(s, k)), d) for s, d, k in zip(shapes, dtypes, depths, strict=True)]
        flat, what = (self._places,), type(self).__name__
        rest = [((*flat, *action_shape), action_dtype), (flat, np.float32), (flat, np.uint8), (flat, np.int64)]
        elsewhere = file is not None or (device != "cpu" and not pinned)
        size = memory.nbytes(rest if elsewhere else [*layout, *rest]) + self._places * self.per_place
        memory.require_memory(size, what)
        pairs = list(zip(placement.arrays(layout, what, file, device, pinned), depths, strict=True))
        single = Plain if device == "cpu" or pinned else DeviceRows
        self.stores = [single(x, seen) if k == 1 else Stack(x, k, seen) for (x, seen), k in pairs]
        self._plain = [(i, store.rows) for i, store in enumerate(self.stores) if type(store) is Plain]
        self._writers = [(i, store) for i, store in enumerate(self.stores) if isinstance(store, Stack | DeviceRows)]
        self._pinned = pinned and device != "cpu"  # a GPU reads what the host writes
        self._reading: Any = None  # an event after the last such reading
        # `final` is the number of the final observation of a truncated entry.
        self.actions, self.rewards, self.ends, self.final = memory.zeros(rest)
        self._action_rows = self.actions.reshape(self._ring, num_envs, *action_shape)
        self._reward_rows = self.rewards.reshape(self._ring, num_envs)
        self.finals = Queue(list(zip(shapes, dtypes, strict=True)))
        self.size = self.head = self._invalid = 0  # `_invalid`: entries of complete rows that are not valid
        self.used = 1  # rows of the ring that hold anything
        self.begun = False
        self._none = bytes(num_envs)  # what no end anywhere looks like
        self._due = -1  # the row whose completion overwrites the oldest one marked in `ends`; none: -1

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self.size * self.num_envs - self._invalid

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, once filled."""
        return sum(part.nbytes for part in (*self.stores, *(getattr(self, name) for name in self.arrays), self.finals))

    @property
    def valid(self) -> np.ndarray:
        """Whether what a complete row has at each place is a transition, bool."""
        valid: np.ndarray = self.ends & INVALID == 0
        return valid

    def add_action(self, observation: Observation | list[Any], action: np.ndarray) -> None:
        """Open a row: the observation acted on, and the action taken; ShapeError if not one per environment."""
        parts = observation if type(observation) is list else leaves(observation)
        if len(parts[0]) != self.num_envs or (getattr(action, "ndim", False) and len(action) != self.num_envs):
            got = f"{len(parts[0])} and {np.shape(action)}"
            raise other_count("act()", "observations and actions", self.num_envs, got, len(parts[0]))
        t = self.head
        if self._reading is not None:
            self._let_read()
        for i, rows in self._plain:
            rows[t] = parts[i]
        for i, store in self._writers:
            store.write(t, parts[i])
        self._action_rows[t] = action
        self.begun = True

    def add_outcome(
        self, next_observation: Observation | list[Any], reward: Any, terminated: Any, truncated: Any, valid: Any = None
    ) -> None:
        """Complete the open row with the true next observation. `valid` False marks entries that are no transition.

        Raises:
            GraphError: there is none.
            ShapeError: not one observation, reward or end per environment.
        """
        if not self.begun:
            raise GraphError("observe(): expected act() before it: call act(observation), step, then observe()")
        next_parts = next_observation if type(next_observation) is list else leaves(next_observation)
        if not len(next_parts[0]) == (reward.size if type(reward) is np.ndarray else np.size(reward)) == self.num_envs:
            got = f"{len(next_parts[0])} and {np.shape(reward)}"
            raise other_count("observe()", "observations and rewards", self.num_envs, got, np.size(reward))
        t, none = self.head, self._none
        self._reward_rows[t] = reward
        if t == self._due and self.size == self.rows:
            self._forget()
        try:  # as bytes these are compared in no time
            usual = terminated.tobytes() == none == truncated.tobytes() and valid is None
        except AttributeError:
            usual = False
        if not usual:
            self._mark(t, terminated, truncated, valid, next_parts)
        if self.size < self.rows:
            self.size += 1
        t += 1
        if t >= self.used:
            t %= self._ring
            self.used = max(self.used, t + 1)
        self.head, self.begun = t, False
        if self._reading is not None:
            self._let_read()
        for i, rows in self._plain:
            rows[t] = next_parts[i]
        for i, store in self._writers:
            store.release(t)
            store.write(t, next_parts[i], follows=True)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The places (n,) of as many transitions, uniformly with replacement; GraphError where there is none."""
        count, first = self.size * self.num_envs, (self.head - self.size) * self.num_envs
        if count == self._invalid:
            raise GraphError("sample(): expected a transition in the buffer, got none: observe() some first")
        index = self._uniform(first, count, n, rng)
        if first < 0:
            index = self.wrapped(index)
        while self._invalid and (bad := self.ends.take(index) & INVALID != 0).any():
            index[bad] = self.wrapped(self._uniform(first, count, int(np.count_nonzero(bad)), rng))
        return index

    def _uniform(self, first: int, count: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n whole numbers from `first` on, `count` different ones, each alike."""
        return rng.integers(first, first + count, size=n)

    def run(self, index: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows from `index` (n,) on, `length` of them: places and `ends`, both (n, length), and which belong.

        Those do, bool (n, length), that come before the end of the episode, an entry that is not valid and the open
        row. Places may go on beyond the last (see `wrapped`).
        """
        places = index[:, None] + np.arange(length) * self.num_envs
        ends = self.ends.take(places, mode="wrap")
        stops = np.zeros(places.shape, np.bool_)
        stops[:, 1:] = (ends[:, :-1] & (TERMINATED | TRUNCATED)) | (ends[:, 1:] & INVALID)
        stops[:, 1:] |= (self.head - index // self.num_envs)[:, None] % self._ring == np.arange(1, length)
        return places, ends, ~np.logical_or.accumulate(stops, axis=1)

    def take(self, places: np.ndarray) -> list[Any]:
        """The parts of the observations acted on at `places` (n,), which may go on beyond the last: each (n, ...)."""
        parts = [store.take(places) for store in self.stores]
        if self._pinned:
            self._reading = array_module(parts[0]).cuda.get_current_stream().record()
        return parts

    def _let_read(self) -> None:
        """Wait until the GPU has read what it was told to, before the host writes there."""
        self._reading.synchronize()
        self._reading = None

    def take_next(self, places: np.ndarray, ends: np.ndarray) -> list[Any]:
        """The parts of those that followed, given the bits `ends` (n,) of the places; of no meaning at a true end."""
        parts = self.take(places + self._row)
        if self.finals.next > self.finals.first:  # any are kept; len() would be a call
            cut = np.flatnonzero(self.final_kept.take(ends))
            final = self.final.take(places[cut])
            for part, kept in zip(parts, self.finals.arrays, strict=True) if len(cut) else ():
                part[to_device_of(part, cut)] = to_device_of(part, kept[final % len(kept)])
        return parts

    def wrapped(self, places: np.ndarray) -> np.ndarray:
        """The places as they are numbered, where counting went on beyond the last, or before the first."""
        return places % self._places

    def state_dict(self) -> dict[str, Any]:
        """Return all that is stored: copies, or views while `checkpoint.lending` allows these."""
        places = self.used * self.num_envs
        state = {
            **{name: getattr(self, name) for name in ("size", "head", "used", "begun")},
            "observations": [store.state_dict(self.used) for store in self.stores],
            **{name: getattr(self, name)[:places] for name in self.arrays},
            "finals": self.finals.state_dict(),
        }
        return state if checkpoint.lending() else checkpoint.copied(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a buffer of other sizes."""
        with untrusted.state_of("replay", "load with the same spaces, buffer_size, frame_stack and num_envs"):
            self._check(state)
        before, self.used = self.used, int(state["used"])
        self.size, self.head, self.begun = int(state["size"]), int(state["head"]), bool(state["begun"])
        places = self.used * self.num_envs
        for name in self.arrays:
            getattr(self, name)[:places] = state[name]
            getattr(self, name)[places : before * self.num_envs] = 0  # beyond that nothing was ever written
        for store, part in zip(self.stores, state["observations"], strict=True):
            store.load_state_dict(part, self.used)
        self.finals.load_state_dict(state["finals"])
        self._invalid = int(np.count_nonzero(self.ends.take(self._complete()) & INVALID))
        self.look_ahead(self.head - self.size)

    def _check(self, state: dict[str, Any]) -> None:
        """CheckpointError where `state` cannot be put back here."""
        check_ring(self, state)

    def _complete(self) -> np.ndarray:
        """The places of the complete rows, the oldest first."""
        first = (self.head - self.size) * self.num_envs
        return self.wrapped(np.arange(first, first + self.size * self.num_envs))

    def _mark(self, t: int, terminated: Any, truncated: Any, valid: Any, next_parts: Sequence[np.ndarray]) -> None:
        """Set the bits of row t; final observations of truncated entries are put aside."""
        bits = self.ends[t * self.num_envs : (t + 1) * self.num_envs]
        bits[:] = 0
        for name, flags, bit in (("terminated", terminated, TERMINATED), ("truncated", truncated, TRUNCATED)):
            if np.shape(flags) not in ((), bits.shape):
                raise ShapeError(f"observe(): expected {name} of shape {bits.shape}, got {np.shape(flags)}")
            bits[np.broadcast_to(np.asarray(flags, bool), bits.shape)] |= bit
        for env in np.flatnonzero(self.final_kept.take(bits)):
            self.final[t * self.num_envs + env] = self.finals.push([part[env] for part in next_parts])
        if valid is not None:
            bits[~np.asarray(valid, bool)] |= INVALID
            self._invalid += self.num_envs - int(np.count_nonzero(valid))
        if self._due < 0:
            self._due = (t + self.rows) % self._ring

    def _forget(self) -> None:
        """Let the oldest complete row go, in which something is marked."""
        oldest = (self._due - self.rows) % self._ring
        ends = self.ends[oldest * self.num_envs : (oldest + 1) * self.num_envs]
        self.finals.drop(int(np.count_nonzero(self.final_kept.take(ends))))
        self._invalid -= int(np.count_nonzero(ends & INVALID))
        ends[:] = 0
        self.look_ahead(oldest)

    def episode_cut(self, env: int) -> None:
        """Take in that the newest row was made the last one of the episode of an environment; here nothing is due."""

    def look_ahead(self, row: int) -> None:
        """Find the next row, from `row` on, in which something is marked."""
        marks, start = self.ends.view(np.bool_), row % self._ring * self.num_envs
        place = start + int(marks[start:].argmax())  # stops at the first
        if not self.ends[place]:
            place = int(marks.argmax())
        self._due = (place // self.num_envs + self.rows) % self._ring if self.ends[place] else -1
