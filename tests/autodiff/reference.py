"""The functions of all ops, written out in NumPy without regard to speed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def gelu(x: Any) -> Any:
    return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def softmax(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def layer_norm(x: Any, w: Any = 1.0, b: Any = 0.0, eps: float = 1e-5) -> Any:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * w + b


def conv2d(x: Any, w: Any, b: Any = None, stride: Any = (1, 1), padding: Any = (0, 0)) -> Any:
    """Place by place."""
    (sh, sw), (ph, pw), (kh, kw) = stride, padding, w.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    oh, ow = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    y = np.zeros((len(x), len(w), oh, ow), x.dtype)
    for i in range(oh):
        for j in range(ow):
            y[:, :, i, j] = np.einsum("ncij,ocij->no", x[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw], w)
    return y if b is None else y + b[:, None, None]


def pooled(how: Any, fill: float, kernel: Any, stride: Any, padding: Any) -> Callable[[Any], Any]:
    def reference(x: Any) -> Any:
        (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
        oh, ow = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
        y = np.zeros((*x.shape[:2], oh, ow), x.dtype)
        for i in range(oh):
            for j in range(ow):
                y[:, :, i, j] = how(x[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw], (2, 3))
        return y

    return reference


def huber(a: Any, b: Any, delta: float) -> Any:
    d = np.abs(a - b)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def quantile_huber(a: Any, b: Any, fractions: Any) -> Any:
    """Each pair by itself; fractions (N,) or (n, N)."""
    taus, (n, predictions), samples = np.broadcast_to(fractions, a.shape), a.shape, b.shape[1]
    losses = np.zeros((n, predictions, samples))
    for r, i, j in np.ndindex(losses.shape):
        losses[r, i, j] = abs(taus[r, i] - (b[r, j] < a[r, i])) * huber(a[r, i], b[r, j], 1)
    return np.sum(np.mean(losses, axis=2), axis=1)


def surrogate(log_prob: Any, old: Any, advantage: Any, eps: float) -> Any:
    r = np.exp(log_prob - old)
    return np.mean(np.minimum(r * advantage, np.clip(r, 1 - eps, 1 + eps) * advantage))


def recurrent(kind: str, reset: Any = None, lengths: Any = None) -> Callable[..., Any]:
    """Outputs and state of F.rnn, F.gru or F.lstm joined, one sequence, one step and one gate at a time."""
    parts = 2 if kind == "lstm" else 1

    def step(p: Any, u: Any, h: Any, c: Any) -> tuple[Any, Any]:
        if kind == "rnn":
            return np.tanh(p[0] + u[0]), c
        if kind == "gru":
            r, z = sigmoid(p[0] + u[0]), sigmoid(p[1] + u[1])
            return (1 - z) * np.tanh(p[2] + r * u[2]) + z * h, c
        i, f, g, o = p + u
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def reference(x: Any, wi: Any, wh: Any, *rest: Any) -> Any:
        h, c = rest[0].copy(), rest[parts - 1].copy()
        biases, size = rest[parts:] or (np.zeros(len(wi)),) * 2, wh.shape[1]
        y = np.zeros((*x.shape[:2], size))
        for b in range(x.shape[1]):
            for t in range(len(x) if lengths is None else lengths[b]):
                if reset is not None and reset[t][b]:
                    h[b] = c[b] = 0
                p, u = wi @ x[t, b] + biases[0], wh @ h[b] + biases[1]
                h[b], c[b] = step(p.reshape(-1, size), u.reshape(-1, size), h[b], c[b])
                y[t, b] = h[b]
        return np.concatenate([part.ravel() for part in (y, h, c)[: 1 + parts]])

    return reference


SAMPLES = np.linspace(-1.5, 2, 12).reshape(4, 3)


def gaussian(mean: Any, log_std: Any) -> Any:
    """The logarithm of the product of each row's densities at SAMPLES."""
    deviation = np.exp(log_std) * np.ones_like(mean)
    density = np.exp(-((SAMPLES - mean) ** 2) / (2 * deviation**2)) / np.sqrt(2 * np.pi * deviation**2)
    return np.log(density).sum(1)
