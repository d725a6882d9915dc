"""What policy gradients read of a policy: its log-probabilities, its entropy, the clipped surrogate; an op each."""

import math
from typing import Any

import numpy as np

from dbrrl.autodiff.arithmetic import clip, minimum, subtract
from dbrrl.autodiff.chosen import choices
from dbrrl.autodiff.elementwise import exp
from dbrrl.autodiff.index import applied, numbers
from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import contiguous, fold, mean, rowwise, softmax, sum
from dbrrl.autodiff.tensor import Tensor, constant, kept, plain, wants_gradients
from dbrrl.backend import beside
from dbrrl.errors import ShapeError
from dbrrl.kernels.cuda import kernels
from dbrrl.kernels.cuda import policy as rows


class Entropy(Op):
    """y = -Σ e^l l over the last axis, of log-probabilities l; dl = -e^l (l + 1)."""

    sums = True

    def forward(self, log_probs: Any) -> Any:
        if rowwise(log_probs):
            y = np.empty_like(log_probs, shape=log_probs.shape[:-1])
            rows.entropy_rows(log_probs, log_probs.shape[-1], y, size=y.size)
            return y
        self.p = np.exp(log_probs)
        t = self.p * np.maximum(log_probs, LOWEST)  # p = 0: 0 · log 0 is 0, not nan
        return -np.add.reduce(t, -1)

    def backward(self, g: Any, y: Any, log_probs: Any) -> Any:
        if isinstance(g, Tensor):
            finite = np.maximum(log_probs, LOWEST)
            return -np.expand_dims(g, -1) * np.exp(finite) * (finite + 1)
        if rowwise(log_probs):
            gx = np.empty_like(log_probs)
            rows.entropy_rows_back(contiguous(g), log_probs, log_probs.shape[-1], gx, size=gx.size)
            return gx
        gl = np.maximum(log_probs, LOWEST)
        gl += 1
        gl *= self.p
        gl *= -g[..., None]
        return gl


LOWEST = -1e30  # stands for log 0: finite, so that its product with a probability of 0 is 0


def entropy(log_probs: Any) -> Any:
    """Shannon entropy -Σ p log p in nats over the last axis of log-probabilities; p = 0 counts as 0."""
    return Entropy()(log_probs)


class CategoricalLogProb(Op):
    """y[i] = x[i, k[i]] - ln Σ e^x[i], the log-probability of choice k; dx = g (onehot k - softmax x)."""

    sums = True

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, logits: Any) -> Any:
        if rowwise(logits):
            self.probs, y = np.empty_like(logits), np.empty_like(logits, shape=logits.shape[:1])
            rows.categorical(logits, contiguous(self.index), logits.shape[1], self.probs, y, size=y.size)
            return y
        self.place = self.index, numbers(len(self.index), self.index)  # of the chosen in the transposed logits
        z = logits.T.copy()  # the first axis is much faster to reduce than a short last one
        z -= fold(np.maximum, z, 0)
        chosen = z[self.place]
        np.exp(z, out=z)
        total = np.add.reduce(z, 0)
        z /= total
        self.probs = z
        return chosen - np.log(total)

    def backward(self, g: Any, y: Any, logits: Any) -> Any:
        if isinstance(g, Tensor):
            hit = self.index[:, None] == numbers(logits.shape[1], self.index)
            return np.expand_dims(g, -1) * (hit.astype(g.dtype) - softmax(logits))
        if rowwise(logits):
            gx = np.empty_like(logits)
            numbers_of = contiguous(g), self.probs, contiguous(self.index), logits.shape[1]
            rows.categorical_back(*numbers_of, gx, size=gx.size)
            return gx
        gz = self.probs * -g
        gz[self.place] += g
        return gz.T


def categorical_log_prob(logits: Any, index: Any) -> Any:
    """The value log softmax(logits)[i, index[i]] for each row i: logits (n, k) and integers (n,) give (n,)."""
    index = choices("categorical_log_prob", logits, index)
    return applied(CategoricalLogProb(index), "categorical_log_prob", index, logits.shape[1], logits)


def _number(x: Any, dtype: Any) -> Any:
    """A number as it is; an array without axes, on a GPU, in the type of what it meets."""
    return x.astype(dtype, copy=False) if hasattr(x, "astype") and not isinstance(x, np.generic) else float(x)


class ClippedSurrogate(Op):
    """y = mean of min(r A, clip(r, 1 ± ε) A), r = e^(l - l_old); dl = r A / n where the first is smaller, else 0."""

    def __init__(self, old_log_prob: Any, advantage: Any, clip_range: float) -> None:
        self.old, self.advantage, self.clip_range = old_log_prob, advantage, clip_range

    def forward(self, log_prob: Any) -> Any:
        if type(log_prob) is not np.ndarray:
            y, self.slope = rows.surrogate(log_prob, self.old, self.advantage, self.clip_range)
            return np.sum(y) / len(y)
        self.ratio = np.exp(log_prob - self.old)
        limited = np.minimum(np.maximum(self.ratio, 1 - self.clip_range), 1 + self.clip_range)
        limited *= self.advantage
        y = self.ratio * self.advantage
        self.active = y <= limited
        return np.add.reduce(np.minimum(y, limited, out=limited)) / len(y)

    def backward(self, g: Any, y: Any, log_prob: Any) -> Any:
        if isinstance(g, Tensor):
            ratio = np.exp(log_prob - self.old)
            limited = np.minimum(np.maximum(ratio.array, 1 - self.clip_range), 1 + self.clip_range) * self.advantage
            active = np.less_equal(ratio.array * self.advantage, limited)
            return ratio * (self.advantage * active) * (g / len(self.old))
        if type(log_prob) is not np.ndarray:
            return kernels.scaled(self.slope, g, 1 / len(self.old))
        return self.ratio * (self.advantage * self.active) * (g / len(self.old))


def clipped_surrogate(log_prob: Any, old_log_prob: Any, advantage: Any, clip_range: Any) -> Any:
    """Mean of min(r A, clip(r, 1 - ε, 1 + ε) A), with r = e^(log_prob - old_log_prob): the objective of PPO
    (Schulman et al. 2017, eq. 7), to be maximized. Arrays (n,) of one shape.
    """
    array = plain(log_prob)
    old, advantage = old_log_prob, advantage
    served = wants_gradients(old) or wants_gradients(advantage)
    if not served:
        old, advantage = beside(array, (kept(old), kept(advantage)))
    if not log_prob.shape == old.shape == advantage.shape or len(old.shape) != 1 or not old.size:
        raise ShapeError(
            "clipped_surrogate: expected three arrays (n,) of at least one number, got "
            f"{log_prob.shape}, {old.shape}, {advantage.shape}: flatten time and environments first"
        )
    if is_half(array):
        wide = clipped_surrogate(log_prob.astype(np.float32), old, advantage, clip_range)
        return wide.astype(np.float16)
    limit = _number(constant(clip_range, "clipped_surrogate: clip_range"), array.dtype)
    if served:
        ratio = exp(subtract(log_prob, old))
        return mean(minimum(ratio * advantage, clip(ratio, 1 - limit, 1 + limit) * advantage))
    old, advantage = (x.astype(array.dtype, copy=False) for x in (old, advantage))
    return ClippedSurrogate(old, advantage, limit)(log_prob)


class NormalLogProb(Op):
    """y = Σ -½ z² - l - ½ ln 2π over the last axis, z = (x - m) e^-l; dm = g z e^-l, dl = g (z² - 1)."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def forward(self, mean: Any, log_std: Any) -> Any:
        mean = contiguous(mean)
        self.z, y = np.empty_like(mean), np.empty_like(mean, shape=mean.shape[:1])
        wide = int(log_std.ndim == 2)
        rows.normal(self.x, mean, contiguous(log_std), mean.shape[1], wide, self.z, y, size=y.size)
        return y

    def backward(self, g: Any, y: Any, mean: Any, log_std: Any) -> Any:
        if isinstance(g, Tensor):
            inverse, column = np.exp(-log_std), np.expand_dims(g, -1)
            z = (self.x - mean) * inverse
            return column * z * inverse, column * (z * z - 1)
        to_mean, to_log_std = np.empty_like(self.z), np.empty_like(self.z)
        arrays = contiguous(g), self.z, contiguous(log_std)
        wide = int(log_std.ndim == 2)
        rows.normal_back(*arrays, mean.shape[1], wide, to_mean, to_log_std, size=mean.size)
        return to_mean, to_log_std


def normal_log_prob(mean: Any, log_std: Any, x: Any) -> Any:
    """The log-density of independent normals in each row, (B,): mean (B, n), log_std (n,) or (B, n) and x (B, n).

    Raises:
        ShapeError: x has another shape than the mean, or one is no matrix.
    """
    served = wants_gradients(x)
    x = x if served else beside(plain(mean), kept(x))
    if len(mean.shape) != 2 or x.shape != mean.shape or log_std.shape not in (mean.shape, mean.shape[1:]):
        raise ShapeError(
            f"normal_log_prob: expected mean (B, n), log_std (n,) or (B, n) and x (B, n), got {mean.shape}, "
            f"{log_std.shape} and {x.shape}: give one sample per row"
        )
    if is_half(mean) and is_half(log_std):
        return normal_log_prob(mean.astype(np.float32), log_std.astype(np.float32), x).astype(np.float16)
    if served:
        z = subtract(x, mean) * exp(-log_std)
        return sum(z * z * -0.5 - log_std - 0.5 * math.log(2 * math.pi), -1)
    x = contiguous(x.astype(mean.dtype, copy=False))
    return NormalLogProb(x)(mean, log_std)
