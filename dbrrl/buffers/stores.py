"""One part of the observations of R rows of B environments: each as it comes, or stacks of frames as single frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import replaceable, to_device_of, to_numpy
from dbrrl.buffers.loading import check_numbers
from dbrrl.buffers.queue import Queue
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, ConfigError

_FEW = 1000  # stacks kept whole of which nothing is thought yet


class Plain:
    """A part that is stored as it comes.

    Args:
        rows: array (R, B, ...), which its owner writes.
        seen: the same memory as it is read; where absent, `rows`.
    """

    def __init__(self, rows: Any, seen: Any = None) -> None:
        self.rows = rows
        self._flat = (rows if seen is None else seen).reshape(-1, *rows.shape[2:])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return int(self.rows.nbytes)

    def take(self, places: np.ndarray) -> Any:
        """The entries at `places` (n,), numbered row by row and again from 0 after the last: (n, ...)."""
        flat = self._flat
        if type(flat) is np.ndarray:
            return flat.take(places, 0, None, "wrap")  # `taken` without the call
        return taken(flat, places)

    def state_dict(self, rows: int) -> dict[str, Any]:
        """Return the first `rows` rows: views, if they are on the host."""
        return {"rows": to_numpy(self.rows[:rows])}

    def check(self, state: dict[str, Any], rows: int) -> None:
        """CheckpointError where `state` is not that of `rows` rows here."""
        state = untrusted.table(state, "observations", "rows")
        untrusted.array(state["rows"], "observations", self.rows.dtype, (rows, *self.rows.shape[1:]))

    def load_state_dict(self, state: dict[str, Any], rows: int) -> None:
        """Put back what `state_dict` gave."""
        self.rows[:rows] = to_device_of(self.rows, np.asarray(state["rows"], self.rows.dtype))


class DeviceRows(Plain):
    """The same in a GPU's memory. What is written twice, as an observation that goes on, is sent there once."""

    _latest, _at = b"", -1  # what was written last, and into which row

    def write(self, t: int, part: Any, follows: bool = False) -> None:
        """Set row t."""
        if isinstance(part, np.ndarray):
            sent = part.tobytes()
            if t == self._at and sent == self._latest:
                return
            self._latest, self._at = sent, t
        self.rows[t] = to_device_of(self.rows, part)

    def release(self, t: int) -> None:
        """Row t is about to be written anew."""

    def load_state_dict(self, state: dict[str, Any], rows: int) -> None:
        """Put back what `state_dict` gave."""
        super().load_state_dict(state, rows)
        self._at = -1


class Stack:
    """A part that is a stack of k frames, the newest last, of which a row stores the newest alone.

    A stack that is not the one of the row before moved on by one frame, as where an episode begins, is kept whole (its
    older frames in a queue beside the rows), so that what is taken is always what was written.

    Args:
        rows: array (R, B, channels of a frame, height, width).
        depth: k.
        seen: the same memory as it is read; where absent, `rows`.
    """

    def __init__(self, rows: Any, depth: int, seen: Any = None) -> None:
        self.rows, self.depth, self.history = rows, depth, depth - 1
        length, envs, self._channels, *size = rows.shape
        self._flat = (rows if seen is None else seen).reshape(-1, *rows.shape[2:])
        self._shape = (depth * self._channels, *size)
        self._offsets = np.arange(-self.history, 1) * envs
        # Rows since the last stack that was kept whole, at most k - 1; and the number of a whole one in the queue.
        self.age = np.full((length, envs), self.history, np.uint8)
        self.entry = np.zeros((length, envs), np.int64)
        self.full_stacks = Queue([((self.history, *rows.shape[2:]), rows.dtype)])
        self._used = 0  # rows that were ever written
        self._followed = self._unmoved = 0  # stacks that followed others, and those among them that had not moved on
        self._old = bytes([self.history]) * envs  # ages of a row that nothing kept is part of
        self._frame, self._size = self._flat[0].nbytes, depth * self._flat[0].nbytes
        self._latest, self._at = b"", -1  # the stacks of the row that was written last, if known, and which that is

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return int(self.rows.nbytes) + self.age.nbytes + self.entry.nbytes + self.full_stacks.nbytes

    def write(self, t: int, part: np.ndarray, follows: bool = False) -> None:
        """Set row t to the stacks `part` (B, k x channels, height, width).

        Those that follow the row before within its episodes are its own, moved on by one frame: ConfigError where many
        are not.
        """
        part = np.ascontiguousarray(part)
        before = self._latest
        if t == self._at and before.startswith(part):  # type: ignore[arg-type]  # compares without a copy
            return
        if not before or (self._at + 1) % len(self.rows) != t:
            before = to_numpy(self.take(np.arange((t - 1) * len(part), t * len(part)) % len(self._flat))).tobytes()
        stacks, seen, frame, size = part.tobytes(), memoryview(before), self._frame, self._size
        moved = [stacks.startswith(seen[i + frame : i + size], i) for i in range(0, len(stacks), size)]
        self._latest, self._at = stacks, t
        self._used = max(self._used, t + 1)
        self.rows[t] = to_device_of(self.rows, part[:, -self._channels :])
        if self.age[t - 1].tobytes() == self._old:
            self.age[t] = self.history
        else:
            np.minimum(self.age[t - 1] + 1, self.history, out=self.age[t])
        if not all(moved):
            self._keep(t, part, [env for env, usual in enumerate(moved) if not usual])
        if follows:
            self._followed += len(moved)
            self._unmoved += moved.count(False)
            if self._unmoved > _FEW and 2 * self._unmoved > self._followed:
                raise ConfigError(
                    f"frame_stack: expected images of {self.depth} frames, the newest last, that move on by one frame "
                    f"a step, but {self._unmoved} of {self._followed} did not: set frame_stack to 1"
                )

    def _keep(self, t: int, part: np.ndarray, envs: list[int]) -> None:
        """Keep the stacks of some environments in row t whole."""
        for env in envs:
            older = part[env, : -self._channels].reshape(self.full_stacks.layout[0][0])
            if self.entry[t, env]:
                self.full_stacks.put(int(self.entry[t, env]), [older])
            else:
                self.entry[t, env] = self.full_stacks.push([older])
            self.age[t, env] = 0

    def take(self, places: np.ndarray) -> Any:
        """The stacks at `places` (n,), numbered as in `Plain.take`: (n, k x channels, height, width)."""
        frames = taken(self._flat, places[:, None] + self._offsets)
        age = self.age.take(places, mode="wrap")
        for i in np.flatnonzero(age < self.history):
            begun = int(age[i])
            number = int(self.entry.take((places[i] - begun * self.rows.shape[1]) % len(self._flat)))
            kept = self.full_stacks.arrays[0]
            frames[i, : self.history - begun] = to_device_of(frames, kept[number % len(kept), begun:])
        return frames.reshape(len(places), *self._shape)

    def release(self, t: int) -> None:
        """Row t is about to be written anew: what is kept for it is forgotten."""
        if len(self.full_stacks):
            self.full_stacks.drop(int(np.count_nonzero(self.entry[t])))
            self.entry[t] = 0

    def state_dict(self, rows: int) -> dict[str, Any]:
        """Views of the first `rows` rows, and the stacks that are kept whole."""
        arrays = {"rows": to_numpy(self.rows[:rows]), "age": self.age[:rows], "entry": self.entry[:rows]}
        return arrays | {"whole": self.full_stacks.state_dict()}

    def check(self, state: dict[str, Any], rows: int) -> None:
        """CheckpointError where `state` is not that of `rows` rows here."""
        stores = {"rows": self.rows, "age": self.age, "entry": self.entry}
        state = untrusted.table(state, "observations", *stores, "whole")
        for name, store in stores.items():
            untrusted.array(state[name], f"observations: {name}", store.dtype, (rows, *store.shape[1:]), at_least=0)
        if state["age"].size and state["age"].max() > self.history:
            raise CheckpointError(f"observations: age: expected at most {self.history}, got {state['age'].max()}")
        self.full_stacks.check(state["whole"], "observations: whole")
        check_numbers(state["entry"][state["entry"] > 0], state["whole"], "observations: entry")

    def load_state_dict(self, state: dict[str, Any], rows: int) -> None:
        """Put back what `state_dict` gave."""
        self.rows[max(rows, len(self.rows) - self.history) :] = 0  # nothing comes before the first row
        self.age[rows : self._used], self.entry[rows : self._used] = self.history, 0
        self.rows[:rows] = to_device_of(self.rows, np.asarray(state["rows"], self.rows.dtype))
        self.age[:rows], self.entry[:rows] = state["age"], state["entry"]
        self.full_stacks.load_state_dict(state["whole"])
        self._used, self._latest = rows, b""


def depths_of(shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any], frame_stack: int) -> list[int]:
    """Frames in each part: `frame_stack` in the images that can be so many, else 1."""
    parts = zip(shapes, dtypes, strict=True)
    images = [len(s) == 3 and np.dtype(d) == np.uint8 and s[0] % frame_stack == 0 for s, d in parts]
    if frame_stack > 1 and not any(images):
        raise ConfigError(
            f"frame_stack: expected images of {frame_stack} frames, channels first, got observations {list(shapes)}: "
            "set it to 1"
        )
    return [frame_stack if image else 1 for image in images]


def frame_of(shape: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """The shape of one of `depth` frames."""
    return shape if depth == 1 else (shape[0] // depth, *shape[1:])


@replaceable
def taken(flat: Any, places: np.ndarray) -> Any:
    """Return rows of `flat` by number, which begins again from 0 after the last, on its device."""
    if type(flat) is np.ndarray:
        return flat.take(places, 0, None, "wrap")  # by position: a tenth of a microsecond less
    return flat.take(to_device_of(flat, places % len(flat)), axis=0)
