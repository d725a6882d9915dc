"""What comes from a file is checked before it is used: type, range, shape, and how much it may ask to be made."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl.errors import CheckpointError, DbrrlError

COUNT = 2**53  # the largest whole number that a count may be: what float64 holds exactly
_FACTOR, _FREE = 4, 1 << 20  # bytes that may be made for each byte of the file, and for none
_EACH = 256  # bytes that an array takes beside its entries
_left: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("left", default=None)


@contextlib.contextmanager
def budget(size: int) -> Iterator[None]:
    """Within it, `ask` refuses what a file with `size` bytes of content cannot be meant to fill."""
    token = _left.set([_FACTOR * size + _FREE])
    try:
        yield
    finally:
        _left.reset(token)


def ask(size: int, what: str) -> None:
    """Say that `size` bytes are about to be made, before they are; it does nothing where no file is being read.

    Raises:
        CheckpointError: the settings in a file ask for far more than the file holds.
    """
    left = _left.get()
    if left is None:
        return
    left[0] -= size + _EACH
    if left[0] < 0:
        raise CheckpointError(
            f"expected settings of an agent as large as what the file holds, got {what} of {size:,} bytes: the file "
            "was altered, or its network was replaced"
        )


@contextlib.contextmanager
def state_of(what: str, cure: str = "it was altered, or is of another version") -> Iterator[None]:
    """Within it, whatever a wrong state raises becomes a CheckpointError that names `what` and ends in `cure`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}: {cure}") from error.__cause__
    except DbrrlError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(f"{what}: expected its state_dict, got another ({reason[:200]}): {cure}") from error


def nbytes(value: Any) -> int:
    """Bytes of the content of a state: its arrays, and some for each other entry."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return 16 + sum(map(nbytes, entries))


def whole(value: Any, name: str, at_least: int = 0, at_most: int = COUNT) -> int:
    """`value`, which must be a whole number in range; CheckpointError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not at_least <= value <= at_most:
        raise _other(name, f"a whole number from {at_least:,} to {at_most:,}", value)
    return int(value)


def number(value: Any, name: str, at_least: float = -math.inf, *, finite: bool = True) -> float:
    """`value`, which must be a number in range, and finite unless that is not asked; CheckpointError otherwise."""
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not plain or (finite and not abs(value) <= 1e300) or value < at_least:
        words = f"a {'finite ' if finite else ''}number"
        raise _other(name, words if at_least == -math.inf else f"{words} of {at_least:g} or more", value)
    return float(value)


def truth(value: Any, name: str) -> bool:
    """`value`, which must be true or false; CheckpointError otherwise."""
    if not isinstance(value, bool | np.bool):
        raise _other(name, "true or false", value)
    return bool(value)


def table(value: Any, name: str, *keys: str) -> dict[str, Any]:
    """`value`, which must be a table with these keys at least; CheckpointError otherwise."""
    if not isinstance(value, dict):
        raise _other(name, "a table", value)
    for key in keys:
        if key not in value:
            raise _error(name, f"expected an entry {key!r}, got {sorted(value)}")
    return value


def entries(value: Any, name: str, count: int | None = None) -> list[Any]:
    """`value`, which must be a list, of `count` entries if that is given; CheckpointError otherwise."""
    if not isinstance(value, list | tuple):
        raise _other(name, "a list", value)
    if count is not None and len(value) != count:
        raise _error(name, f"expected {count} entries, got {len(value)}")
    return list(value)


def array(
    value: Any,
    name: str,
    dtype: Any,
    shape: tuple[int, ...] | None = None,
    *,
    at_least: float = -math.inf,
    finite: bool = True,
) -> np.ndarray:
    """`value`, which must be an array of this kind of dtype, shape and range; CheckpointError otherwise.

    Args:
        value: what was read.
        name: its place, for the message.
        dtype: floats of another width will do for floats, integers for integers.
        shape: None: any.
        at_least: the least that an entry may be.
        finite: whether an entry may be neither nan nor infinite.
    """
    kind = np.dtype(dtype).kind
    kinds = "iu" if kind in "iu" else kind
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        raise _other(name, f"an array of {np.dtype(dtype)}", value)
    if shape is not None and value.shape != shape:
        raise _error(name, f"expected shape {shape}, got {value.shape}")
    if value.size and ((kind == "f" and finite) or at_least > -math.inf):
        with np.errstate(invalid="ignore"):
            low, high = value.min(), value.max()  # a nan among the entries is both
        if kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
            raise _error(name, "expected finite numbers, got nan or inf")
        if low < at_least:
            raise _error(name, f"expected numbers of {at_least:g} or more, got {low}")
    return value


def generator(state: Any, expected: str, name: str = "") -> dict[str, Any]:
    """`state`, which must be that of a bit generator `expected`; of PCG64 the numbers are looked at, too."""
    found = table(state, name, "bit_generator")
    if found["bit_generator"] != expected:
        raise _other(name, f"a state of {expected}", found["bit_generator"])
    if expected == "PCG64":
        table(state, name, "state", "has_uint32", "uinteger")
        numbers = table(found["state"], name, "state", "inc")
        whole(numbers["state"], f"{name}: state" if name else "state", at_most=2**128 - 1)
        if not whole(numbers["inc"], f"{name}: inc" if name else "inc", at_most=2**128 - 1) % 2:
            raise _other(f"{name}: inc" if name else "inc", "an odd number", numbers["inc"])
        whole(found["has_uint32"], f"{name}: has_uint32" if name else "has_uint32", at_most=1)
        whole(found["uinteger"], f"{name}: uinteger" if name else "uinteger", at_most=2**32 - 1)
    return found


def absent(owner: Any, state: dict[str, Any], *names: str) -> None:
    """CheckpointError where `state` has something for an attribute that is None, as other settings would have it."""
    for name in names:
        if getattr(owner, name) is None and state.get(name) is not None:
            raise CheckpointError(f"{name}: expected none, got some: load with the same settings")


def like(value: Any, present: Any, name: str, at_least: int | None = None) -> Any:
    """`value`, which must be of the type of what is `present`, where that has a type of plain data; else as it is."""
    if isinstance(present, bool):
        return truth(value, name)
    if at_least is not None:
        return whole(value, name, at_least)
    if isinstance(present, int | float):
        return value if isinstance(value, int) and type(value) is int else number(value, name, finite=False)
    if isinstance(present, np.ndarray):
        return array(value, name, present.dtype, finite=False)
    if isinstance(present, dict):
        found: dict[str, Any] = table(value, name)
        for key in found if name == "latest" else ():  # statistics
            number(found[key], f"{name}: {key}", finite=False)
        return found
    if isinstance(present, list | tuple):
        return entries(value, name)
    if isinstance(present, str) and not isinstance(value, str):
        raise _other(name, "a text", value)
    return value


def _other(name: str, expected: str, value: Any) -> CheckpointError:
    shown = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return _error(name, f"expected {expected}, got {shown}")


def _error(name: str, text: str) -> CheckpointError:
    return CheckpointError(f"{name}: {text}" if name else text)
