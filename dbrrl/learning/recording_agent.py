"""Updates as recorded graphs: what agents that learn on a GPU share."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.autodiff.engine import backward
from dbrrl.backend import to_numpy
from dbrrl.errors import AnomalyError, no_gradient
from dbrrl.kernels.cuda.graph import Captured
from dbrrl.learning.agent import Agent
from dbrrl.optim import Optimizer


class RecordingAgent(Agent):
    """An agent whose gradient step is a function of arrays: on a GPU it is recorded as a CUDA graph and replayed.

    So what changes from step to step must be an array or a `Dial`, and no number of Python's.

    Attributes:
        captured: set it to False to have acting and learning launched piece by piece; the numbers are the same.
    """

    captured = True
    learn_there: Captured | None = None  # None on the CPU
    optimizer: Optimizer

    def gradient(self, terms: list[Any], weights: list[float]) -> None:
        """The gradient of Σ weight · term, clipped to a global norm of `max_grad_norm`.

        Raises:
            AnomalyError: it is not finite; on a GPU, which is not waited for, `averages` sees it after the update.
        """
        self.optimizer.zero_grad()
        backward(terms, weights)
        norm = self.optimizer.clip_grad_norm(self.config.max_grad_norm)
        if self.device == "cpu" and not math.isfinite(norm):
            values = ", ".join(f"{term.item():g}" for term in terms)
            found = f" (terms of the loss {values})"
            raise AnomalyError(f"{self.name}: {no_gradient(self.num_updates, found)}")

    def replayed(self, learn: Callable[..., dict[str, Any]], rows: Any, record: bool, columns: list[Any]) -> Any:
        """`learn(rows, record, *columns)`; on a GPU as one graph while shapes, optimizer and settings stay the same."""
        if not self.captured or self.learn_there is None:
            return learn(rows, record, *columns)
        names, numbers = self.learn_there((learn, self.optimizer, self.config), rows, record, fixed=columns)
        return dict(zip(names, numbers.copy(), strict=True)) if record else {}

    def averages(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """The means of what minibatches recorded; from a GPU they come in one piece.

        Raises:
            AnomalyError: one of them is not finite.
        """
        names = list(records[0])
        if self.device == "cpu":
            return {name: float(np.mean([float(r[name]) for r in records])) for name in names}
        rows = to_numpy(np.concatenate([_pack(list(r.values())) for r in records])).reshape(len(records), -1)
        means = dict(zip(names, rows.mean(0).tolist(), strict=True))
        if not all(map(math.isfinite, means.values())):
            raise AnomalyError(
                f"{self.name}: expected finite statistics up to update {self.num_updates}, got {means}: lower the "
                "learning rate, or find the op with dbrrl.detect_anomaly()"
            )
        return means


def packed(how: tuple[Any, ...], rows: Any, record: bool, *columns: Any) -> tuple[list[str], Any]:
    """What a function found, the first of `how`, as names and one array: a single thing to keep of a graph's results.

    The others of `how` are what it depends on, so that another of them is recorded anew.
    """
    found = how[0](rows, record, *columns)
    return list(found), _pack(list(found.values())) if found else None


def _pack(numbers: list[Any]) -> Any:
    """Arrays without axes as one, float64."""
    packed = np.empty_like(numbers[0], np.float64, shape=(len(numbers),))
    for i, number in enumerate(numbers):
        packed[i] = number
    return packed
