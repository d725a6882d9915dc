"""`JoinedMetrics`: the metrics of several gradient steps as one table of statistics."""

from collections.abc import Iterator, Mapping
from typing import Any

from dbrrl.learning.gradient_step import StepMetrics
from dbrrl.types import Metrics


class JoinedMetrics(Mapping[str, Any]):
    """Metrics of several gradient steps by "step_metric", such as "critic_loss", computed when they are asked for.

    Args:
        steps: the metrics of each step by its name.
        before: what the update before returned, or its numbers; a step that is not among `steps` keeps its metrics.
    """

    def __init__(self, steps: Mapping[str, StepMetrics], before: Mapping[str, Any]) -> None:
        earlier = before.steps if isinstance(before, JoinedMetrics) else {}
        self.steps: dict[str, StepMetrics] = {**earlier, **steps}
        given: Mapping[str, Any] = before.numbers_before if isinstance(before, JoinedMetrics) else before
        names = tuple(f"{name}_" for name in self.steps)
        self.numbers_before: dict[str, Any] = {key: value for key, value in given.items() if not key.startswith(names)}

    def numbers(self) -> Metrics:
        """Return all metrics as numbers, vectors by their mean, and the norm of each gradient as "step_grad_norm"."""
        found = dict(self.numbers_before)
        for name, step in self.steps.items():
            found |= {f"{name}_{metric}": value for metric, value in step.numbers().items()}
        return found

    def __getitem__(self, key: str) -> Any:
        for name, step in self.steps.items():
            metric = key.removeprefix(f"{name}_")
            if metric != key and metric in step:
                return step[metric]
        return self.numbers_before[key]

    def __iter__(self) -> Iterator[str]:
        yield from self.numbers_before
        for name, step in self.steps.items():
            yield from (f"{name}_{metric}" for metric in step)

    def __len__(self) -> int:
        return sum(1 for _ in self)
