"""Losses, normalization and dropout, composed of the ops or fused where that is much faster."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.autodiff.arithmetic import where
from dbrrl.autodiff.elementwise import constant_like
from dbrrl.autodiff.index import check_classes, take_along_axis
from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import LogSoftmax, log_softmax, mean, sum
from dbrrl.autodiff.tensor import Tensor, constant, kept, plain
from dbrrl.autodiff.variance import less_mean
from dbrrl.backend import replaceable, to_device_of
from dbrrl.errors import ConfigError, ShapeError

REDUCTIONS = ("mean", "sum", "none")


def _reduce(x: Any, reduction: str, name: str) -> Any:
    if reduction not in REDUCTIONS:
        raise ConfigError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
    return x if reduction == "none" else mean(x) if reduction == "mean" else sum(x)


def _same_shape(prediction: Any, target: Any, name: str) -> None:
    target = plain(target)
    if (target.shape if hasattr(target, "shape") else np.shape(target)) != prediction.shape:
        raise ShapeError(
            f"{name}: expected prediction and target of one shape, got {prediction.shape} and "
            f"{np.shape(target)}: broadcasting here is nearly always a mistake, reshape one"
        )


def _in_float32(loss: Callable[..., Any], prediction: Any, target: Any, *settings: Any) -> Any:
    """The loss of a prediction in float16, which may hold its mean though not its squares."""
    y = loss(prediction.astype(np.float32), target, *settings)
    wide = isinstance(target, Tensor) and target.dtype.itemsize > 2
    return y if wide else y.astype(np.float16)


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
    constant = hasattr(target, "shape") and not isinstance(target, Tensor | np.generic)
    if reduction == "mean" and constant and prediction.shape == target.shape and target.size:
        return MeanSquaredError()(prediction, target)
    _same_shape(prediction, target, "mse_loss")
    if is_half(prediction):
        return _in_float32(mse_loss, prediction, target, reduction)
    return _reduce(SquaredError()(prediction, target), reduction, "mse_loss")


class Huber(Op):
    """y = d²/2 where |d| <= delta, else delta (|d| - delta/2), with d = a - b; da = clip(d, ±delta)."""

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def forward(self, a: Any, b: Any) -> Any:
        self.d = a - b
        d = np.abs(self.d)
        inside = self.inside = np.minimum(d, constant_like(d, self.delta))
        return inside * (d - 0.5 * inside)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        if isinstance(g, Tensor):
            ga = g * np.clip(a - b, -self.delta, self.delta)
        else:
            ga = np.copysign(self.inside, self.d)
            ga *= g
        return ga, -ga if self.needs(1) else None


def huber_loss(prediction: Any, target: Any, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Huber loss (1964): quadratic up to an error of `delta`, linear beyond."""
    _same_shape(prediction, target, "huber_loss")
    if not delta > 0:
        raise ConfigError(f"huber_loss: expected delta above 0, got {delta}")
    if is_half(prediction):
        return _in_float32(huber_loss, prediction, target, delta, reduction)
    return _reduce(Huber(float(delta))(prediction, target), reduction, "huber_loss")


class CrossEntropy(Op):
    """y = -Σ p log softmax(x) over the last axis; dx = g (softmax(x) Σ p - p), dp = -g log softmax(x)."""

    sums = True

    def forward(self, x: Any, p: Any) -> Any:
        self.inner = LogSoftmax.serving(x)(x.ndim - 1)
        self.log_probs = self.inner.forward(x)
        return -np.add.reduce(self.log_probs * p, -1)

    def backward(self, g: Any, y: Any, x: Any, p: Any) -> Any:
        log_probs, g = log_softmax(x) if isinstance(g, Tensor) else self.log_probs, np.expand_dims(-g, -1)
        gx = self.inner.backward(g * p, log_probs, x) if self.needs(0) else None
        return gx, g * log_probs if self.needs(1) else None


def cross_entropy(
    logits: Any,
    target: Any,
    reduction: str = "mean",
    *,
    ignore_index: int | None = None,
    weight: Any = None,
    label_smoothing: float = 0.0,
) -> Any:
    """-log softmax(logits)[target] for logits (..., classes) and integer classes (...), or -Σ p log softmax for
    target probabilities p of the shape of logits.

    Args:
        reduction: "mean", "sum", or "none" for one loss per row. With classes and `weight` the mean is that of the
            rows weighed by the weights of their classes.
        ignore_index: a class number, within the range or not, whose rows count as 0 and are left out of the mean.
        weight: (classes,), by which the part of each class in the sum is multiplied.
        label_smoothing: ε in [0, 1]: the target is (1 - ε) p + ε / classes (Szegedy et al. 2016, section 7).

    Raises:
        ShapeError: shapes do not fit; a class out of range (the message names the row; not looked at on a GPU); no
            rows left to average.
        ConfigError: a reduction or smoothing that is none, or `ignore_index` with probabilities.
    """
    target = target if hasattr(target, "dtype") else np.asarray(target)
    plain_loss = ignore_index is None and weight is None and not label_smoothing
    if target.dtype.kind not in "iu":
        _same_shape(logits, target, "cross_entropy")
        if not plain_loss:
            if ignore_index is not None:
                raise ConfigError("cross_entropy: expected classes with ignore_index, got probabilities: drop rows")
            weight = _options(logits, weight, label_smoothing)
            target = _smoothed(target, label_smoothing, logits.shape[-1])
            target = target if weight is None else target * weight
        return _reduce(CrossEntropy()(logits, target), reduction, "cross_entropy")
    if target.shape != logits.shape[:-1]:
        raise ShapeError(
            f"cross_entropy: expected integer targets of shape {logits.shape[:-1]} for logits {logits.shape}, "
            f"got {target.shape}: give one class per row"
        )
    index = kept(target)
    if not plain_loss:
        weight = _options(logits, weight, label_smoothing)
        return _of_classes(logits, index, reduction, ignore_index, weight, label_smoothing)
    check_classes(index, logits.shape[-1], "cross_entropy")
    loss = -np.squeeze(take_along_axis(log_softmax(logits), np.expand_dims(index, -1)), -1)
    return _reduce(loss, reduction, "cross_entropy")


def _options(logits: Any, weight: Any, smoothing: float) -> Any:
    """The weights of the classes in the type of the logits and where those are; errors where options make no sense."""
    if not 0 <= smoothing <= 1:
        raise ConfigError(f"cross_entropy: expected label_smoothing in [0, 1], got {smoothing}")
    if weight is None:
        return None
    weight = weight if hasattr(weight, "shape") else np.asarray(weight)
    if weight.shape != logits.shape[-1:]:
        raise ShapeError(f"cross_entropy: expected weight of shape {logits.shape[-1:]}, got {weight.shape}")
    values = plain(constant(weight, "cross_entropy: weight"))
    return to_device_of(plain(logits), values.astype(logits.dtype, copy=False))


def _smoothed(target: Any, smoothing: float, classes: int) -> Any:
    return target * (1 - smoothing) + smoothing / classes if smoothing else target


def _of_classes(logits: Any, index: Any, reduction: str, ignored: int | None, weight: Any, smoothing: float) -> Any:
    """The cross-entropy of integer classes with the options of `cross_entropy`."""
    index, classes, dtype = to_device_of(plain(logits), index), logits.shape[-1], logits.dtype
    left_out = np.equal(index, ignored) if ignored is not None else np.zeros_like(index, dtype=bool)
    index = np.where(left_out, 0, index)
    check_classes(index, classes, "cross_entropy")
    log_probs = log_softmax(logits)
    each = np.ones_like(plain(logits), shape=index.shape) if weight is None else weight[index]
    loss = -np.squeeze(take_along_axis(log_probs, np.expand_dims(index, -1)), -1) * each
    if smoothing:
        spread = -sum(log_probs if weight is None else log_probs * weight, -1)
        loss = loss * (1 - smoothing) + spread * (smoothing / classes)
    loss = where(left_out, 0.0, loss)  # not times 0: a logit of -inf would make it nan
    if reduction != "mean":
        return _reduce(loss, reduction, "cross_entropy")
    if all_true(left_out):
        raise ShapeError(
            f"cross_entropy: expected at least one row to average, got {left_out.size}, all of ignore_index: "
            "skip the batch, or take reduction='sum'"
        )
    return sum(loss) / np.sum(each * np.logical_not(left_out).astype(dtype))


@replaceable
def all_true(mask: Any) -> bool:
    """Whether all of an array of booleans are True; False for one on a GPU, which would have to be waited for."""
    return bool(mask.all())


def layer_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / √(var + eps) over the last axis, times weight, plus bias (Ba et al. 2016)."""
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != x.shape[-1:]:
            raise ShapeError(f"layer_norm: expected {name} of shape {x.shape[-1:]} for x {x.shape}, got {p.shape}")
    if is_half(x):
        y = layer_norm(x.astype(np.float32), eps=eps).astype(np.float16)
    else:
        centered = less_mean(x, (x.ndim - 1,))
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
    return x * to_device_of(plain(x), keep.astype(x.dtype) * x.dtype.type(1 / (1 - p)))


class MeanSquaredError(Op):
    """y = Σ (a - b)² / n; da = 2 (a - b) / n."""

    sums = True

    def forward(self, a: Any, b: Any) -> Any:
        self.d = a - b
        d = self.d.reshape(-1)
        return np.dot(d, d) / d.size

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        d = a - b if isinstance(g, Tensor) else self.d
        ga = d * (g * (2 / d.size))
        return ga, -ga if self.needs(1) else None
