"""Prioritized experience replay (Schaul et al. 2016, arXiv:1511.05952), proportional variant."""

import math
import warnings
from typing import Any

import numpy as np

from dbrrl.backend import to_numpy
from dbrrl.buffers.batch import Batch
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.checkpoint import untrusted
from dbrrl.errors import AnomalyError, CheckpointError, ConfigError, GraphError
from dbrrl.schedules import Schedule


class SumTree:
    """Numbers of 0 or more under binary trees of their sums, as one array: node i has the children 2i and 2i + 1.

    The trees would be one but for its crown, whose nodes are so few that their cumulative sum is quicker to search.

    Attributes:
        nodes: float64; leaf i is nodes[leaves + i], the roots are nodes[roots : 2 * roots], none is before them.
    """

    def __init__(self, size: int) -> None:
        self.depth = max(size - 1, 1).bit_length()
        self.leaves = 1 << self.depth
        self._crown = min(self.depth, 9)  # levels that there are not
        self._whole = min(self.depth, 12)  # down to this level it is quicker to renew all of one
        self.roots = 1 << self._crown
        self.nodes = np.zeros(2 * self.leaves)

    @property
    def total(self) -> float:
        """Sum of all."""
        return float(self.nodes[self.roots : 2 * self.roots].sum())

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The numbers at `index`."""
        return self.nodes.take(index + self.leaves)

    def __setitem__(self, index: np.ndarray, values: Any) -> None:
        """Set the numbers at `index`, the last of those that come twice, and renew the sums above."""
        nodes, node = self.nodes, index + self.leaves
        nodes[node] = values
        total = nodes.take(node)
        for _ in range(self.depth - self._whole):
            total += nodes.take(node ^ 1)
            node >>= 1
            nodes[node] = total
        for level in range(self._whole - 1, self._crown - 1, -1):
            first = 1 << level
            np.add(nodes[2 * first : 4 * first : 2], nodes[2 * first + 1 : 4 * first : 2], out=nodes[first : 2 * first])

    def find(self, share: np.ndarray) -> np.ndarray:
        """For each share in [0, 1) of the total the index whose part of the cumulative sum it falls into."""
        roots = self.nodes[self.roots : 2 * self.roots]
        sums = roots.cumsum()
        mass = share * sums[-1]
        # Rounding can lead to the very end: the last root with something in it then.
        root = np.minimum(sums.searchsorted(mass, side="right"), sums.searchsorted(sums[-1]))
        rest = mass - (sums.take(root) - roots.take(root))
        root += self.roots
        found = self._descend(root, rest, guarded=False)
        if self.nodes.take(found).min() <= 0:
            empty = np.flatnonzero(self.nodes.take(found) <= 0)
            found[empty] = self._descend(root[empty], rest[empty], guarded=True)
        found -= self.leaves
        return found

    def _descend(self, node: np.ndarray, rest: np.ndarray, guarded: bool) -> np.ndarray:
        """Go from roots to leaves; `guarded` never enters an empty branch, as rounding can."""
        nodes, node, rest = self.nodes, node.copy(), rest.copy()
        for _ in range(self.depth - self._crown):
            node += node
            left = nodes.take(node)
            right = rest >= left
            if guarded:
                right = (right | (left <= 0)) & (nodes.take(node | 1) > 0)
            left *= right
            rest -= left
            node += right
        return node


class PrioritizedReplayBuffer(ReplayBuffer):
    """Replay in which a transition is drawn with P(i) = pᵢ^α / Σ p^α, pᵢ = |δᵢ| + ε.

    A new one has the largest p so far. The batch is stratified: one draw from each of n equal parts of the
    total (appendix B.2.1). Importance weights are (N P(i))^-β over their largest in the batch.

    Attributes:
        alpha: α in [0, 1]; 0 is uniform.
        beta: β in [0, 1]; `anneal` changes it.
        eps: ε.
    """

    per_place = 4 * np.dtype(np.float64).itemsize  # of the tree, at most

    def __init__(
        self, *args: Any, alpha: float = 0.6, beta: float | Schedule = 0.4, eps: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.schedule = beta if isinstance(beta, Schedule) else None
        beta = beta.start if isinstance(beta, Schedule) else beta
        if not (0 <= alpha <= 1 and 0 <= beta <= 1 and eps > 0):
            got = f"{alpha}, {beta} and {eps}"
            raise ConfigError(f"prioritized replay: expected alpha and beta in [0, 1], eps above 0, got {got}")
        self.alpha, self.beta, self.eps = alpha, beta, eps
        self.first_beta = beta
        self.largest = 1.0  # p of a new transition
        self.tree = SumTree(self._places)
        self._behind = 0  # newest rows that the tree does not know yet

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, once filled."""
        return super().nbytes + self.tree.nodes.nbytes

    def add_outcome(self, *args: Any, **kwargs: Any) -> None:
        """Complete the open row; the tree takes it in, with all new ones at once, before the next draw."""
        super().add_outcome(*args, **kwargs)
        self._behind = min(self._behind + 1, self.rows)

    def sample(self, n: int, rng: np.random.Generator, gamma: float, n_steps: int = 1) -> Batch:
        """`n` transitions by priority, with their importance weights.

        Raises:
            GraphError: there is none.
        """
        self._catch_up()
        if not len(self):
            raise GraphError("sample(): expected a transition in the buffer, got none: observe() some first")
        index = self.tree.find((np.arange(n) + rng.random(n)) / n)
        priority = self.tree[index]
        weight = (priority / priority.min()) ** -self.beta  # (N P(i))^-β over its largest: N and the total cancel out
        return self.gather(index, gamma, n_steps, weight.astype(np.float32))

    def anneal(self, progress: float) -> None:
        """Let β grow from its first value to 1 with `progress`, the part of the run that is over (section 3.4).

        If it is a schedule, it follows that.
        """
        grown = self.first_beta + (1 - self.first_beta) * progress
        self.beta = grown if self.schedule is None else self.schedule(progress)

    def update_priorities(self, index: np.ndarray | None, error: np.ndarray) -> None:
        """Give the transitions at `index` (n,) the priorities of their latest errors (n,), of either sign.

        Without an index nothing is done: these transitions are not from this buffer.

        Raises:
            AnomalyError: an error is not finite; the priorities stay as they were.
        """
        if index is None:
            return
        priority = np.abs(to_numpy(error).astype(np.float64)) + self.eps
        largest = float(priority.max())
        if not math.isfinite(largest):  # nan is the largest of all
            place = index[priority.argmax()]
            raise AnomalyError(
                f"prioritized replay: expected finite errors, got {largest} at place {place}: look for a reward or a "
                "loss that is not finite"
            )
        self.largest = max(self.largest, largest)
        self.tree[index] = priority**self.alpha

    def update(self, index: np.ndarray, error: np.ndarray) -> None:
        """Deprecated: `update_priorities`."""
        warnings.warn("update is update_priorities now: use that", DeprecationWarning, stacklevel=2)
        self.update_priorities(index, error)

    def state_dict(self) -> dict[str, Any]:
        """The rows, and the priority of each from the oldest on."""
        self._catch_up()
        numbers = {"largest": self.largest, "beta": self.beta}
        return super().state_dict() | numbers | {"priority": self.tree[np.arange(self.used * self.num_envs)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it is of a buffer of other sizes."""
        super().load_state_dict(state)
        self.largest, self.beta, self._behind = float(state["largest"]), float(state["beta"]), 0
        self.tree = SumTree(self._places)
        self.tree[np.arange(self.used * self.num_envs)] = state["priority"]

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        with untrusted.state_of("prioritized replay", "load the state of a prioritized buffer"):
            untrusted.table(state, "", "priority", "largest", "beta")
            places = (len(state["ends"]),)
            untrusted.array(state["priority"], "priorities", np.float64, places, at_least=0)
            untrusted.number(state["largest"], "largest", 0)
            if untrusted.number(state["beta"], "beta", 0) > 1:
                raise CheckpointError(f"beta: expected at most 1, got {state['beta']}")

    def _catch_up(self) -> None:
        """Enter the new rows; what is not valid, and the rows that are open or forgotten, cannot be drawn."""
        if self._behind:
            first, stop = self.head - self._behind, self.head + self._ring - self.rows
            places = self.wrapped(np.arange(first * self.num_envs, stop * self.num_envs))
            priority = np.where(self.valid[places], self.largest**self.alpha, 0.0)
            priority[self._behind * self.num_envs :] = 0.0
            self.tree[places] = priority
            self._behind = 0
