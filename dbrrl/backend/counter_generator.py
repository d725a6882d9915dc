"""Random numbers that are made where they are used, from a counter: nothing to copy, nothing hidden in a state.

Number i of a stream is a function of the stream's key and of i (Salmon et al. 2011, "Parallel random numbers: as easy
as 1, 2, 3": Philox-4x32 with ten rounds). So a state is two integers, which CuPy's own generators cannot give, a
recorded graph draws new numbers at each replay, and a GPU and a CPU draw the same.
"""

import math
from typing import Any

import numpy as np

from dbrrl.backend.arrays import array_module
from dbrrl.backend.replacements import replaceable
from dbrrl.checkpoint import untrusted

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: Any, key: int) -> list[Any]:
    """Four arrays of 32-bit words, in uint64, of the counters (n,) in uint64: Philox-4x32-10, upper counter words 0."""
    c0, c1 = counter & _LOW, counter >> _HALF
    c2 = c3 = counter & np.uint64(0)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ np.uint64(k0), b & _LOW, (a >> _HALF) ^ c3 ^ np.uint64(k1), a & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


class CounterGenerator:
    """Draws arrays where module `xp` (CuPy or NumPy) makes them; its methods are those of `numpy.random.Generator`.

    Args:
        seed: what the key is made of.
        xp: the array module.
    """

    def __init__(self, seed: np.random.SeedSequence, xp: Any) -> None:
        self.key = int(seed.generate_state(1, np.uint64)[0])
        self.xp = xp
        self.position = xp.zeros(1, np.uint64)  # on the device, where a recorded graph moves it on

    def random(self, size: Any = (), dtype: Any = np.float64) -> Any:
        """Uniform in [0, 1)."""
        return self._draw("uniform", size, dtype)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = ()) -> Any:
        """Uniform in [low, high), float64."""
        y = self._draw("uniform", size, np.float64)
        y *= high - low
        y += low
        return y

    def standard_exponential(self, size: Any = (), dtype: Any = np.float32) -> Any:
        """Exponential of mean 1; float32."""
        return self._draw("exponential", size, dtype)

    def standard_normal(self, size: Any = (), dtype: Any = np.float32) -> Any:
        """Normal of mean 0 and deviation 1; float32 (Box and Muller 1958)."""
        return self._draw("normal", size, dtype)

    def integers(self, low: int, high: int | None = None, size: Any = ()) -> Any:
        """Integers from `low` to `high` - 1 (from 0 where only one number is given), int64."""
        low, high = (0, low) if high is None else (low, high)
        return (self._draw("uniform", size, np.float64) * (high - low)).astype(np.int64) + low

    def permutation(self, n: int) -> Any:
        """The numbers 0 to n - 1 in random order, int64."""
        return self.xp.argsort(self._draw("bits", (n,), np.uint64))

    def state_dict(self) -> dict[str, Any]:
        """Key and position."""
        return {"key": self.key, "position": int(self.position[0])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw next what the generator would have drawn that gave `state`; CheckpointError for another kind's state."""
        with untrusted.state_of("generator state", "a run on a GPU goes on on a GPU"):
            state = untrusted.table(state, "", "key", "position")
            self.key, position = (untrusted.whole(state[name], name, 0, 2**64 - 1) for name in ("key", "position"))
        self.position.fill(position)

    def _draw(self, kind: str, size: Any, dtype: Any) -> Any:
        shape = (size,) if isinstance(size, int) else tuple(size)
        return draw(self.position, self.key, kind, math.prod(shape), np.dtype(dtype)).reshape(shape)


@replaceable
def draw(position: Any, key: int, kind: str, n: int, dtype: np.dtype[Any]) -> Any:
    """The next `n` numbers of a stream, an array (n,).

    Args:
        position: uint64 (1,): how many numbers were drawn so far; `n` is added to it.
        key: of the stream.
        kind: "uniform" in [0, 1), "exponential" of mean 1, "normal" of mean 0 and deviation 1, or "bits".
    """
    words = philox(array_module(position).arange(n, dtype=np.uint64) + position, key)
    position += np.uint64(n)
    return _FORMULAS[kind, dtype.name](words)


def _unit32(words: Any, add: int = 0) -> Any:
    """24 bits as float32: in [0, 1), or in (0, 1] where 1 is added."""
    return ((words >> np.uint64(8)) + np.uint64(add)).astype(np.float32) * np.float32(2**-24)


def _normal(words: Any) -> Any:
    radius = np.sqrt(np.log(_unit32(words[0], 1)) * np.float32(-2))
    return radius * np.cos(_unit32(words[1]) * np.float32(2 * math.pi))


_FORMULAS: dict[tuple[str, str], Any] = {
    ("uniform", "float32"): lambda w: _unit32(w[0]),
    ("uniform", "float64"): lambda w: (
        ((w[0] >> np.uint64(5)).astype(np.float64) * 67108864.0 + (w[1] >> np.uint64(6)).astype(np.float64)) * 2.0**-53
    ),
    ("exponential", "float32"): lambda w: -np.log(_unit32(w[0], 1)),
    ("normal", "float32"): _normal,
    ("bits", "uint64"): lambda w: (w[1] << _HALF) | w[0],
}
