"""Numbers that change between calls of a captured function."""

from typing import Any

from dbrrl.backend.arrays import array_module, device_name


class DeviceScalar:
    """A number that a captured function reads: on a GPU an array without axes, from which a replay reads what was set.

    Attributes:
        value: what to compute with: the number on the CPU, an array without axes on a GPU.

    Args:
        like: an array on the device.
        number: the first value.
    """

    def __init__(self, like: Any, number: float) -> None:
        self.host = number
        self.value: Any = number
        self._on_gpu = device_name(like) != "cpu"
        if self._on_gpu:
            self.value = array_module(like).full((), number, "float64")

    def set(self, number: float) -> None:
        """Set the number."""
        self.host = number
        if self._on_gpu:
            self.value.fill(number)
        else:
            self.value = number

    def add(self, number: float) -> None:
        """Add `number` to it."""
        if self._on_gpu:
            self.value += number
        else:
            self.value = self.host = self.host + number

    def read(self) -> float:
        """The number as it is now; on a GPU this waits for what is under way."""
        return float(self.value.item() if self._on_gpu else self.host)
