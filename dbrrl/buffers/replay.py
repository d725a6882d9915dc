"""Experience replay (Lin 1992; Mnih et al. 2015): transitions of the past, drawn uniformly."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl.backend import to_numpy
from dbrrl.buffers.bits import TERMINATED
from dbrrl.buffers.ring import Ring


@dataclass(slots=True)
class Batch:
    """n transitions of k <= n_steps steps each; `discount` is γᵏ, or 0 where the episode truly ended.

    The parts lie where the buffer's observations do, all else on the host.
    A target is `reward + discount * value(next_parts)`: there is no ending to look at.
    """

    parts: list[Any]  # of the observation acted on, each (n, ...)
    action: np.ndarray  # (n, ...)
    reward: np.ndarray  # float32 (n,): r + γ r' + ... + γᵏ⁻¹ r⁽ᵏ⁻¹⁾
    discount: np.ndarray  # float32 (n,)
    next_parts: list[Any]  # of the observation k steps on, the true final one at a time limit, each (n, ...)
    index: np.ndarray  # int64 (n,): places in the buffer
    weight: np.ndarray | None = None  # float32 (n,): importance weights; None where all are 1

    def oddity(self, num_envs: int) -> str:
        """What in it no update can be made of, with the environment of `num_envs` that gave it; "" where nothing is."""
        fields = [("reward", [self.reward]), ("observation", self.parts), ("next observation", self.next_parts)]
        for field, part in ((field, to_numpy(part)) for field, parts in fields for part in parts):
            bad = np.argwhere(~np.isfinite(part)) if part.dtype.kind == "f" else np.zeros(0)
            if len(bad):
                place = self.index[bad[0][0]]
                return (
                    f"{field}: expected finite numbers, got {part[tuple(bad[0])]} in environment {place % num_envs}, "
                    f"at place {place} of the replay buffer: mend the environment, or limit what it gives"
                )
        return ""


class ReplayBuffer(Ring):
    """The latest transitions, drawn uniformly (see `Ring` for its arguments).

    n-step returns are formed when sampling: they stop early at the end of an episode, at a row that is not valid and
    at the newest row.
    """

    def sample(self, n: int, rng: np.random.Generator, gamma: float, n_steps: int = 1) -> Batch:
        """`n` transitions, uniformly with replacement.

        Raises:
            GraphError: there is none.
        """
        return self.gather(self.draw(n, rng), gamma, n_steps)

    def gather(self, index: np.ndarray, gamma: float, n_steps: int = 1) -> Batch:
        """The transitions that begin at the places `index` (n,)."""
        if n_steps == 1:
            last, reward, ends = index, self.rewards.take(index), self.ends.take(index)
            discount = _discounts(gamma).take(ends)
        else:
            last, ends, reward, discount = self._returns(index, gamma, n_steps)
        action = self.actions.take(index, axis=0)
        return Batch(self.take(index), action, reward, discount, self.take_next(last, ends), index)

    def _returns(
        self, index: np.ndarray, gamma: float, n_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of n-step transitions: last place, its bits, return and discount."""
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
    """What the return after one step is multiplied by, for each value of `ends`: 0 where the episode truly ended."""
    return np.array([gamma, 0, gamma, 0] * 2, np.float32)
