"""Experience replay (Lin 1992; Mnih et al. 2015): transitions of the past, drawn uniformly."""

import functools

import numpy as np

from dbrrl.backend import to_numpy
from dbrrl.backend.trees import leaves
from dbrrl.buffers.batch import Batch
from dbrrl.buffers.bits import TERMINATED
from dbrrl.buffers.ring import Ring
from dbrrl.buffers.stores import taken


def non_finite(batch: Batch, num_envs: int) -> str:
    """Return the error message for a number of a sampled batch that no update can use, with its place; or "".

    Args:
        batch: what `sample` of a replay buffer returned; the environment is known where it has an `index`.
        num_envs: environments of the buffer.
    """
    columns = [name for name in ("observation", "action", "reward", "next_observation") if name in batch.columns]
    for name, array in ((key, to_numpy(array)) for key in columns for array in leaves(batch.columns[key])):
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else np.zeros(0)
        if len(bad):
            at, field = tuple(bad[0].tolist()), name.replace("_", " ")
            place = f"at {at} of the batch"
            if batch.index is not None:
                index = batch.index[at[0]]
                place = f"in environment {index % num_envs}, at index {index} of the replay buffer"
            cure = "check the agent's act()" if field == "action" else "check the environment, or limit what it returns"
            return f"{field}: expected finite numbers, got {array[at]} {place}: {cure}"
    return ""


class ReplayBuffer(Ring):
    """The latest transitions, drawn uniformly (see `Ring` for its arguments).

    n-step returns are formed when sampling: they stop early at the end of an episode, at a row that is not valid and
    at the newest row.
    """

    def sample(self, n: int, rng: np.random.Generator, gamma: float, n_steps: int = 1) -> Batch:
        """Return `n` transitions, drawn uniformly with replacement (see `gather`).

        Raises:
            GraphError: there is none.
        """
        return self.gather(self.draw(n, rng), gamma, n_steps)

    def gather(self, index: np.ndarray, gamma: float, n_steps: int = 1, weight: np.ndarray | None = None) -> Batch:
        """Return the transitions that begin at the places `index` (n,), of up to k = `n_steps` steps each.

        The columns of the batch are `observation` and `next_observation`, acted on and k steps later (the true final
        one at a time limit), on the device of the buffer's observations; and on the host `action`, `reward`, float32
        (n,), r + γ r' + ... + γᵏ⁻¹ r⁽ᵏ⁻¹⁾, `discount`, float32 (n,), γᵏ or 0 where the episode truly ended, so that a
        target is `reward + discount * value(next_observation)`, `index`, int64 (n,), places in the buffer, and
        `weight`, float32 (n,), importance weights as given; None: all are 1.
        """
        last, ends, reward, discount = self._returns(index, gamma, n_steps)
        columns = {
            "observation": self.observation_of(self.take(index)),
            "action": taken(self.actions, index),
            "reward": reward,
            "discount": discount,
            "next_observation": self.observation_of(self.take_next(last, ends)),
            "index": index,
            "weight": weight,
        }
        return Batch.of_columns(columns)

    def anneal(self, progress: float) -> None:
        """Do nothing: uniform replay has no schedule."""

    def update_priorities(self, index: np.ndarray | None, error: np.ndarray) -> None:
        """Do nothing: uniform replay has no priorities."""

    def _returns(
        self, index: np.ndarray, gamma: float, n_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the last place of n-step transitions, its bits, and their return and discount."""
        if n_steps == 1:
            ends = self.ends.take(index)
            return index, ends, self.rewards[index], _discounts(gamma).take(ends)
        places, ends, belong = self.run(index, n_steps)
        steps = np.count_nonzero(belong, axis=1)
        powers = (gamma ** np.arange(n_steps + 1)).astype(np.float32)
        rewards = self.rewards.take(places, mode="wrap")
        np.copyto(rewards, 0, where=~belong)
        row = np.arange(len(index))
        last_ends = ends[row, steps - 1]
        discount = powers.take(steps)
        discount[last_ends & TERMINATED != 0] = 0
        return self.wrapped(places[row, steps - 1]), last_ends, rewards @ powers[:-1], discount


@functools.lru_cache(maxsize=8)
def _discounts(gamma: float) -> np.ndarray:
    """Return the factor of the return after one step, for each value of `ends`: 0 where the episode truly ended."""
    return np.array([gamma, 0, gamma, 0] * 2, np.float32)
