"""`GradientStep`: one step of an optimizer along the gradient of a loss."""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from dbrrl.autodiff.engine import backward
from dbrrl.backend import array_module, to_numpy
from dbrrl.buffers.batch import Batch
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.kernels.cuda.graph import Captured
from dbrrl.optim import Optimizer
from dbrrl.types import Metrics

Loss = Callable[..., tuple[Any, Callable[[], Mapping[str, Any]]]]


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

    On a GPU the whole step is recorded as one CUDA graph and replayed while the shapes of the batch, the optimizer and
    the settings stay the same. So `loss` must not read numbers that change from step to step, except its own keyword
    arguments, which reach it as arrays without axes there, and the arrays of the batch. The metrics are computed with
    every step there, and on the CPU only when they are asked for.

    Args:
        loss: called as `loss(batch, **numbers)`, returns a scalar tensor and a function without arguments that returns
            the metrics of the step, by name.
        optimizer: changes the parameters; may be replaced later (`gradient_step.optimizer = ...`).
        max_grad_norm: the gradient is scaled down to this global norm; None: never.
        explain: returns the error message for a batch whose gradient is not finite.
        settings: returns what else a recorded step depends on, to be compared with `==`.
        device: where the parameters are.
        capture: whether the loss can be recorded as a CUDA graph.

    Attributes:
        use_cuda_graphs: set it to False to run each step op by op on a GPU; the numbers are the same.

    Example:
        step = GradientStep(loss, Adam(network), max_grad_norm=0.5)
        metrics = step(batch, clip_range=0.2)
    """

    use_cuda_graphs = True

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        max_grad_norm: float | None = None,
        *,
        explain: Callable[[Batch, Any], str] | None = None,
        settings: Callable[[], Hashable] = lambda: None,
        device: str = "cpu",
        capture: bool = True,
    ) -> None:
        self.loss, self.optimizer, self.max_grad_norm = loss, optimizer, max_grad_norm
        self.explain, self.settings = explain, settings
        self.on_gpu = device != "cpu"
        self.graph = Captured(self._recorded) if self.on_gpu and capture else None
        self._numbers: dict[str, Any] = {}
        self._arrays: tuple[dict[str, Any], list[Any]] = ({}, [])

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step.

        Raises:
            AnomalyError: the gradient is not finite; the parameters stay as they were. A GPU is not waited for: there
                `check_finite` finds it later.
        """
        if self.graph is not None:
            return self._on_gpu(batch, numbers)
        metrics = self.gradient(batch, **numbers)
        self.optimizer.step()
        return metrics

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped gradient alone, without a step (see `__call__` for errors)."""
        loss, metrics = self.loss(batch, **numbers)
        self.optimizer.zero_grad()
        backward([loss])
        norm = self.optimizer.clip_grad_norm(math.inf if self.max_grad_norm is None else self.max_grad_norm)
        if not self.on_gpu and not math.isfinite(norm):
            raise AnomalyError(self.explain(batch, loss) if self.explain else no_gradient(None, f" (loss {loss.item():g})"))
        return StepMetrics(metrics, norm)

    def forget_graphs(self) -> None:
        """Drop recorded steps: for when arrays that the loss keeps, or generators, were replaced by others."""
        if self.graph is not None:
            self.graph.forget()

    def _on_gpu(self, batch: Batch, numbers: dict[str, float]) -> StepMetrics:
        columns, rows = batch.split()
        if self._arrays[0] is not columns:
            self._arrays = columns, _flat(columns)
        like = self._arrays[1][0]
        for name, value in numbers.items():
            if name not in self._numbers:
                self._numbers[name] = array_module(like).full((), value, np.float64)
            self._numbers[name].fill(value)
        run = self.graph if self.use_cuda_graphs and self.graph is not None else self._recorded
        how = (self.loss, self.optimizer, self.settings(), tuple(numbers), _names(columns))
        names, scalars, vectors = _called(run, how, rows, self._arrays[1])
        scalars = scalars.copy()
        found = dict(zip(names, scalars, strict=True)) | {name: vector.copy() for name, vector in vectors.items()}
        return StepMetrics(lambda: {name: value for name, value in found.items() if name != _NORM}, found[_NORM])

    def _recorded(self, how: Any, rows: Any, *arrays: Any) -> tuple[list[str], Any, dict[str, Any]]:
        """One step, and its metrics: names and values of those without axes, and all others."""
        batch = Batch.of_rows(_unflat(how[-1], arrays), rows)
        metrics = self.gradient(batch, **{name: self._numbers[name] for name in how[3]})
        found = dict(metrics) | {_NORM: metrics.grad_norm}
        scalars = {name: value for name, value in found.items() if not np.ndim(value)}
        self.optimizer.step()
        vectors = {name: value for name, value in found.items() if np.ndim(value)}
        return list(scalars), _packed(list(scalars.values())), vectors


_NORM = "gradient norm"


def _called(run: Any, how: Any, rows: Any, arrays: list[Any]) -> Any:
    """Call a recorded step with `arrays` that are copied only when they change, or the step itself."""
    return run(how, rows, fixed=arrays) if isinstance(run, Captured) else run(how, rows, *arrays)


def _names(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """The structure of a batch's columns, to be compared and to rebuild them by."""
    return tuple((name, tuple(c) if isinstance(c, dict) else None if c is not None else ()) for name, c in columns.items())


def _flat(columns: Mapping[str, Any]) -> list[Any]:
    """The arrays of all columns."""
    arrays: list[Any] = []
    for column in columns.values():
        if column is not None:
            arrays += column.values() if isinstance(column, dict) else [column]
    return arrays


def _unflat(names: tuple[Any, ...], arrays: Iterable[Any]) -> dict[str, Any]:
    """The columns that `_names` and `_flat` describe."""
    left, columns = iter(arrays), {}
    for name, keys in names:
        if keys is None:
            columns[name] = next(left)
        else:
            columns[name] = {key: next(left) for key in keys} if keys else None
    return columns


def _packed(numbers: list[Any]) -> Any:
    """Arrays without axes as one array, float64."""
    packed = np.empty_like(next(x for x in numbers if hasattr(x, "dtype")), np.float64, shape=(len(numbers),))
    for i, number in enumerate(numbers):
        packed[i] = number
    return packed


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
        return {key: float(np.mean([float(np.mean(step[key])) for step in steps])) for key in names}
    rows = to_numpy(np.concatenate([_packed([step[key].mean() for key in names]) for step in steps]))
    found: Metrics = dict(zip(names, rows.reshape(len(steps), -1).mean(0).tolist(), strict=True))
    if not all(map(math.isfinite, found.values())):
        raise AnomalyError(
            f"{name}: expected finite statistics, got {found}: lower the learning rate, or find the op with "
            "dbrrl.detect_anomaly()"
        )
    return found
