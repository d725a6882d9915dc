"""One seed grows a named tree of independent random streams; no global generator is ever touched."""

import hashlib
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
    """A generator that goes on from `state`, of either kind: one that was saved on a GPU draws the same elsewhere.

    Raises:
        CheckpointError: the state is damaged.
    """
    if isinstance(state, dict) and "position" in state:
        counter = CounterGenerator(np.random.SeedSequence(0), module_on(device))
        counter.load_state_dict(state)
        return counter
    g = np.random.Generator(np.random.PCG64(0))
    set_generator_state(g, state)
    return g


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
