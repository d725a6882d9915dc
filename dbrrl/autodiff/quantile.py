"""The quantile Huber loss, over all pairs of a prediction and a target, or from sums over sorted targets."""

from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import constant_like
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, constant, kept, plain
from dbrrl.backend import to_device_of
from dbrrl.errors import ShapeError

MANY = 64 * 64  # pairs in a row from which sorting is the quicker way


class QuantileHuber(Op):
    """y = Σᵢ mean_j w h(d), d = bⱼ - aᵢ, w = |τᵢ - 1{d < 0}|, h Huber's with delta 1; daᵢ = -mean_j w clip(d, ±1).

    `forward` leaves d in `error`, (n, N, M) as all that is computed within.
    """

    sums = True

    def __init__(self, fractions: Any) -> None:
        self.fractions = fractions

    def forward(self, a: Any, b: Any) -> Any:
        error = self.error = b[:, None, :] - a[:, :, None]
        weight = self.weight = np.less(error, 0).astype(error.dtype)
        np.subtract(self.fractions[..., None], weight, out=weight)
        np.abs(weight, out=weight)
        weight /= b.shape[1]
        each = np.abs(error)
        inside = np.minimum(each, constant_like(each, 1))
        each -= 0.5 * inside
        each *= inside
        each *= weight
        return np.add.reduce(each, axis=(1, 2))

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        each = self.weight * np.reshape(g, (-1, 1, 1))
        if isinstance(g, Tensor):
            each = each * np.clip(np.expand_dims(b, 1) - np.expand_dims(a, 2), -1, 1)
        else:
            slope = np.minimum(self.error, constant_like(self.error, 1))
            each *= np.maximum(slope, constant_like(slope, -1), out=slope)
        return -np.sum(each, axis=2), np.sum(each, axis=1) if self.needs(1) else None


class SortedQuantileHuber(QuantileHuber):
    """The same from sums over sorted targets, O((N + M) log (N + M)) for each row in place of O(N M); of float32.

    Where targets are sorted, those with d below -1, in [-1, 0), in [0, 1) and from 1 on are neighbors. The share of
    such a part in y and in daᵢ follows from its number n, s = Σ bⱼ and q = Σ bⱼ²: Σ d = s - n aᵢ, and
    Σ d² = q - 2 aᵢ s + n aᵢ². Nothing is approximated; the sums are float64, of distances to the mean target, so that
    little is lost where they cancel.
    """

    def forward(self, a: Any, b: Any) -> Any:
        with np.errstate(invalid="ignore"):  # infinite numbers give nan, which is for the caller to see
            mean, dtype = b.mean(axis=1, keepdims=True), np.result_type(a, b)
            tau = self.fractions.astype(np.float64)
            b, a = np.sort(b - mean, axis=1), a - mean
            limits = np.concatenate([a - 1, a, a + 1], axis=1)
            count = below(b, limits)
            n = parts(count.astype(np.float64), b.shape[1])
            s, q = (parts(entries(total, count), total[:, -1:]) for total in running_sums(b))
            d = [total - a * number for total, number in zip(s, n, strict=True)]
            squares = [q[i] - a * (s[i] + d[i]) for i in (1, 2)]
            under, over = squares[0] / 2 - d[0] - n[0] / 2, squares[1] / 2 + d[3] - n[3] / 2
            self.slope = (((1 - tau) * (n[0] - d[1]) - tau * (d[2] + n[3])) / b.shape[1]).astype(dtype)
            return (((1 - tau) * under + tau * over).sum(axis=1) / b.shape[1]).astype(dtype)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        if isinstance(g, Tensor) or self.needs(1):
            super().forward(plain(a), plain(b))
            return super().backward(g, y, a, b)
        return self.slope * g[:, None], None


def running_sums(b: Any) -> tuple[Any, Any]:
    """Return the sums of the first 0 ... M entries of each row of b (n, M), and of their squares: (n, M + 1) each."""
    first, second = np.zeros((2, len(b), b.shape[1] + 1))
    np.cumsum(b, axis=1, out=first[:, 1:], dtype=np.float64)
    np.cumsum(np.square(b, dtype=np.float64), axis=1, out=second[:, 1:])
    return first, second


def below(b: Any, limits: Any) -> Any:
    """Return how many entries of each row of b (n, M) are below each limit of the row, (n, L): integers (n, L)."""
    order = np.argsort(np.concatenate([b, limits], axis=1), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    return entries(np.cumsum(order < b.shape[1], axis=1), place[:, b.shape[1] :])


def entries(x: Any, index: Any) -> Any:
    """Return x[i, index[i, j]] for x (n, K) and index (n, L): quicker than `take_along_axis`."""
    return x.reshape(-1).take(index + np.arange(0, x.size, x.shape[1])[:, None])


def parts(first: Any, whole: Any) -> tuple[Any, Any, Any, Any]:
    """Return the sums below, between and above three limits, from the sums below each of them, (n, 3 N)."""
    low, middle, high = np.split(first, 3, axis=1)
    return low, middle - low, high - middle, whole - high


def quantile_huber_loss(prediction: Any, target: Any, fractions: Any) -> Any:
    """The quantile Huber loss (Dabney et al. 2018, eq. 9 and 10, κ = 1), summed over predictions, a mean over targets.

    Args:
        prediction: (n, N), quantiles of a distribution at `fractions`.
        target: (n, M), samples of it.
        fractions: array (N,) or (n, N).

    Returns:
        (n,), one loss for each row.
    """
    wrong = len(prediction.shape) != 2 or len(target.shape) != 2 or prediction.shape[0] != target.shape[0]
    if wrong or fractions.shape not in (prediction.shape, prediction.shape[1:]):
        raise ShapeError(
            f"quantile_huber_loss: expected prediction (n, N), target (n, M) and fractions (N,) or (n, N), got "
            f"{prediction.shape}, {target.shape} and {fractions.shape}: reshape them"
        )
    fractions = to_device_of(plain(prediction), kept(constant(fractions, "quantile_huber_loss: fractions")))
    many = prediction.shape[1] * target.shape[1] > MANY and max(prediction.dtype.itemsize, target.dtype.itemsize) <= 4
    return (SortedQuantileHuber if many else QuantileHuber)(fractions)(prediction, target)
