"""Gradient steps on a GPU: one CUDA graph each, recorded once and replayed."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from dbrrl.backend import DeviceScalar, capture
from dbrrl.backend.capture import Direct
from dbrrl.buffers.batch import Batch
from dbrrl.compiled.layout import arrays_of, batch_of, structure_of
from dbrrl.learning.gradient_step import GradientStep, Loss, StepMetrics, check_numbers, packed
from dbrrl.optim import Optimizer

_NORM = "gradient norm"


class UncheckedStep(GradientStep):
    """A gradient step that does not wait for the GPU to see whether the gradient is finite; `means` finds it later."""

    def check(self, norm: Any, batch: Batch, loss: Any) -> None:
        """Do nothing."""


class CapturedStep(UncheckedStep):
    """A gradient step that is recorded as one CUDA graph and replayed while the shapes of the batch, the optimizer and
    the settings stay the same.

    So its loss must not read numbers that change from step to step, except its keyword arguments, which reach it as
    arrays without axes, and the arrays of the batch. Its metrics are computed with every step.

    Args:
        loss, optimizer, max_grad_norm: as of `GradientStep`.
        device: where the parameters are, such as "cuda".
        settings: returns what else a recorded step depends on, to be compared with `==`.

    Attributes:
        use_cuda_graphs: set it to False to run each step op by op; the numbers are the same.
    """

    use_cuda_graphs = True

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        max_grad_norm: float | None,
        device: str,
        settings: Callable[[], Hashable],
    ) -> None:
        super().__init__(loss, optimizer, max_grad_norm)
        self.settings = settings
        self.graph, self.direct = capture(device, self._recorded), Direct(self._recorded)
        self._numbers: dict[str, DeviceScalar] = {}
        self._columns: dict[str, Any] | None = None
        self._arrays: list[Any] = []

    @property
    def refused(self) -> str:
        """The reason why the step cannot be recorded."""
        return self.graph.refused

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step; the GPU is not waited for."""
        check_numbers(numbers)
        columns, rows = batch.split()
        if self._columns is not columns:
            self._columns, self._arrays = columns, arrays_of(columns)
        for name, value in numbers.items():
            if name not in self._numbers:
                self._numbers[name] = DeviceScalar(self._arrays[0], value)
            self._numbers[name].set(value)
        run = self.graph if self.use_cuda_graphs else self.direct
        how = (self.loss, self.optimizer, self.settings(), tuple(numbers), structure_of(columns))
        names, scalars, vectors = run(how, rows, fixed=self._arrays)
        found = dict(zip(names, scalars.copy(), strict=True)) | {key: vector.copy() for key, vector in vectors.items()}
        norm = found.pop(_NORM)
        return StepMetrics(lambda: found, norm)

    def explain(self) -> str:
        """Say how the steps run (see `GradientStep.explain`)."""
        if not self.use_cuda_graphs:
            return "runs op by op: use_cuda_graphs is False"
        return f"runs op by op: {self.refused}" if self.refused else "runs as a CUDA graph"

    def forget(self) -> None:
        """Drop what was recorded: for when arrays or generators that the loss uses were replaced by others."""
        self.graph.forget()

    def _recorded(self, how: tuple[Any, ...], rows: Any, *arrays: Any) -> tuple[list[str], Any, dict[str, Any]]:
        """One step; names and values of its metrics without axes, and all others."""
        batch = batch_of(how[-1], arrays, rows)
        metrics = self.gradient(batch, **{name: self._numbers[name].value for name in how[3]})
        found = dict(metrics) | {_NORM: metrics.grad_norm}
        self.optimizer.step()
        scalars = {name: value for name, value in found.items() if not np.ndim(value)}
        vectors = {name: value for name, value in found.items() if np.ndim(value)}
        values = packed(list(scalars.values()))
        self.share(values)
        return list(scalars), values, vectors
