"""Replay on the CPU: rows of arrays by number, n-step returns, and trees of sums."""

from typing import Any

import numpy as np

from dbrrl.backend import replaces
from dbrrl.buffers import stores
from dbrrl.buffers.batch import Batch
from dbrrl.buffers.prioritized import SumTree
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.buffers.ring import Ring
from dbrrl.kernels.cpu import _c
from dbrrl.kernels.cpu.draws import whole_numbers

replaces(stores.taken, "cpu")(_c.take_wrapped)


@replaces(stores.Plain, "cpu")
class _Plain:
    """Rows of a part by number."""

    def take(self: Any, places: np.ndarray) -> Any:
        return _c.take_wrapped(self._flat, places)


@replaces(Batch, "cpu")
class _Batch:
    """Rows of all columns of a batch, in one call."""

    def _gather(self: Any, columns: dict[str, Any], rows: Any) -> Any:
        found = _c.take_columns(columns, rows)
        if found is NotImplemented:
            return found
        self.__dict__.update(found)
        return None


@replaces(Ring, "cpu")
class _Ring:
    """Places, by NumPy's own function."""

    def _uniform(self: Any, first: int, count: int, n: int, rng: np.random.Generator) -> Any:
        return whole_numbers(rng, first, count, n)


@replaces(ReplayBuffer, "cpu")
class _ReplayBuffer:
    """Returns of n steps, in one walk from each place."""

    def _returns(self: Any, index: np.ndarray, gamma: float, n_steps: int) -> Any:
        return _c.n_step(self.rewards, self.ends, index, self.head, self.num_envs, gamma, n_steps)


@replaces(SumTree, "cpu")
class _SumTree:
    """Sums renewed above the leaves that change alone, and a search from root to leaf for each share."""

    def __setitem__(self: Any, index: np.ndarray, values: Any) -> Any:
        return _c.tree_set(self.nodes, self.leaves, self.roots, index, values)

    def find(self: Any, share: np.ndarray) -> Any:
        return _c.tree_find(self.nodes, self.leaves, self.roots, share)
