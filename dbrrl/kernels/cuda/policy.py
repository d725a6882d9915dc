"""Log-probabilities, entropies and the clipped surrogate on a GPU: a thread for each row of a few choices."""

from typing import Any

import numpy as np

from dbrrl.autodiff import policy, reduce
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.policy import HALF_LOG_2PI
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module, replaces

from .arrays import Chosen
from .kernels import Kernel, scaled


def _surrogate(log_prob: Any, old: Any, advantage: Any, clip_range: Any) -> tuple[Any, Any]:
    ratio = np.exp(log_prob - old)
    limited = np.minimum(np.maximum(ratio, 1 - clip_range), 1 + clip_range) * advantage
    y = ratio * advantage
    return np.minimum(y, limited), y * np.less_equal(y, limited)


# min(r A, clip(r, 1 ± ε) A) and its derivative by the log-probability (Schulman et al. 2017, eq. 7).
surrogate = Kernel(
    "surrogate", "T log_prob, T old, T advantage, T clip_range", "T value, T slope",
    """
    T ratio = exp(log_prob - old);
    T y = ratio * advantage, limited = min(max(ratio, 1 - clip_range), 1 + clip_range) * advantage;
    value = y != y || y < limited ? y : limited;  // min() would hide what is no number
    slope = y <= limited || y != y ? y : T(0);
    """,
    _surrogate,
)  # fmt: skip


def _log_softmax(x: Any, y: Any) -> None:
    z = x - np.max(x, axis=-1, keepdims=True)
    np.subtract(z, np.log(np.sum(np.exp(z), axis=-1, keepdims=True)), out=y)


_ROW = """
    const ptrdiff_t k = n, at = i * k;
    T top = x[at];
    for (ptrdiff_t j = 1; j < k; ++j) top = x[at + j] > top || x[at + j] != x[at + j] ? x[at + j] : top;
    T total = 0;
    for (ptrdiff_t j = 0; j < k; ++j) total += exp(x[at + j] - top);
"""
# One thread a row: for the few choices of an action space. `n`: how many choices; all arrays contiguous.
log_softmax_rows = Kernel(
    "log_softmax_rows", "raw T x, int64 n", "raw T y",
    _ROW + "    T log_total = log(total); for (ptrdiff_t j = 0; j < k; ++j) y[at + j] = x[at + j] - top - log_total;",
    lambda x, n, y: _log_softmax(x, y),
)  # fmt: skip


def _log_softmax_back(g: Any, y: Any, n: int, gx: Any) -> None:
    np.subtract(g, np.exp(y) * np.sum(g, axis=-1, keepdims=True), out=gx)


log_softmax_rows_back = Kernel(
    "log_softmax_rows_back", "raw T g, raw T y, int64 n", "raw T gx",
    """
    const ptrdiff_t k = n, at = i * k;
    T total = 0;
    for (ptrdiff_t j = 0; j < k; ++j) total += g[at + j];
    for (ptrdiff_t j = 0; j < k; ++j) gx[at + j] = g[at + j] - exp(y[at + j]) * total;
    """,
    _log_softmax_back,
)  # fmt: skip


def _chosen(x: Any, index: Any, n: int, probs: Any, y: Any) -> None:
    z = x - np.max(x, axis=-1, keepdims=True)
    e = np.exp(z)
    total = np.sum(e, axis=-1, keepdims=True)
    np.divide(e, total, out=probs)
    np.subtract(np.take_along_axis(z, index[:, None], -1)[:, 0], np.log(total)[:, 0], out=y)


categorical = Kernel(
    "categorical", "raw T x, raw I index, int64 n", "raw T probs, raw T y",
    _ROW + """
    for (ptrdiff_t j = 0; j < k; ++j) probs[at + j] = exp(x[at + j] - top) / total;
    const ptrdiff_t c = index[i];
    y[i] = c < 0 || c >= k ? T(nan("")) : x[at + c] - top - log(total);
    """,
    _chosen,
)  # fmt: skip


def _chosen_back(g: Any, probs: Any, index: Any, n: int, gx: Any) -> None:
    hit = np.equal(index[:, None], array_module(index).arange(n))
    np.multiply(g[:, None], hit.astype(gx.dtype) - probs, out=gx)


categorical_back = Kernel(
    "categorical_back", "raw T g, raw T probs, raw I index, int64 n", "raw T gx",
    "const ptrdiff_t row = i / n, j = i - row * n; gx[i] = g[row] * (T(index[row] == j) - probs[i])",
    _chosen_back,
)  # fmt: skip


def _normal(x: Any, mean: Any, log_std: Any, n: int, wide: int, z: Any, y: Any) -> None:
    np.multiply(x - mean, np.exp(-log_std), out=z)
    np.sum(z * z * -0.5 - log_std - HALF_LOG_2PI, axis=-1, out=y)


# One thread a row of n normals; `wide`: whether each row has deviations of its own.
normal = Kernel(
    "normal", "raw T x, raw T mean, raw T log_std, int64 n, int64 wide", "raw T z, raw T y",
    """
    const ptrdiff_t k = n, at = i * k, from = wide ? at : 0;
    T total = 0;
    for (ptrdiff_t j = 0; j < k; ++j) {
        const T l = log_std[from + j], d = (x[at + j] - mean[at + j]) * exp(-l);
        z[at + j] = d;
        total += T(-0.5) * d * d - l - T(0.9189385332046727);
    }
    y[i] = total;
    """,
    _normal,
)  # fmt: skip


def _normal_back(g: Any, z: Any, log_std: Any, n: int, wide: int, to_mean: Any, to_log_std: Any) -> None:
    np.multiply(g[:, None] * z, np.exp(-log_std), out=to_mean)
    np.multiply(g[:, None], z * z - 1, out=to_log_std)


normal_back = Kernel(
    "normal_back", "raw T g, raw T z, raw T log_std, int64 n, int64 wide", "raw T to_mean, raw T to_log_std",
    """
    const ptrdiff_t row = i / n;
    to_mean[i] = g[row] * z[i] * exp(-log_std[wide ? i : i - row * n]);
    to_log_std[i] = g[row] * (z[i] * z[i] - 1);
    """,
    _normal_back,
)  # fmt: skip


def _entropy(x: Any, n: int, y: Any) -> None:
    finite = np.maximum(x, -1e30)
    np.negative(np.sum(np.exp(x) * finite, axis=-1), out=y)


entropy_rows = Kernel(
    "entropy_rows", "raw T x, int64 n", "raw T y",
    """
    const ptrdiff_t k = n, at = i * k;
    T total = 0;
    for (ptrdiff_t j = 0; j < k; ++j) { T l = x[at + j]; total += exp(l) * (l > T(-1e30) || l != l ? l : T(-1e30)); }
    y[i] = -total;
    """,
    _entropy,
)  # fmt: skip


def _entropy_back(g: Any, x: Any, n: int, gx: Any) -> None:
    np.multiply(-g[:, None] * np.exp(x), np.maximum(x, -1e30) + 1, out=gx)


entropy_rows_back = Kernel(
    "entropy_rows_back", "raw T g, raw T x, int64 n", "raw T gx",
    "T l = x[i]; gx[i] = -g[i / n] * exp(l) * ((l > T(-1e30) || l != l ? l : T(-1e30)) + 1)",
    _entropy_back,
)  # fmt: skip


def rowwise(x: Any) -> bool:
    """Whether the last axis of x is short enough for a thread to take a row."""
    return x.ndim > 1 and 0 < x.shape[-1] <= 64 and x.size > 0 and x.flags.c_contiguous  # type: ignore[no-any-return]


def contiguous(x: Any) -> Any:
    """`x` in C order: itself, or a copy."""
    return x if x.flags.c_contiguous else x.copy(order="C")


@replaces(reduce.LogSoftmax, "cuda")
class LogSoftmax(reduce.LogSoftmax):
    """Short rows in one kernel."""

    def forward(self, x: Any) -> Any:
        if self.axis != x.ndim - 1 or not rowwise(x):
            return super().forward(x)
        y = np.empty_like(x)
        log_softmax_rows(x, x.shape[-1], y, size=x.size // x.shape[-1])
        return y

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        if isinstance(g, Tensor) or self.axis != y.ndim - 1 or not rowwise(y):
            return super().backward(g, y, x)
        gx = np.empty_like(y)
        log_softmax_rows_back(contiguous(g), y, y.shape[-1], gx, size=y.size // y.shape[-1])
        return gx


@replaces(policy.Entropy, "cuda")
class Entropy(policy.Entropy):
    """Short rows in one kernel."""

    def forward(self, log_probs: Any) -> Any:
        if not rowwise(log_probs):
            return super().forward(log_probs)
        y = np.empty_like(log_probs, shape=log_probs.shape[:-1])
        entropy_rows(log_probs, log_probs.shape[-1], y, size=y.size)
        return y

    def backward(self, g: Any, y: Any, log_probs: Any) -> Any:
        if isinstance(g, Tensor) or not rowwise(log_probs):
            return super().backward(g, y, log_probs)
        gx = np.empty_like(log_probs)
        entropy_rows_back(contiguous(g), log_probs, log_probs.shape[-1], gx, size=gx.size)
        return gx


@replaces(policy.CategoricalLogProb, "cuda")
class CategoricalLogProb(Chosen, policy.CategoricalLogProb):
    """Short rows in one kernel."""

    def forward(self, logits: Any) -> Any:
        if not rowwise(logits):
            return super().forward(logits)
        self.probs, y = np.empty_like(logits), np.empty_like(logits, shape=logits.shape[:1])
        categorical(logits, contiguous(self.index), logits.shape[1], self.probs, y, size=y.size)
        return y

    def backward(self, g: Any, y: Any, logits: Any) -> Any:
        if isinstance(g, Tensor) or not rowwise(logits):
            return super().backward(g, y, logits)
        gx = np.empty_like(logits)
        categorical_back(contiguous(g), self.probs, contiguous(self.index), logits.shape[1], gx, size=gx.size)
        return gx


@replaces(policy.ClippedSurrogate, "cuda")
class ClippedSurrogate(policy.ClippedSurrogate):
    """Value and derivative in one kernel."""

    def forward(self, log_prob: Any) -> Any:
        y, self.slope = surrogate(log_prob, self.old, self.advantage, self.clip_range)
        return np.sum(y) / len(y)

    def backward(self, g: Any, y: Any, log_prob: Any) -> Any:
        if isinstance(g, Tensor):
            return super().backward(g, y, log_prob)
        return scaled(self.slope, g, 1 / len(self.old))


class NormalLogProb(Op):
    """y = Σ -½ z² - l - ½ ln 2π over the last axis, z = (x - m) e^-l; dm = g z e^-l, dl = g (z² - 1)."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def forward(self, mean: Any, log_std: Any) -> Any:
        mean = contiguous(mean)
        self.z, y = np.empty_like(mean), np.empty_like(mean, shape=mean.shape[:1])
        wide = int(log_std.ndim == 2)
        normal(self.x, mean, contiguous(log_std), mean.shape[1], wide, self.z, y, size=y.size)
        return y

    def backward(self, g: Any, y: Any, mean: Any, log_std: Any) -> Any:
        if isinstance(g, Tensor):
            inverse, column = np.exp(-log_std), np.expand_dims(g, -1)
            z = (self.x - mean) * inverse
            return column * z * inverse, column * (z * z - 1)
        to_mean, to_log_std = np.empty_like(self.z), np.empty_like(self.z)
        arrays = contiguous(g), self.z, contiguous(log_std)
        wide = int(log_std.ndim == 2)
        normal_back(*arrays, mean.shape[1], wide, to_mean, to_log_std, size=mean.size)
        return to_mean, to_log_std


@replaces(policy.normal_log_prob_of, "cuda")
def _normal_log_prob(x: Any, mean: Any, log_std: Any) -> Any:
    return NormalLogProb(contiguous(x))(mean, log_std)
