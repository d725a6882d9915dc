"""Losses, normalization and dropout, composed of the ops or fused where that is much faster."""

from typing import Any

import numpy as np

from dbrrl.autodiff.index import take_along_axis
from dbrrl.autodiff.reduce import log_softmax, mean, sum
from dbrrl.autodiff.tensor import Op, Tensor
from dbrrl.errors import ConfigError, ShapeError

REDUCTIONS = ("mean", "sum", "none")


def _reduce(x: Any, reduction: str, name: str) -> Any:
    if reduction not in REDUCTIONS:
        raise ConfigError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    return x if reduction == "none" else mean(x) if reduction == "mean" else sum(x)


def _same_shape(prediction: Any, target: Any, name: str) -> None:
    if np.shape(getattr(target, "array", target)) != prediction.shape:
        raise ShapeError(
            f"{name}: expected prediction and target of one shape, got {prediction.shape} and "
            f"{np.shape(getattr(target, 'array', target))}: broadcasting here is nearly always a mistake, reshape one"
        )


class SquaredError(Op):
    """y = (a - b)²; da = 2 (a - b)."""

    def forward(self, a: Any, b: Any) -> Any:
        d = a - b
        return d * d

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = g * (2 * (a - b))
        return ga, -ga if self.needs(1) else None


def mse_loss(prediction: Any, target: Any, reduction: str = "mean") -> Any:
    """Squared error (prediction - target)², its mean, sum, or one per element."""
    _same_shape(prediction, target, "mse_loss")
    return _reduce(SquaredError()(prediction, target), reduction, "mse_loss")


class Huber(Op):
    """y = d²/2 where |d| <= delta, else delta (|d| - delta/2), with d = a - b; da = clip(d, ±delta)."""

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def forward(self, a: Any, b: Any) -> Any:
        d = np.abs(a - b)
        return np.where(d <= self.delta, 0.5 * d * d, self.delta * (d - 0.5 * self.delta))

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        ga = g * np.clip(a - b, -self.delta, self.delta)
        return ga, -ga if self.needs(1) else None


def huber_loss(prediction: Any, target: Any, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Huber loss (1964): quadratic up to an error of `delta`, linear beyond."""
    _same_shape(prediction, target, "huber_loss")
    if not delta > 0:
        raise ConfigError(f"huber_loss: expected delta above 0, got {delta}")
    return _reduce(Huber(delta)(prediction, target), reduction, "huber_loss")


def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Any:
    """-log softmax(logits)[target] for logits (..., classes) and integer classes (...), or -Σ p log softmax for
    target probabilities of the shape of logits."""
    log_probs = log_softmax(logits)
    target = target if isinstance(target, Tensor) else np.asarray(target)
    if target.dtype.kind in "iu":
        if target.shape != logits.shape[:-1]:
            raise ShapeError(
                f"cross_entropy: expected integer targets of shape {logits.shape[:-1]} for logits {logits.shape}, "
                f"got {target.shape}: give one class per row"
            )
        index = np.expand_dims(target.array if isinstance(target, Tensor) else target, -1)
        loss = -np.squeeze(take_along_axis(log_probs, index), -1)
    else:
        _same_shape(logits, target, "cross_entropy")
        loss = -sum(log_probs * target, axis=-1)
    return _reduce(loss, reduction, "cross_entropy")


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / √(var + eps) over the last axis, times weight, plus bias (Ba et al. 2016)."""
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != x.shape[-1:]:
            raise ShapeError(f"layer_norm: expected {name} of shape {x.shape[-1:]} for x {x.shape}, got {p.shape}")
    centered = x - mean(x, axis=-1, keepdims=True)
    y = centered / np.sqrt(mean(centered * centered, axis=-1, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(x: Any, p: float, rng: np.random.Generator, training: bool = True) -> Any:
    """Zero each element with probability `p` and scale the rest by 1 / (1 - p); x itself if not training."""
    if not 0 <= p < 1:
        raise ConfigError(f"dropout: expected a probability in [0, 1), got {p}")
    if not training or p == 0:
        return x
    keep = rng.random(x.shape, dtype=np.float32) >= p
    return x * (keep.astype(x.dtype) * x.dtype.type(1 / (1 - p)))


class Entropy(Op):
    """y = -Σ e^l l over the last axis, of log-probabilities l; dl = -e^l (l + 1)."""

    def forward(self, log_probs: Any) -> Any:
        l = np.maximum(log_probs, np.finfo(log_probs.dtype).min)  # p = 0: 0 · log 0 is 0, not nan
        self.p = np.exp(l)
        return -np.einsum("...i,...i->...", self.p, l)

    def backward(self, g: Any, y: Any, log_probs: Any) -> Any:
        l = np.maximum(log_probs, np.finfo(log_probs.dtype).min)
        p = np.exp(l) if isinstance(l, Tensor) else self.p
        return -np.expand_dims(g, -1) * p * (l + 1)


def entropy(log_probs: Any) -> Any:
    """Shannon entropy -Σ p log p in nats over the last axis of log-probabilities; p = 0 counts as 0."""
    return Entropy()(log_probs)
