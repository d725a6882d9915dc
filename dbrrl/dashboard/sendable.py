"""Values that files hold, as ones that can be sent: numbers of a bounded size, texts of whole characters."""

from typing import Any

_MOST = 2**53  # the largest whole number that every reader of JSON has


def number(value: object) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        return None
    return float(value)


def whole(value: object) -> int | None:
    """Return a whole number; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST else None


def text(value: object, most: int = 2_000) -> str:
    """Return the first characters of a text, those that are none written as escapes; "" for anything else."""
    return value[:most].encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else ""


def path(name: str) -> str:
    """Return the name of a file as a text; bytes that are no characters are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def data(value: Any) -> Any:
    """Return tables, lists and plain values with only such numbers and texts in them."""
    if isinstance(value, dict):
        return {text(name): data(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [data(entry) for entry in value]
    if isinstance(value, str):
        return text(value, len(value))
    if isinstance(value, int) and not isinstance(value, bool) and whole(value) is None:
        return f"{float(value):g}" if abs(value) < 10**300 else "a number that is too large"
    return value if value is None or isinstance(value, bool | int | float) else str(value)
