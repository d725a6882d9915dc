"""Compiled checks of what `observe` is given: one pass over what is usual, all else is left to the formula."""

from typing import Any

from dbrrl.backend import replaces
from dbrrl.kernels.cpu import extension
from dbrrl.learning.own_loop import Checked

if extension.module is not None:
    from dbrrl.kernels.cpu import _c

    @replaces(Checked, "cpu")
    class _Checked:
        """One number, one flag and one row for each environment, all of them finite."""

        def check_counts(self: Any, observation: Any, reward: Any, terminated: Any, truncated: Any) -> Any:
            found = _c.sound_results([observation], reward, terminated, truncated, self.num_envs)
            return None if found is True else NotImplemented

        def check(self: Any, observation: Any, parts: Any, reward: Any, terminated: Any, truncated: Any) -> Any:
            if not self.checks_input:
                return None
            found = _c.sound_results(parts, reward, terminated, truncated, self.num_envs)
            return None if found is True else NotImplemented
