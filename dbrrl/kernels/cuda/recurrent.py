"""Constants of recurrent ops, filled on the GPU: what is recorded copies nothing from the host."""

from typing import Any

import numpy as np

from dbrrl.autodiff import lstm
from dbrrl.backend import replaces


@replaces(lstm.sigmoid_of_tanh, "cuda")
def _sigmoid_of_tanh(like: Any, batch: int, size: int) -> Any:
    found = np.empty_like(like, shape=(2, 4, batch, size))
    found.fill(0.5)
    found[0, 2], found[1, 2] = 1, 0
    return found
