"""Compiled kernels of environments, which take the place of functions of `dbrrl.envs` for NumPy's arrays."""

from typing import Any

import numpy as np

from dbrrl.backend import replaces
from dbrrl.envs import cartpole, validation
from dbrrl.kernels.cpu import extension

if extension.module is not None:
    from dbrrl.kernels.cpu import _c

    @replaces(validation.BatchCheck, "cpu")
    class _BatchCheck:
        """Arrays in dicts, in one pass."""

        def sound(self: Any, observation: Any) -> Any:
            return _c.sound_observation(self.usual, observation)

    _CONSTANTS = np.array([*cartpole.NUMBERS, *cartpole.FORCES])

    def _euler_step(state: np.ndarray, action: np.ndarray) -> Any:
        return _c.cartpole(state, action, np.cos, np.sin, _CONSTANTS)

    def _alike() -> bool:
        """Whether the kernel, which calls the loops inside of NumPy's functions, gives the bits of the page."""
        one = np.linspace(-0.3, 0.3, 52).reshape(4, 13)
        two, action = one.copy(), np.arange(13) % 2
        page = cartpole.euler_step.__wrapped__  # type: ignore[attr-defined]
        return _euler_step(one, action).tolist() == page(two, action).tolist() and one.tobytes() == two.tobytes()

    if _alike():
        replaces(cartpole.euler_step, "cpu")(_euler_step)
