"""Workers that learn one policy together: each has environments of its own, and a copy of the network."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from dbrrl import normalize
from dbrrl.buffers.batch import Batch
from dbrrl.checkpoint import untrusted
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.learning.gradient_step import GradientStep, StepMetrics, Until, check_numbers, each
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
        vector = np.ravel(x)
        total = self.exchange.sum(vector) / vector.dtype.type(self.exchange.size)
        return total.reshape(np.shape(x)) if np.ndim(x) else float(total[0])

    def standardized(self, x: Array) -> Array:
        """Return x (n,) with zero mean and unit deviation over all workers; within a step, which has done so, x."""
        return x if self._stepping else self.standardize([x])[0]

    def standardize(self, parts: list[Array]) -> list[Array]:
        """Return each array with zero mean and unit deviation over all workers, who give as many; one exchange."""
        own = np.array([(len(x), np.add.reduce(x, dtype=np.float64), np.dot(x, x.astype(np.float64))) for x in parts])
        count, total, squares = self.exchange.sum(own.reshape(-1)).reshape(own.shape).T
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
        deviation[deviation < normalize.NEAR * np.abs(mean)] = np.inf  # equal numbers, but for rounding: 0
        deviation[count < 2], mean[count < 2] = 1, 0
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
    n, mean, var = statistics.count, np.ravel(statistics.mean), np.ravel(statistics.var)
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


class TeamStep(GradientStep):
    """A gradient step along the mean of the gradients of all workers, each of its part of the batch.

    Gradient and metrics go over in one vector. Where the loss takes standardized advantages, the batches that it is
    given have them, over the parts of all workers.

    Args:
        own: the step that computes the gradient of this worker's part.
        team: the workers.
        standardize: whether advantages are standardized.
    """

    def __init__(self, own: GradientStep, team: Workers, standardize: bool) -> None:
        super().__init__(own.loss, own.optimizer, own.max_grad_norm, own.error_message)
        self.own, self.team, self.standardize = own, team, standardize
        own.max_grad_norm = math.inf  # clipped is the mean

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step (see `GradientStep`)."""
        return next(self.each([batch], None, **numbers))

    def each(self, batches: Iterable[Batch], until: Until = None, **numbers: float) -> Iterator[StepMetrics]:
        """Take a step on each batch (see `GradientStep`); all workers have equally many."""
        check_numbers(numbers)
        return each(super().__call__, self._prepared(list(batches)), until, numbers)

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped mean of the gradients, and the means of the metrics."""
        with self.team.stepping():
            own = self.own.gradient(batch, **numbers)
        metrics = own.numbers()
        g = self.optimizer.gradient
        mean = self.team.mean(np.concatenate([g, np.array([*metrics.values()], g.dtype)]))
        g[...] = mean[: len(g)]
        norm = self.optimizer.clip_grad_norm(self.max_grad_norm)
        if not math.isfinite(norm):
            found = " of another worker"
            raise AnomalyError(self.error_message(batch, found) if self.error_message else no_gradient(None, found))
        found_metrics = dict(zip(metrics, mean[len(g) :].tolist(), strict=True))
        del found_metrics["grad_norm"]
        return StepMetrics(lambda: found_metrics, norm)

    def _prepared(self, batches: list[Batch]) -> list[Batch]:
        """Return the batches with standardized advantages, where the loss takes these."""
        if not self.standardize or "advantage" not in batches[0].split()[0]:
            return batches
        columns, rows = batches[0].split()
        if rows is None or any(batch.split()[0] is not columns for batch in batches):
            found = self.team.standardize([batch.advantage for batch in batches])
            return [batch.add(advantage=x) for batch, x in zip(batches, found, strict=True)]
        # Their rows differ: one column has the advantages of all, and the steps go on picking rows of the same arrays.
        picked = [batch.split()[1] for batch in batches]
        advantage = columns["advantage"].copy()
        for where, x in zip(picked, self.team.standardize([advantage[one] for one in picked]), strict=True):
            advantage[where] = x
        of = {**columns, "advantage": advantage}
        return [type(batch).of_rows(of, one) for batch, one in zip(batches, picked, strict=True)]

    def explain(self) -> str:
        """Say how the steps of this worker run."""
        return self.own.explain()

    def forget(self) -> None:
        """Drop what was recorded of earlier steps."""
        self.own.forget()


def join(agent: Any, team: Workers) -> None:
    """Let an `OnPolicyAgent` learn together with others, before its first step."""
    agent.team = team
    agent.step = TeamStep(agent.step, team, getattr(agent.config, "normalize_advantage", False))
