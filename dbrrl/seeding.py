"""One seed grows a named tree of independent random streams; no global generator is ever touched."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import CounterGenerator, module_on
from dbrrl.checkpoint import untrusted
from dbrrl.errors import ConfigError
from dbrrl.types import State


def sequence(seed: int, *names: str | int) -> np.random.SeedSequence:
    """The child of `seed` at the path `names`, for example `sequence(0, "environment", 3)`.

    The spawn key is a SHA-256 of the path, so a child depends on its own name alone: a stream added
    later, or asked for in another order, moves no other. `"3"` and `3` are different names.

    Raises:
        ConfigError: `seed` is not an integer of 0 or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed: expected an integer of 0 or more, got {seed!r}: choose one such as 0")
    spawn_key = tuple(word for name in names for word in _words(name))
    return np.random.SeedSequence(int(seed), spawn_key=spawn_key)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A PCG64 generator of the stream `names` of `seed` (see `sequence`)."""
    return np.random.Generator(np.random.PCG64(sequence(seed, *names)))


def generator_on(device: str, seed: int, *names: str | int) -> Any:
    """The generator of a stream for `device`: NumPy's on the CPU, one that draws on the GPU for a GPU."""
    if device == "cpu":
        return generator(seed, *names)
    return CounterGenerator(sequence(seed, *names), module_on(device))


def restored(state: State, device: str) -> Any:
    """A generator that goes on from `state`, of any kind: one that was saved on a GPU draws the same elsewhere.

    Raises:
        CheckpointError: the state is damaged.
    """
    if isinstance(state, dict) and "streams" in state:
        return Streams.restored(state, device)
    if isinstance(state, dict) and "position" in state:
        counter = CounterGenerator(np.random.SeedSequence(0), module_on(device))
        counter.load_state_dict(state)
        return counter
    g = np.random.Generator(np.random.PCG64(0))
    set_generator_state(g, state)
    return g


class Streams:
    """Stands in for a generator where rows are environments in several shares, each with a stream of its own.

    So it does not matter to an environment's numbers how many shares are drawn together, in this process or another.

    Args:
        generators: one for each share.
        num_envs: environments of all these shares together, a share's environments side by side.
    """

    def __init__(self, generators: Sequence[np.random.Generator], num_envs: int) -> None:
        self.generators, self.num_envs = list(generators), num_envs

    def random(self, size: tuple[int, ...], *arguments: Any, **options: Any) -> np.ndarray:
        """Numbers from 0 to 1, (num_envs, ...), as `Generator.random` draws them."""
        return self._drawn("random", size, arguments, options)

    def standard_normal(self, size: tuple[int, ...], *arguments: Any, **options: Any) -> np.ndarray:
        """Normal numbers, (num_envs, ...)."""
        return self._drawn("standard_normal", size, arguments, options)

    def standard_exponential(self, size: tuple[int, ...], *arguments: Any, **options: Any) -> np.ndarray:
        """Exponential numbers, (num_envs, ...)."""
        return self._drawn("standard_exponential", size, arguments, options)

    def permutation(self, n: int) -> np.ndarray:
        """Return the numbers below n in random order, int64 (n,): rows of (T, num_envs), the environment last.

        The shares take turns, so that any run of rows has equally many of each; within a share the order is random.
        """
        shares, envs = len(self.generators), self.num_envs // len(self.generators)
        drawn = [rng.permutation(n // shares) for rng in self.generators]
        rows = [x // envs * self.num_envs + share * envs + x % envs for share, x in enumerate(drawn)]
        order: np.ndarray = np.stack(rows, 1).reshape(-1)
        return order

    def state_dict(self) -> State:
        """The states of the generators, and the number of environments."""
        return {"streams": [state_of(one) for one in self.generators], "num_envs": self.num_envs}

    @classmethod
    def restored(cls, state: State, device: str = "cpu") -> "Streams":
        """Return what goes on where `state` was taken, on a device; CheckpointError if it is damaged."""
        with untrusted.state_of("streams"):
            untrusted.table(state, "", "streams", "num_envs")
            saved = untrusted.entries(state["streams"], "streams")
            num_envs = untrusted.whole(state["num_envs"], "num_envs", at_least=len(saved))
        return cls([restored(one, device) for one in saved], num_envs)

    def _drawn(self, name: str, size: tuple[int, ...], arguments: Any, options: Any) -> np.ndarray:
        count, *rest = size
        each = (count // len(self.generators), *rest)
        return np.concatenate([getattr(rng, name)(each, *arguments, **options) for rng in self.generators])


def of_shares(seed: int, name: str, shares: range, num_envs: int, device: str = "cpu") -> Any:
    """Return the generator of some shares: of one alone it is that of the device, from which programs can draw.

    Args:
        seed: the root of the run's streams.
        name: of the stream.
        shares: their numbers.
        num_envs: environments of these shares together.
        device: where it draws.
    """
    generators = [generator_on(device, seed, name, share) for share in shares]
    return generators[0] if len(generators) == 1 else Streams(generators, num_envs)


def state_of(g: Any) -> State:
    """Return the state of a generator of any device."""
    return generator_state(g) if isinstance(g, np.random.Generator) else dict(g.state_dict())


def generator_state(g: np.random.Generator) -> State:
    """Everything `g` will draw from, as plain integers and strings (fit for JSON)."""
    return dict(g.bit_generator.state)


def set_generator_state(g: np.random.Generator, state: State) -> None:
    """Put `g` back to a state taken with `generator_state`: what it draws next is the same, bit for bit.

    Raises:
        CheckpointError: the state is damaged or belongs to another kind of generator.
    """
    expected = type(g.bit_generator).__name__
    with untrusted.state_of("generator state", f"expected a state of {expected}, load another checkpoint"):
        untrusted.generator(state, expected)
        g.bit_generator.state = state


def _words(name: str | int) -> tuple[int, ...]:
    """Four 32-bit words of a name's hash; whether it is text or a number is part of what is hashed."""
    kind = "str" if isinstance(name, str) else "int"
    digest = hashlib.sha256(f"{kind}:{name}".encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
