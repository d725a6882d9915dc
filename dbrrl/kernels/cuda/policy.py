"""Kernels of the heads of policies: log-probabilities and entropies, a thread for each row of a few choices."""

from typing import Any

import numpy as np

from dbrrl.backend import array_module

from .kernels import Kernel


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


HALF_LOG_2PI = 0.9189385332046727


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
