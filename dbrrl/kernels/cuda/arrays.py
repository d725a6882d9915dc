"""Replacements where CuPy differs from NumPy; checks that would have to wait for the GPU are left out."""

from typing import Any

import numpy as np

from dbrrl.autodiff import chosen, elementwise, engine, index, loss, reduce
from dbrrl.backend import array_module, replaces
from dbrrl.distributions import categorical

from . import dense


@replaces(elementwise.constant_like, "cuda")
def _constant_like(x: Any, value: float) -> float:
    return value


def _view(g: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(g, shape)


@replaces(reduce.Sum, "cuda")
class Sum(reduce.Sum):
    """The gradient is spread without a copy."""

    spread = staticmethod(_view)


@replaces(reduce.Mean, "cuda")
class Mean(reduce.Mean):
    """The gradient is spread without a copy."""

    spread = staticmethod(_view)


@replaces(reduce.extreme, "cuda")
def _extreme(x: Any, ufunc: Any, axis: reduce.Axis, keepdims: bool = False) -> Any:
    if not x.size:  # CuPy refuses empty arrays also where no axis of size 0 is reduced
        return np.sum(x, axis=axis, keepdims=keepdims)
    return (x.max if ufunc is np.maximum else x.min)(axis=axis, keepdims=keepdims)


@replaces(engine.sum_leading, "cuda")
def _sum_leading(g: Any, n: int) -> Any:
    return dense.sum_columns(g) if n == 1 and g.ndim == 2 else NotImplemented


@replaces(index.numbers, "cuda")
def _numbers(like: Any, n: int) -> Any:
    return array_module(like).arange(n)


@replaces(index.check_classes, "cuda")
def _check_classes(index: Any, k: int, name: str) -> None:
    return None


@replaces(loss.all_true, "cuda")
def _all_true(mask: Any) -> bool:
    return False


@replaces(categorical.largest, "cuda")
def _largest(scores: Any, what: str) -> Any:
    return scores.argmax(-1)


class Chosen(index.Chosen):
    """The same without checks."""

    def chosen(self, x: Any) -> Any:
        self.place = array_module(self.index).arange(len(self.index)), self.index
        return x[self.place]


@replaces(index.Pick, "cuda")
class Pick(Chosen, index.Pick):
    """One element of each row."""


@replaces(chosen.PickedHuber, "cuda")
class PickedHuber(Chosen, chosen.PickedHuber):
    """The loss of one element of each row."""
