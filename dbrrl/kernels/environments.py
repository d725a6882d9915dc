"""Compiled kernels of environments, which take the place of functions of `dbrrl.envs` for NumPy's arrays."""

import numpy as np

from dbrrl.backend import replaces
from dbrrl.envs import cartpole
from dbrrl.kernels.cpu import extension

if extension.module is not None:
    from dbrrl.kernels.cpu import _c

    _CONSTANTS = np.array([*cartpole.NUMBERS, *cartpole.FORCES])

    @replaces(cartpole.euler_step, "cpu")
    def _euler_step(state: np.ndarray, action: np.ndarray) -> np.ndarray:
        theta = state[2]
        return _c.cartpole(state, action, np.cos(theta), np.sin(theta), _CONSTANTS)  # type: ignore[no-any-return]
