"""Terms of policy gradients: log-probabilities, entropy, the clipped surrogate; most are one op each."""

import math
from typing import Any

import numpy as np

from dbrrl.autodiff.arithmetic import clip, minimum, subtract
from dbrrl.autodiff.chosen import choices
from dbrrl.autodiff.elementwise import exp
from dbrrl.autodiff.index import Chosen, numbers
from dbrrl.autodiff.op import Op, is_half
from dbrrl.autodiff.reduce import extreme, mean, softmax, sum
from dbrrl.autodiff.tensor import Tensor, constant, kept, plain, wants_gradients
from dbrrl.backend import replaceable, to_device_of
from dbrrl.errors import ShapeError


class Entropy(Op):
    """y = -Σ e^l l over the last axis, of log-probabilities l; dl = -e^l (l + 1)."""

    sums = True

    def forward(self, log_probs: Any) -> Any:
        self.p = np.exp(log_probs)
        t = self.p * np.maximum(log_probs, LOWEST)  # p = 0: 0 · log 0 is 0, not nan
        return -np.add.reduce(t, -1)

    def backward(self, g: Any, y: Any, log_probs: Any) -> Any:
        if isinstance(g, Tensor):
            finite = np.maximum(log_probs, LOWEST)
            return -np.expand_dims(g, -1) * np.exp(finite) * (finite + 1)
        gl = np.maximum(log_probs, LOWEST)
        gl += 1
        gl *= self.p
        gl *= -g[..., None]
        return gl


LOWEST = -1e30  # in place of log 0: finite, so that its product with a probability of 0 is 0


def entropy(log_probs: Any) -> Any:
    """Shannon entropy -Σ p log p in nats over the last axis of log-probabilities; p = 0 counts as 0."""
    return Entropy()(log_probs)


class CategoricalLogProb(Chosen, Op):
    """y[i] = x[i, k[i]] - ln Σ e^x[i], the log-probability of choice k; dx = g (onehot k - softmax x)."""

    sums = True

    def forward(self, logits: Any) -> Any:
        z = logits.T.copy()  # the first axis is much faster to reduce than a short last one
        z -= extreme(z, np.maximum, 0)
        chosen = self.chosen(z.T)
        np.exp(z, out=z)
        total = np.add.reduce(z, 0)
        z /= total
        self.probs = z
        return chosen - np.log(total)

    def backward(self, g: Any, y: Any, logits: Any) -> Any:
        if isinstance(g, Tensor):
            hit = self.index[:, None] == numbers(self.index, logits.shape[1])
            return np.expand_dims(g, -1) * (hit.astype(g.dtype) - softmax(logits))
        gz = (self.probs * -g).T
        gz[self.place] += g
        return gz


def categorical_log_prob(logits: Any, index: Any) -> Any:
    """The value log softmax(logits)[i, index[i]] for each row i: logits (n, k) and integers (n,) give (n,)."""
    index = choices("categorical_log_prob", logits, index)
    return CategoricalLogProb(index, "categorical_log_prob")(logits)


def _number(x: Any, dtype: Any) -> Any:
    """A number as it is; an array without axes, on a GPU, in the type of what it meets."""
    return x.astype(dtype, copy=False) if hasattr(x, "astype") and not isinstance(x, np.generic) else float(x)


class ClippedSurrogate(Op):
    """y = mean of min(r A, clip(r, 1 ± ε) A), r = e^(l - l_old); dl = r A / n where the first is smaller, else 0."""

    def __init__(self, old_log_prob: Any, advantage: Any, clip_range: float) -> None:
        self.old, self.advantage, self.clip_range = old_log_prob, advantage, clip_range

    def forward(self, log_prob: Any) -> Any:
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
        return self.ratio * (self.advantage * self.active) * (g / len(self.old))


def clipped_surrogate(log_prob: Any, old_log_prob: Any, advantage: Any, clip_range: Any) -> Any:
    """Mean of min(r A, clip(r, 1 - ε, 1 + ε) A), with r = e^(log_prob - old_log_prob): the objective of PPO
    (Schulman et al. 2017, eq. 7), to be maximized. Arrays (n,) of one shape.
    """
    array = plain(log_prob)
    old, advantage = old_log_prob, advantage
    served = wants_gradients(old) or wants_gradients(advantage)
    if not served:
        old, advantage = to_device_of(array, (kept(old), kept(advantage)))
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


def normal_log_prob(mean: Any, log_std: Any, x: Any) -> Any:
    """The log-density of independent normals in each row, (B,): mean (B, n), log_std (n,) or (B, n) and x (B, n).

    Raises:
        ShapeError: x has another shape than the mean, or one is no matrix.
    """
    served = wants_gradients(x)
    x = x if served else to_device_of(plain(mean), kept(x))
    if len(mean.shape) != 2 or x.shape != mean.shape or log_std.shape not in (mean.shape, mean.shape[1:]):
        raise ShapeError(
            f"normal_log_prob: expected mean (B, n), log_std (n,) or (B, n) and x (B, n), got {mean.shape}, "
            f"{log_std.shape} and {x.shape}: give one sample per row"
        )
    if is_half(mean) and is_half(log_std):
        return normal_log_prob(mean.astype(np.float32), log_std.astype(np.float32), x).astype(np.float16)
    if served:
        return _normal_log_prob(mean, log_std, x)
    return normal_log_prob_of(x.astype(mean.dtype, copy=False), mean, log_std)


@replaceable
def normal_log_prob_of(x: Any, mean: Any, log_std: Any) -> Any:
    """`normal_log_prob` of an array x of the type of the mean, which takes no gradient."""
    return _normal_log_prob(mean, log_std, x)


def _normal_log_prob(mean: Any, log_std: Any, x: Any) -> Any:
    z = subtract(x, mean) * exp(-log_std)
    return sum(z * z * -0.5 - log_std - HALF_LOG_2PI, -1)


HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
