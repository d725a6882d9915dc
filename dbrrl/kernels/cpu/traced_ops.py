"""Ops on traced arrays: where the code for NumPy's arrays reads numbers, or a single loop serves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl import normalize
from dbrrl.autodiff import chosen, elementwise, ensemble, index, linear, loss, policy, quantile, reduce
from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import replaces
from dbrrl.distributions import categorical
from dbrrl.kernels.cpu.indices import check_range
from dbrrl.kernels.cpu.trace import CODES, as_type, fresh, in_order, loop, note, traced

KIND = "program"


@replaces(elementwise.constant_like, KIND)
def _constant_like(x: Any, value: float) -> float:
    return value


@replaces(index.check_classes, KIND)
def _check_classes(index: Any, k: int, name: str) -> None:
    check_range(index, 0, k)


@replaces(loss.all_true, KIND)
def _all_true(mask: Any) -> bool:
    check_range(mask.all(), 0, 1)
    return False


@replaces(normalize.standardized, KIND)
def _standardized(x: Any) -> Any:
    """Differences of near numbers are exact: the mean of those rounds no more than they are apart."""
    shifted = x - x[:1]
    centered = shifted - np.sum(shifted) / len(x)
    return centered / (np.sqrt(np.sum(centered * centered) / len(x)) + 1e-8)


@replaces(normalize.clipped, KIND)
def _clipped(x: Any, low: np.float32, high: np.float32) -> Any:
    return np.minimum(np.maximum(x.astype(np.float32, copy=False), low), high)


@replaces(categorical.largest, KIND)
def _largest(scores: Any, what: str) -> Any:
    check_range(np.max(scores, -1) == -np.inf, 0, 1)
    return scores.argmax(-1)


def _view(g: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(g, shape)


@replaces(reduce.Sum, KIND)
class Sum(reduce.Sum):
    """The gradient is spread without a copy."""

    spread = staticmethod(_view)


@replaces(reduce.Mean, KIND)
class Mean(reduce.Mean):
    """The gradient is spread without a copy."""

    spread = staticmethod(_view)


@replaces(reduce.extreme, KIND)
def _extreme(x: Any, ufunc: Any, axis: reduce.Axis, keepdims: bool = False) -> Any:
    return (np.max if ufunc is np.maximum else np.min)(x, axis=axis, keepdims=keepdims)


class Chosen(index.Chosen):
    """The same by steps of the program."""

    def chosen(self, x: Any) -> Any:
        index.check_classes(self.index, x.shape[1], self.name)
        self.place = index.numbers(self.index, len(self.index)), self.index
        return x[self.place]


@replaces(index.Pick, KIND)
class Pick(Chosen, index.Pick):
    """One element of each row."""


@replaces(chosen.PickedHuber, KIND)
class PickedHuber(Chosen, chosen.PickedHuber):
    """The loss of one element of each row."""


@replaces(policy.CategoricalLogProb, KIND)
class CategoricalLogProb(Chosen, policy.CategoricalLogProb):
    """Row after row, as they are in memory."""

    def forward(self, logits: Any) -> Any:
        z = logits - np.max(logits, axis=1, keepdims=True)
        picked = self.chosen(z)
        e = np.exp(z)
        total = np.sum(e, axis=1, keepdims=True)
        self.probs = e / total
        return picked - np.log(total[:, 0])

    def backward(self, g: Any, y: Any, logits: Any) -> Any:
        if isinstance(g, Tensor):
            return super().backward(g, y, logits)
        gz = self.probs * -g[:, None]
        gz[self.place] += g
        return gz


def _activated(y: Any, b: Any, activation: str | None) -> Any:
    """Return f(y + b), in place, in one loop."""
    with np.errstate(all="ignore"):
        total = y.values + b.values
        total = np.tanh(total) if activation == "tanh" else np.maximum(total, 0) if activation else total
    y.values[...] = total
    return loop(f"{f'bias_{activation}' if activation else 'add'}_{CODES[y.dtype]}", y, y, b)


def _before(g: Any, y: Any, activation: str | None, own: bool = False) -> Any:
    """Return the gradient before the activation, in one loop."""
    if activation is None or isinstance(g, Tensor):
        return linear.before_activation(g, y, activation, own)
    g, y = traced(g), traced(y)
    with np.errstate(all="ignore"):
        before = linear.FUSED[activation][1](g.values, y.values)
    return loop(f"{activation}_back_{CODES[y.dtype]}", fresh(before), g, y)


class Layers(linear.Layers):
    """Bias and activation in one loop, and the gradient before the activation in another."""

    @staticmethod
    def layer(x: Any, w: Any, b: Any, activation: str | None = None) -> Any:
        y = traced(x).dot(traced(w).T)
        if b is None:
            return y if activation is None else linear.activated(y, activation)
        return _activated(y, traced(b), activation)

    @staticmethod
    def layer_gradients(
        g: Any, y: Any, x: Any, w: Any, activation: str | None, needs: Sequence[bool], own: bool = False
    ) -> tuple[Any, Any, Any]:
        if isinstance(g, Tensor):
            return linear.Layers.layer_gradients(g, y, x, w, activation, needs, own)
        g = traced(_before(g, y, activation))
        to_x, to_w, to_b = needs
        return (
            g.dot(traced(w)) if to_x else None,
            g.T.dot(traced(x)) if to_w else None,
            np.sum(g, axis=0) if to_b else None,
        )


@replaces(ensemble.EnsemblePerceptron, KIND)
class EnsemblePerceptron(ensemble.EnsemblePerceptron):
    """Several layers of several networks."""

    before = staticmethod(_before)

    @staticmethod
    def layer(x: Any, w: Any, b: Any, activation: str | None) -> Any:
        """One layer forward."""
        y = np.matmul(traced(x), np.swapaxes(traced(w), 1, 2))
        return _activated(y, traced(b)[:, None], activation)


@replaces(linear.Linear, KIND)
class Linear(Layers, linear.Linear):
    """One layer."""


@replaces(linear.FusedLinear, KIND)
class FusedLinear(Layers, linear.FusedLinear):
    """Several layers."""


@replaces(linear.Noisy, KIND)
class Noisy(Layers, linear.Noisy):
    """A layer with noise."""


@replaces(linear.outputs, KIND)
def _outputs(x: Any, arrays: Sequence[Any], activations: Sequence[str | None]) -> Any:
    for i, activation in enumerate(activations):
        x = Layers.layer(x, arrays[2 * i], arrays[2 * i + 1], activation)
    return x


class _QuantileHuber:
    """Loss and slope in one pass over all pairs, of which none is kept."""

    fractions: Any

    def forward(self, a: Any, b: Any) -> Any:
        a, b, fractions = (in_order(as_type(x, a.dtype)) for x in (a, b, self.fractions))
        with np.errstate(all="ignore"):
            op = quantile.QuantileHuber(fractions.values)
            y = fresh(op.forward(a.values, b.values))
            self.slope = fresh(-np.sum(op.weight * np.clip(op.error, -1, 1), axis=2))
        between = fractions.strides[0] if fractions.ndim == 2 else 0
        numbers = (*a.shape, b.shape[1], a.itemsize, between)
        note("quantiles", "", (y, self.slope, a, b, fractions), numbers, (a.itemsize == 8) << 1)
        return y

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        if isinstance(g, Tensor) or self.needs(1):  # type: ignore[attr-defined]
            quantile.QuantileHuber.forward(self, plain(a), plain(b))  # type: ignore[arg-type]
            return quantile.QuantileHuber.backward(self, g, y, a, b)  # type: ignore[arg-type]
        return self.slope * g[:, None], None


@replaces(quantile.QuantileHuber, KIND)
class QuantileHuber(_QuantileHuber, quantile.QuantileHuber):
    """Over all pairs."""


@replaces(quantile.SortedQuantileHuber, KIND)
class SortedQuantileHuber(_QuantileHuber, quantile.SortedQuantileHuber):
    """Over all pairs, too: quicker than to sort."""
