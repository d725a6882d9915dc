"""What a recorded function draws: noted while it is traced, and drawn again for every run of its program."""

import copy
import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.random._generator as numpy_generator

from dbrrl.kernels.cpu.names import native
from dbrrl.kernels.cpu.trace import Traced, given

# Methods of NumPy's Generator, and what they fill an array of float64 by; those for float32 end with "_f". NumPy's
# module exports these functions for other libraries (see "Extending" in the documentation of numpy.random).
_FILLS = {
    "random": "random_standard_uniform_fill",
    "standard_exponential": "random_standard_exponential_fill",
    "standard_normal": "random_standard_normal_fill",
}
_TRIES = 3  # draws that are compared before NumPy's function is taken in place of its method


@dataclass
class Call:
    """A call of a generator's method, and what it returned when the function was traced."""

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    drawn: np.ndarray = field(compare=False)
    known: set[type] = field(default_factory=set, compare=False)  # bit generators for which NumPy's function is right

    def of(self, rng: np.random.Generator) -> Callable[[], np.ndarray]:
        """Return a function without arguments that makes this call of `rng`."""
        return functools.partial(getattr(rng, self.name), *self.arguments, **self.options)


class Draws:
    """A generator whose draws are inputs of the program.

    Attributes:
        calls: what was drawn.
    """

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def draw(*arguments: Any, **options: Any) -> Traced:
            array = getattr(self._rng, name)(*arguments, **options)
            self.calls.append(Call(name, arguments, options, array))
            return given(array).copy()

        return draw


def drawing(rng: np.random.Generator, call: Call) -> Callable[[], np.ndarray]:
    """Return a function without arguments that draws from `rng` what the call does: the same numbers, in a third of the
    time where a function of NumPy's is known for it.
    """
    plain = len(call.arguments) <= 2 and {"size", "dtype"} >= set(call.options)  # no array of the caller's to fill
    address = _fill_of(call.name, call.drawn.dtype) if plain and type(rng) is np.random.Generator else 0
    if not address:
        return call.of(rng)
    kind = type(rng.bit_generator)
    if kind not in call.known and _alike(rng, address, call):
        call.known.add(kind)
    return _filled(rng, address, call.drawn) if kind in call.known else call.of(rng)


def _alike(rng: np.random.Generator, fill: int, call: Call) -> bool:
    """Whether the function at an address draws what the call does, and leaves a generator in the same state."""
    copies = _copies(rng)
    if copies is None:
        return False
    one, two = copies
    quick, method = _filled(one, fill, call.drawn), call.of(two)
    same = all(np.array_equal(quick(), method()) for _ in range(_TRIES))
    return same and str(one.bit_generator.state) == str(two.bit_generator.state)


def _copies(rng: np.random.Generator) -> tuple[np.random.Generator, np.random.Generator] | None:
    """Return two copies of a generator; None where its bit generator, somebody else's, is not made to be copied."""
    try:
        return copy.deepcopy(rng), copy.deepcopy(rng)
    except Exception:
        return None


def _filled(rng: np.random.Generator, fill: int, like: np.ndarray) -> Callable[[], np.ndarray]:
    generator = rng.bit_generator
    lock = generator.lock
    return functools.partial(native.draw, like, fill, generator.capsule, lock.acquire, lock.release)


def whole_numbers(rng: np.random.Generator, first: int, count: int, n: int) -> Any:
    """Return n whole numbers from `first` on, `count` different ones, int64 (n,), as `rng.integers` draws them;
    NotImplemented where NumPy's function is not known to be right.
    """
    if type(rng) is not np.random.Generator:
        return NotImplemented
    generator = rng.bit_generator
    fill = _whole_fills.get(type(generator))
    if fill is None:
        fill = _whole_fills[type(generator)] = _whole_fill(rng)
    if not fill:
        return NotImplemented
    lock = generator.lock
    return native.draw_whole(n, first, first + count - 1, fill, generator.capsule, lock.acquire, lock.release)


_whole_fills: dict[type, int] = {}  # by kind of bit generator the address of NumPy's function; 0: it is not right


def _whole_fill(rng: np.random.Generator) -> int:
    """Return the address of NumPy's function for whole numbers; 0 where it does not draw what the method draws."""
    fill, copies = _address("random_bounded_uint64_fill"), _copies(rng)
    if not fill or copies is None:
        return 0
    one, two = copies
    generator = one.bit_generator
    for first, count in ((0, 1), (-5, 7), (3, 100_000), (-(2**40), 2**41)):
        found = native.draw_whole(
            5, first, first + count - 1, fill, generator.capsule, generator.lock.acquire, generator.lock.release
        )
        if not np.array_equal(found, two.integers(first, first + count, size=5)):
            return 0
    return fill if str(generator.state) == str(two.bit_generator.state) else 0


@functools.cache
def _fill_of(name: str, dtype: np.dtype[Any]) -> int:
    """Return the address of the function that fills arrays of a type for a method; 0 where there is none."""
    suffix = {"float64": "", "float32": "_f"}.get(dtype.name)
    return 0 if name not in _FILLS or suffix is None else _address(_FILLS[name] + suffix)


def _address(name: str) -> int:
    """Return the address of a function that NumPy's random module exports; 0 where there is none."""
    try:
        library = ctypes.CDLL(numpy_generator.__file__)
    except OSError:
        return 0
    function = getattr(library, name, None)
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0
