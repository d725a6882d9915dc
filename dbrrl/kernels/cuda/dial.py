"""Numbers that change between the replays of a recorded update."""

from typing import Any

import numpy as np

from dbrrl.backend import array_module


class Dial:
    """A number that an update reads: on a GPU it lies there too, where a recorded update finds what was set since.

    `value` is what computes: the number, or an array without axes beside the vector `like`.
    """

    def __init__(self, like: Any, number: float) -> None:
        self.host = number
        self.value: Any = number
        self.there = type(like) is not np.ndarray
        if self.there:
            self.value = array_module(like).full((), number, np.float64)

    def set(self, number: float) -> None:
        """Turn it."""
        self.host = number
        if self.there:
            self.value.fill(number)
        else:
            self.value = number

    def add(self, number: float) -> None:
        """Turn it on from where it stands."""
        if self.there:
            self.value += number
        else:
            self.value = self.host = self.host + number

    def read(self) -> float:
        """Where it stands: asks the GPU where it lies there."""
        return float(self.value.item() if self.there else self.host)
