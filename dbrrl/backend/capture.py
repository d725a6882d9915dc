"""Functions of arrays that a GPU runs as one recorded graph, and the CPU as they are."""

from collections.abc import Callable
from typing import Any

from dbrrl.backend.replacements import replaceable


class Direct:
    """A function that is called as it is: what `capture` returns on the CPU.

    Attributes:
        refused: why a function on a GPU is run as it is, though it was to be captured; "" if it is not.
    """

    refused = ""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any, fixed: Any = ()) -> Any:
        """`function(*arguments, *fixed)`."""
        return self.function(*arguments, *fixed)

    def forget(self) -> None:
        """Drop what was recorded: for when arrays that the function keeps were replaced by others."""


@replaceable
def capture(device: str, function: Callable[..., Any]) -> Direct:
    """Make `function` a CUDA graph on a GPU: recorded at its second call, replayed from then on.

    On the CPU it is called as it is. `kernels.cuda.graph.Captured` describes what the function must keep to.
    """
    return Direct(function)


@replaceable
def recorder(device: str) -> Any:
    """Return what records functions of arrays as programs of this device's processor; None where nothing does.

    It has `record(function, arrays, learned)`, see `kernels.cpu.recorder`.
    """
    return None
