"""`GradientStep`: one step of an optimizer along the gradient of a loss."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from dbrrl.autodiff.engine import backward
from dbrrl.autodiff.recording import no_grad
from dbrrl.backend import to_numpy
from dbrrl.buffers.batch import Batch
from dbrrl.errors import AnomalyError, ArgumentError, no_gradient
from dbrrl.learning.own_agent import wrong_loss, wrong_shape
from dbrrl.optim import Optimizer
from dbrrl.types import Metrics

LossAndMetrics = tuple[Any, Callable[[], Mapping[str, Any]]]
"""What a step minimizes (see `GradientStep`), and a function that computes the metrics of the step by name."""

Loss = Callable[..., LossAndMetrics]

Until = Callable[["StepMetrics"], Any] | None
"""Whether the step with these metrics is the last of several; None: none is."""


class Named(Protocol):
    """What has a name for error messages, such as an agent."""

    @property
    def name(self) -> str:
        """The name."""


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

    def numbers(self) -> Metrics:
        """Return all metrics as numbers, vectors by their mean, and the norm as "grad_norm"."""
        return {name: number(value) for name, value in self.values_now.items()} | {"grad_norm": float(self.grad_norm)}

    def __getitem__(self, name: str) -> Any:
        return self.values_now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_now)

    def __len__(self) -> int:
        return len(self.values_now)


def shares(x: Any, weight: Any) -> Any:
    """Return wᵢ / n for each entry of x (n,), with the weights w (n,); None: all weights are 1."""
    n = len(x)
    if weight is not None:
        return weight / x.dtype.type(n)
    return _equal_shares(n, x.dtype.char) if type(x) is np.ndarray else np.full_like(x, 1 / n)


@functools.lru_cache(maxsize=16)
def _equal_shares(n: int, dtype: str) -> np.ndarray:
    return np.full(n, 1 / n, dtype)


def check_numbers(numbers: Mapping[str, Any]) -> None:
    """Raise an ArgumentError if a keyword argument of a gradient step is an array with axes."""
    for name, value in numbers.items():
        if type(value) is not float and getattr(value, "shape", ()) != ():
            raise ArgumentError(
                f"{name}: expected a number, got an array of shape {value.shape}: give arrays with the batch, "
                f"gradient_step(batch.add({name}={name})), and read batch.{name} in the loss"
            )


class GradientStep:
    """Minimizes a loss by one optimizer: zero the gradient, go backward, clip, check that it is finite, step.

    Args:
        loss: called as `loss(batch, **numbers)`; returns what is to be minimized, and a function without arguments that
            returns the metrics of the step by name, which is called only if one of them is asked for. To be minimized
            is a scalar tensor; or the sum of weighted scalars, a list of pairs (weight, tensor); or the mean of a
            tensor (n,) of one loss per transition, in which each counts by `batch.weight` if the batch has weights.
        optimizer: changes the parameters; another one may be set later.
        max_grad_norm: the gradient is scaled down to this global norm; None: never.
        explain: returns the error message for a batch whose gradient is not finite, given a text about its loss.

    Example:
        step = GradientStep(loss, Adam(network), max_grad_norm=0.5)
        metrics = step(batch, clip_range=0.2)
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
        explain: Callable[[Batch, str], str] | None = None,
    ) -> None:
        self.loss, self.optimizer, self.error_message = loss, optimizer, explain
        self.max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step; `numbers` are handed to the loss.

        Raises:
            ArgumentError: one of `numbers` is an array with axes, which belongs into the batch.
            AnomalyError: the gradient is not finite; the parameters stay as they were.
        """
        if numbers:
            check_numbers(numbers)
        metrics = self.gradient(batch, **numbers)
        self.optimizer.step()
        return metrics

    def each(self, batches: Iterable[Batch], until: Until = None, **numbers: float) -> Iterator[StepMetrics]:
        """Take a step on each batch, and yield its metrics; the last one is the first of whose metrics `until` is true.

        Args:
            batches: they are asked for in order; where there is no `until`, some of them before earlier steps are made.
            until: None: a step is taken on all of them.
            numbers: handed to the loss.
        """
        return each(self, batches, until, numbers)

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped gradient alone, without a step (see `__call__` for errors)."""
        self.optimizer.zero_grad()
        loss, metrics = self.backward(batch, **numbers)
        self.share(self.optimizer.gradient)
        norm = self.optimizer.clip_grad_norm(self.max_grad_norm)
        self.check(norm, batch, loss)
        return StepMetrics(metrics, norm)

    def share(self, vector: Any) -> None:
        """Do nothing with a gradient, or with metrics: where others learn too, these are replaced by their means."""

    def backward(self, batch: Batch, **numbers: Any) -> LossAndMetrics:
        """Compute the loss and add its gradient; return the loss, and what computes the metrics."""
        found = self.loss(batch, **numbers)
        if type(found) is not tuple or len(found) != 2:
            raise wrong_loss(found)
        loss, metrics = found
        if type(loss) is list:
            backward([term for _, term in loss], [weight for weight, _ in loss])
        elif loss.array.ndim:
            if loss.array.ndim != 1:
                raise wrong_shape(loss.array.shape)
            backward([loss], [shares(loss.array, batch.weight)])
        else:
            backward([loss])
        return loss, metrics

    def check(self, norm: Any, batch: Batch, loss: Any) -> None:
        """Raise an AnomalyError if the norm of the gradient is not finite."""
        if not math.isfinite(norm):
            terms = [term for _, term in loss] if type(loss) is list else [loss]
            values = ", ".join(f"{float(term.array.mean()):g}" for term in terms)
            found = f" (loss {values})" if len(terms) == 1 else f" (terms of the loss {values})"
            raise AnomalyError(self.error_message(batch, found) if self.error_message else no_gradient(None, found))

    def explain(self) -> str:
        """Say how the steps run: op by op and why, as a program, or as a CUDA graph."""
        return "runs op by op: it is not made to be compiled"

    def forget(self) -> None:
        """Drop what was recorded of earlier steps; here nothing is."""


def each(
    take: Callable[..., StepMetrics], batches: Iterable[Batch], until: Until, numbers: Mapping[str, float]
) -> Iterator[StepMetrics]:
    """As `GradientStep.each`, with steps that `take` takes, one after the other."""
    for batch in batches:
        metrics = take(batch, **numbers)
        yield metrics
        if until is not None and until(metrics):
            return


def number(x: Any) -> float:
    """Return a metric as a number: an array without axes, or the mean of an array."""
    return float(x if not getattr(x, "ndim", 0) else np.add.reduce(x) / x.size)


def packed(numbers: list[Any]) -> Any:
    """Return arrays without axes as one array, float64."""
    joined = np.empty_like(next(x for x in numbers if hasattr(x, "dtype")), np.float64, shape=(len(numbers),))
    for i, value in enumerate(numbers):
        joined[i] = value
    return joined


def means(steps: list[StepMetrics], agent: Named) -> Metrics:
    """Return the mean of each metric over several steps; from a GPU they come in one copy.

    Args:
        steps: at least one; vectors are averaged over their entries too.
        agent: whose steps they are, for the error.

    Raises:
        AnomalyError: a mean is not finite.
    """
    names = list(steps[0])
    if isinstance(steps[0].grad_norm, float):
        numbers = [[number(value) for value in step.values()] for step in steps]
        if len(numbers) == 1:
            return dict(zip(names, numbers[0], strict=True))
        return dict(zip(names, np.array(numbers).T.copy().mean(1).tolist(), strict=True))
    rows = to_numpy(np.concatenate([packed([step[key].mean() for key in names]) for step in steps]))
    found: Metrics = dict(zip(names, rows.reshape(len(steps), -1).mean(0).tolist(), strict=True))
    return finite(found, agent)


def finite(found: Metrics, agent: Named) -> Metrics:
    """Return statistics of an agent; AnomalyError if one of them is not finite."""
    if not all(map(math.isfinite, found.values())):
        raise AnomalyError(
            f"{agent.name}: expected finite statistics, got {found}: lower the learning rate, or find the op with "
            "dbrrl.detect_anomaly()"
        )
    return found
