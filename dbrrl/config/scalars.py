"""Single values of settings: whole numbers, numbers, booleans and texts, each from what stands for it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _integer(value: Any) -> int:
    # TOML and shells write whole numbers as 1e6 too.
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    if value != int(value):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.integer | np.floating)
        or not math.isfinite(value)
    ):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool):
        raise TypeError
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
SCALARS: dict[type, Callable[[Any], Any]] = {int: _integer, float: _number, bool: _truth, str: _text}
