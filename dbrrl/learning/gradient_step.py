"""`GradientStep`: one step of an optimizer along the gradient of a loss."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dbrrl.autodiff.engine import backward
from dbrrl.autodiff.recording import no_grad
from dbrrl.backend import to_numpy
from dbrrl.buffers.batch import Batch
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.optim import Optimizer
from dbrrl.types import Metrics

LossAndMetrics = tuple[Any, Callable[[], Mapping[str, Any]]]
"""A scalar tensor, and a function that computes the metrics of the step by name."""

Loss = Callable[..., LossAndMetrics]


class StepMetrics(Mapping[str, Any]):
    """Metrics of one gradient step, computed when the first of them is asked for.

    Attributes:
        grad_norm: the global norm of the gradient before clipping, a number, or an array without axes on a GPU.
    """

    def __init__(self, compute: Callable[[], Mapping[str, Any]], grad_norm: Any) -> None:
        self._compute, self.grad_norm = compute, grad_norm
        self._values: Mapping[str, Any] | None = None

    @property
    def values_now(self) -> Mapping[str, Any]:
        """All metrics by name: numbers, arrays without axes, or arrays of one entry per transition."""
        if self._values is None:
            with no_grad():
                self._values = self._compute()
        return self._values

    def __getitem__(self, name: str) -> Any:
        return self.values_now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_now)

    def __len__(self) -> int:
        return len(self.values_now)


class GradientStep:
    """Minimizes a loss by one optimizer: zero the gradient, go backward, clip, check that it is finite, step.

    Args:
        loss: called as `loss(batch, **numbers)`; returns a scalar tensor, and a function without arguments that returns
            the metrics of the step by name. It is called only if one of them is asked for.
        optimizer: changes the parameters; another one may be set later.
        max_grad_norm: the gradient is scaled down to this global norm; None: never.
        explain: returns the error message for a batch, and its loss, whose gradient is not finite.

    Example:
        step = GradientStep(loss, Adam(network), max_grad_norm=0.5)
        metrics = step(batch, clip_range=0.2)
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
        explain: Callable[[Batch, Any], str] | None = None,
    ) -> None:
        self.loss, self.optimizer, self.explain = loss, optimizer, explain
        self.max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step; `numbers` are handed to the loss.

        Raises:
            AnomalyError: the gradient is not finite; the parameters stay as they were.
        """
        metrics = self.gradient(batch, **numbers)
        self.optimizer.step()
        return metrics

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped gradient alone, without a step (see `__call__` for errors)."""
        loss, metrics = self.loss(batch, **numbers)
        self.optimizer.zero_grad()
        backward([loss])
        norm = self.optimizer.clip_grad_norm(self.max_grad_norm)
        self.check(norm, batch, loss)
        return StepMetrics(metrics, norm)

    def check(self, norm: Any, batch: Batch, loss: Any) -> None:
        """Raise an AnomalyError if the norm of the gradient is not finite."""
        if not math.isfinite(norm):
            found = f" (loss {loss.item():g})"
            raise AnomalyError(self.explain(batch, loss) if self.explain else no_gradient(None, found))

    def forget(self) -> None:
        """Drop what was recorded of earlier steps; here nothing is."""


def _number(x: Any) -> float:
    """A metric as a number: an array without axes, or the mean of a vector."""
    return float(x if not getattr(x, "ndim", 0) else np.add.reduce(x) / x.size)


def packed(numbers: list[Any]) -> Any:
    """Return arrays without axes as one array, float64."""
    joined = np.empty_like(next(x for x in numbers if hasattr(x, "dtype")), np.float64, shape=(len(numbers),))
    for i, number in enumerate(numbers):
        joined[i] = number
    return joined


def means(steps: list[StepMetrics], name: str) -> Metrics:
    """Return the mean of each metric over several steps; from a GPU they come in one copy.

    Args:
        steps: at least one; vectors are averaged over their entries too.
        name: of the agent, for the error.

    Raises:
        AnomalyError: a mean is not finite.
    """
    names = list(steps[0])
    if isinstance(steps[0].grad_norm, float):
        return {key: float(np.mean([_number(step[key]) for step in steps])) for key in names}
    rows = to_numpy(np.concatenate([packed([step[key].mean() for key in names]) for step in steps]))
    found: Metrics = dict(zip(names, rows.reshape(len(steps), -1).mean(0).tolist(), strict=True))
    if not all(map(math.isfinite, found.values())):
        raise AnomalyError(
            f"{name}: expected finite statistics, got {found}: lower the learning rate, or find the op with "
            "dbrrl.detect_anomaly()"
        )
    return found
