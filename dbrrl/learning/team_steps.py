"""Gradient steps of workers that learn together: along the mean of their gradients."""

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dbrrl.buffers.batch import Batch
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.learning.captured_step import CapturedStep, UncheckedStep
from dbrrl.learning.gradient_step import GradientStep, StepMetrics, Until, check_numbers, each, packed
from dbrrl.learning.team import Workers
from dbrrl.types import Array


def join(agent: Any, team: Workers) -> None:
    """Let an `OnPolicyAgent` learn together with others, before its first step."""
    agent.team = team
    agent.step = joined(agent.step, team, getattr(agent.config, "normalize_advantage", False))


@functools.singledispatch
def joined(step: GradientStep, team: Workers, standardize: bool) -> GradientStep:
    """Return what takes the steps of all workers in place of one's own; `standardize`: whether advantages are."""
    return TeamStep(step, team, standardize)


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


class SharedStep(UncheckedStep):
    """A gradient step on a GPU, op by op, along the mean of the gradients of all workers; metrics are means, too."""

    def __init__(self, own: GradientStep, team: Workers) -> None:
        super().__init__(own.loss, own.optimizer, own.max_grad_norm, own.error_message)
        self.team = team

    def share(self, vector: Array) -> None:
        """Replace a gradient, or metrics, by their means over the workers."""
        put_mean(self.team, vector)

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped mean of the gradients, and the means of the metrics when they are asked for."""
        own = super().gradient(batch, **numbers)
        return StepMetrics(lambda: self._means(own), own.grad_norm)

    def _means(self, own: StepMetrics) -> dict[str, Any]:
        values = packed([value.mean() for value in own.values()])
        self.share(values)
        return dict(zip(own, values, strict=True))


@joined.register
def _(step: UncheckedStep, team: Workers, standardize: bool) -> GradientStep:
    return SharedStep(step, team)


@joined.register
def _(step: CapturedStep, team: Workers, standardize: bool) -> GradientStep:
    step.share = functools.partial(put_mean, team)  # type: ignore[method-assign]  # it becomes part of the CUDA graph
    return step


def put_mean(team: Workers, vector: Array) -> None:
    """Replace a vector by its mean over the workers."""
    vector[...] = team.mean(vector)
