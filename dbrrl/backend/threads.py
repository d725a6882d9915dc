"""The number of threads of NumPy's BLAS: as many as the largest product of an agent is worth.

OpenBLAS takes a thread for every core from some 262,000 multiply-adds, where the products of small networks begin, and
its threads wait for each other in busy loops: on a machine that does something else, too, an update takes several
times as long. So an agent is made, and its `act` and `update` run, with a number of threads of their own, in the runner
and in any other loop, and NumPy has its own again after them. `set_blas_threads` and `using_blas_threads` fix the
number for all, and it is never raised above one that NumPy has, such as that of OPENBLAS_NUM_THREADS.
"""

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.errors import ConfigError

# Measured with one thread against two on 2 cores: the update of an IQN with layers of 120 and 84, whose largest product
# has 4e7 multiply-adds, gains nothing where the other core is free, and takes 5 times as long where it is not.
WORK_PER_THREAD = 2**25

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "200000 100000": two cores' time; "max 100000": all of it
_SYMBOLS = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
_CBLAS = ("scipy_cblas_{}64_", "cblas_{}64_", "scipy_cblas_{}", "cblas_{}")
_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")  # in the order in which OpenBLAS asks


def blas_threads() -> int:
    """The number of threads of NumPy's matrix products; 1 for a BLAS that does not tell."""
    ask = openblas("get_num_threads")
    return ask() if ask is not None else 1


def set_blas_threads(n: int) -> None:
    """Let all matrix products use `n` threads, those of agents too; without effect where the BLAS is not OpenBLAS.

    Raises:
        ConfigError: `n` is below 1.
    """
    if n < 1:
        raise ConfigError(f"blas threads: expected 1 or more, got {n}: use 1 to turn threading off")
    _scope.chosen = True
    _change(n)


@contextmanager
def using_blas_threads(n: int) -> Iterator[None]:
    """`set_blas_threads(n)` inside a `with` block, and what was before afterwards."""
    before, chosen = blas_threads(), _scope.chosen
    set_blas_threads(n)
    try:
        yield
    finally:
        _change(before)
        _scope.chosen = chosen


def auto_blas_threads(work: int) -> int:
    """The number of threads worth using, from the multiply-adds of the largest matrix product.

    A product of (m, k) by (k, n) is `work = m * k * n`. Small networks get 1: they gain nothing from more, and two
    runs side by side lose much. It is never more than there are cores, or than OPENBLAS_NUM_THREADS says.
    """
    return max(1, min(_most(), work // WORK_PER_THREAD))


def cpu_count() -> int:
    """The CPU cores this process may use: those it may run on, or fewer by a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if _QUOTA.is_file():
        quota, _, period = _QUOTA.read_text().partition(" ")
        if quota.isdecimal() and period.strip().isdecimal():
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


class OwnThreads:
    """Base of what acts and learns: its `act`, and its `update` or else its `observe`, use the threads they are worth.

    A subclass has a `largest_matmul`, in multiply-adds, and may have a `network`.
    """

    _known: tuple[Any, int] = (None, 0)  # the network of the latest answer, and that answer

    def __init_subclass__(cls, **options: Any) -> None:
        """Limit the methods of `cls` that compute; one thread makes the initial weights."""
        super().__init_subclass__(**options)
        for name in ("__init__", "act", "update" if hasattr(cls, "update") else "observe"):
            if name in vars(cls):
                setattr(cls, name, _limited(vars(cls)[name], 1 if name == "__init__" else None))

    @property
    def blas_threads(self) -> int:
        """The most BLAS threads that its products use, unless `set_blas_threads` has said how many all use."""
        network = getattr(self, "network", None)
        if not self._known[1] or network is not self._known[0]:
            work: int = getattr(self, "largest_matmul", 0)
            self._known = network, auto_blas_threads(work)
        return self._known[1]


def _limited(method: Callable[..., Any], most: int | None) -> Callable[..., Any]:
    """`method`; while it runs, products use at most so many threads; None: the `blas_threads` of its object."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        now = 1 if _scope.chosen else blas_threads()  # NumPy's own, or those of a limited method under way
        if now == 1 or now <= (threads := most or self.blas_threads):
            return method(self, *arguments, **options)
        _scope.enter(threads)
        try:
            return method(self, *arguments, **options)
        finally:
            _scope.leave()

    return run


class _Scope:
    """The calls of limited methods under way in this process, and the number to go back to after the last of them."""

    def __init__(self) -> None:
        self.chosen = False  # the number was given: nothing but another call changes it
        self.depth, self.before = 0, 1
        self.lock = threading.Lock()  # the number is one for all threads of Python's

    def enter(self, most: int) -> None:
        with self.lock:
            if not self.depth:
                self.before = blas_threads()
            self.depth += 1
            _change(most)

    def leave(self) -> None:
        with self.lock:
            self.depth -= 1
            if not self.depth and not self.chosen:
                _change(self.before)


_scope = _Scope()


def _change(n: int) -> None:
    change = openblas("set_num_threads")
    if change is not None:
        change(n)


def _most() -> int:
    """The cores there are, or fewer if the environment says so; it limits, and never raises, the number."""
    said = next((os.environ[name] for name in _VARIABLES if os.environ.get(name, "").isdecimal()), "0")
    return min(cpu_count(), int(said)) if int(said) else cpu_count()


@functools.cache
def openblas(name: str) -> Any:
    """OpenBLAS's function `name`, under whichever of its known spellings the library has; else None."""
    library = _library()
    spellings = (pattern.format(name) for pattern in _SYMBOLS)
    return next((getattr(library, s) for s in spellings if library is not None and hasattr(library, s)), None)


def cblas(*names: str) -> tuple[tuple[Any, ...] | None, bool]:
    """CBLAS functions of NumPy's OpenBLAS, such as "sgemm", and whether their integers have 64 bits.

    None in place of the functions where the BLAS is another, or one of them is missing.
    """
    library = _library()
    for pattern in _CBLAS:
        spellings = [pattern.format(name) for name in names]
        if library is not None and all(hasattr(library, s) for s in spellings):
            wide = "64_" in pattern or "USE64BITINT" in openblas_config()
            return tuple(getattr(library, s) for s in spellings), wide
    return None, False


def openblas_config() -> str:
    """What OpenBLAS says of itself, its kernels included; "" if it says nothing."""
    ask = openblas("get_config")
    if ask is None:
        return ""
    ask.restype = ctypes.c_char_p
    return (ask() or b"").decode(errors="replace").strip()


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The OpenBLAS that NumPy itself loaded: a second copy would have threads of its own."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs")
    bundled = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*openblas*"))]
    for path in [*bundled, *_mapped()]:
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def _mapped() -> list[Path]:
    """OpenBLAS libraries of this process, where the system lists them (a NumPy that bundles none)."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text(errors="replace").splitlines() if maps.exists() else []
    found = {line.split(maxsplit=5)[5] for line in lines if "openblas" in line.rpartition("/")[2]}
    return [Path(path) for path in sorted(found)]
