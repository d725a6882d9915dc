"""Workers that learn one policy together: each has environments of its own, and a copy of the network."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from dbrrl import normalize
from dbrrl.backend import to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.learning.gradient_step import packed
from dbrrl.normalize import ObservationNormalizer, RewardNormalizer, RunningMeanStd
from dbrrl.types import Array, State

Normalizer: TypeAlias = ObservationNormalizer | RewardNormalizer


class Exchange(Protocol):
    """Sums over the workers.

    Attributes:
        size: how many workers there are.
    """

    size: int

    def sum(self, vector: Array) -> Array:
        """Return the sum of all workers' vectors (n,), the same bits on each; every worker has to call it."""


class Team(Protocol):
    """What an agent asks of those that it learns with."""

    def mean(self, x: Any) -> Any:
        """Return the mean of an array, or of a number, over the workers."""

    def standardized(self, x: Array) -> Array:
        """Return x (n,) with zero mean and unit deviation over the entries of all workers."""

    def agree(self, normalizers: Sequence[Normalizer]) -> None:
        """Merge what each worker has added to running statistics since the last time."""


class Alone:
    """The team of an agent that learns by itself."""

    standardized = staticmethod(normalize.standardized)

    def mean(self, x: Any) -> Any:
        """Return x."""
        return x

    def agree(self, normalizers: Sequence[Normalizer]) -> None:
        """Do nothing: the statistics are those of all environments."""


class Workers:
    """A team of several workers.

    Attributes:
        common: count, sum and sum of squares of the running statistics when all workers had the same.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.common: np.ndarray | None = None
        self._stepping = False

    def mean(self, x: Any) -> Any:
        """Return the mean of an array, or of a number, over the workers."""
        vector = np.reshape(x, -1)
        total = self.exchange.sum(vector) / vector.dtype.type(self.exchange.size)
        return total.reshape(np.shape(x)) if np.ndim(x) else float(total[0])

    def standardized(self, x: Array) -> Array:
        """Return x (n,) with zero mean and unit deviation over all workers; within a step, which has done so, x."""
        return x if self._stepping else self.standardize([x])[0]

    def standardize(self, parts: list[Array]) -> list[Array]:
        """Return each array with zero mean and unit deviation over all workers, who give as many; one exchange."""
        wide = [x.astype(np.float64) for x in parts]
        own = packed([number for x in wide for number in (len(x), x.sum(), np.dot(x, x))])
        count, total, squares = self.exchange.sum(own).reshape(len(parts), 3).T
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
        deviation = np.where(deviation < normalize.NEAR * abs(mean), np.inf, deviation)  # equal, but for rounding: 0
        mean, deviation = np.where(count < 2, 0.0, mean), np.where(count < 2, 1.0, deviation)
        return [((x - m) / (d + 1e-8)).astype(x.dtype) for x, m, d in zip(parts, mean, deviation, strict=True)]

    def agree(self, normalizers: Sequence[Normalizer]) -> None:
        """Merge what each worker has added to running statistics since the last time."""
        if not normalizers:
            return
        own = all_moments(normalizers)
        common = np.zeros_like(own) if self.common is None else self.common
        self.common = self.exchange.sum(own) - (self.exchange.size - 1) * common
        set_all_moments(normalizers, self.common)

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Within this context advantages come standardized."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def state_dict(self) -> State:
        """What the workers had in common."""
        return {"common": None if self.common is None else self.common.copy()}

    def load_state_dict(self, state: State) -> None:
        """Go on from `state`; CheckpointError where it is none of a team."""
        with untrusted.state_of("team", "resume with as many workers"):
            common = untrusted.table(state, "", "common")["common"]
            if common is not None:
                untrusted.array(common, "common", np.float64, np.shape(common))
        self.common = None if common is None else np.array(common)


def moments(statistics: RunningMeanStd) -> np.ndarray:
    """Return count, sums and sums of squares, which add up, as one vector."""
    n, mean, var = statistics.count, np.ravel(to_numpy(statistics.mean)), np.ravel(to_numpy(statistics.var))
    return np.concatenate([[n], n * mean, n * (var + mean * mean)])


def set_moments(statistics: RunningMeanStd, vector: np.ndarray) -> None:
    """Set the statistics to those that have the moments of `vector`."""
    shape, size = statistics.mean.shape, statistics.mean.size
    count = round(float(vector[0]))
    if count:
        mean = vector[1 : 1 + size] / count
        var = np.maximum(vector[1 + size :] / count - mean * mean, 0)
        statistics.load_state_dict({"mean": mean.reshape(shape), "var": var.reshape(shape), "count": count})


def all_moments(normalizers: Sequence[Normalizer]) -> np.ndarray:
    """Return the `moments` of several running statistics as one vector, float64."""
    return np.concatenate([np.zeros(0), *(moments(one.statistics) for one in normalizers)])


def set_all_moments(normalizers: Sequence[Normalizer], vector: np.ndarray) -> None:
    """Set running statistics to those that have these moments."""
    at = 0
    for one in normalizers:
        size = 1 + 2 * one.statistics.mean.size
        set_moments(one.statistics, vector[at : at + size])
        one.load_state_dict(one.state_dict())  # what it had made of the old ones goes
        at += size


class OnGPUs:
    """Sums over workers that have a GPU each: arrays there by NCCL, others as `host` adds them up.

    Args:
        host: for arrays on the host.
        communicator: for arrays on the GPU, with a `sum` that the host does not wait for.
    """

    def __init__(self, host: Exchange, communicator: Any) -> None:
        self.size, self.host, self.communicator = host.size, host, communicator

    def sum(self, vector: Array) -> Array:
        """Return the sum of all workers' vectors, where these are."""
        own = self.host if type(vector) is np.ndarray else self.communicator
        return own.sum(vector)
