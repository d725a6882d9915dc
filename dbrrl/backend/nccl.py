"""Sums over GPUs of several processes, one each, by NCCL through CuPy."""

from typing import Any

import numpy as np

from dbrrl.backend.arrays import module_on, nccl_of
from dbrrl.errors import ConfigError

KINDS = {"f": "NCCL_FLOAT32", "d": "NCCL_FLOAT64", "l": "NCCL_INT64", "q": "NCCL_INT64"}
CURE = "install NVIDIA's library, such as pip install nvidia-nccl-cu12, of the release that this CuPy names"


def library(device: str = "cuda") -> Any:
    """Return CuPy's module for NCCL; ConfigError where the library is not there."""
    found = nccl_of(module_on(device))
    if not getattr(found, "available", False):
        raise ConfigError(f"device: several workers on GPUs need NCCL, which CuPy does not find: {CURE}")
    return found


def identifier() -> tuple[int, ...]:
    """Return a new identifier, which all processes of one communicator have to be given."""
    return tuple(library().get_unique_id())


class Communicator:
    """One process's side. All processes have to make theirs at the same time, and to call `sum` equally often.

    Args:
        index: of this process.
        size: number of processes.
        identifier: from `identifier`, of one of them.
        device: the GPU of this process.
    """

    def __init__(self, index: int, size: int, identifier: tuple[int, ...], device: str = "cuda") -> None:
        self.size, self._device = size, device
        self._library = library(device)
        self._own = self._library.NcclCommunicator(size, identifier, index)
        self.sum(module_on(device).zeros(1, np.float32))  # connects, which a CUDA graph could not record

    def sum(self, x: Any) -> Any:
        """Return the sum of the arrays of all processes, on this one's GPU; the host does not wait for it."""
        total = x.copy()
        kind = getattr(self._library, KINDS[total.dtype.char])
        stream = module_on(self._device).cuda.get_current_stream().ptr
        self._own.allReduce(total.data.ptr, total.data.ptr, total.size, kind, self._library.NCCL_SUM, stream)
        return total
