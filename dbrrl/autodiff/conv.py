"""Convolution of images (batch, channels, height, width), computed with channels last."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dbrrl.autodiff.linear import activated, before_activation
from dbrrl.autodiff.op import Op
from dbrrl.errors import ConfigError, ShapeError

Pair = tuple[int, int]
CHUNK = 2 << 20  # bytes of patches multiplied at a time: they stay in cache, and memory stays bounded


def pair(value: Any, name: str, least: int) -> Pair:
    """`value` as (down, across); ConfigError names the argument."""
    given = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(given) != 2 or any(not isinstance(v, (int, np.integer)) or v < least for v in given):
        raise ConfigError(f"{name}: expected an integer of at least {least} or a pair of them, got {value!r}")
    return int(given[0]), int(given[1])


def places(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, name: str) -> Pair:
    """The number of places at which the kernel fits, downwards and across."""
    h, w = shape[2] + 2 * padding[0], shape[3] + 2 * padding[1]
    if h < kernel[0] or w < kernel[1]:
        raise ShapeError(
            f"{name}: expected images of at least {kernel[0]}x{kernel[1]} (the kernel), got {h}x{w} "
            f"with padding, from shape {shape}: use a smaller kernel or more padding"
        )
    return (h - kernel[0]) // stride[0] + 1, (w - kernel[1]) // stride[1] + 1


def images(x: Any, name: str) -> None:
    """Refuse what is not a batch of images."""
    if np.ndim(x) != 4:
        raise ShapeError(
            f"{name}: expected x of shape (batch, channels, height, width), got {np.shape(x)}: "
            "add the missing axes, for example x[None]"
        )


def _channels_last(x: Any, padding: Pair, dtype: Any) -> Any:
    """Padded, contiguous (N, H, W, C) of (N, C, H, W): the same memory where it already is that."""
    last = np.transpose(x, (0, 2, 3, 1))
    if padding == (0, 0) and last.dtype == dtype and last.flags.c_contiguous:
        return last
    n, h, w, c = last.shape
    (ph, pw), make = padding, np.empty_like if padding == (0, 0) else np.zeros_like
    y = make(x, dtype, order="C", shape=(n, h + 2 * ph, w + 2 * pw, c))
    inside = y[:, ph : ph + h, pw : pw + w]
    if c <= 8:  # a plane at a time: an inner loop over few channels would be all overhead
        for k in range(c):
            inside[..., k] = last[..., k]
    else:
        inside[...] = last
    return y


def _patches(x: Any, kernel: Pair, stride: Pair) -> Iterator[tuple[slice, Any]]:
    """Chunks of (which images, matrix of a row per place, a column per kernel element), channels last."""
    windows = sliding_window_view(x, kernel, (1, 2))[:, :: stride[0], :: stride[1]]
    windows = np.transpose(windows, (0, 1, 2, 4, 5, 3))
    n, oh, ow, kh, kw, c = windows.shape
    width = kh * kw * c
    step = max(1, CHUNK // max(1, oh * ow * width * x.itemsize))
    room = np.empty_like(x, order="C", shape=(min(n, step), oh, ow, kh, kw, c))
    for i in range(0, n, step):
        patches = room[: n - i]
        patches[...] = windows[i : i + step]
        yield slice(i, i + step), patches.reshape(len(patches) * oh * ow, width)


def _kernel_matrix(w: Any) -> Any:
    """(kh kw in, out) of a weight (out, in, kh, kw)."""
    return np.transpose(w, (2, 3, 1, 0)).reshape(-1, w.shape[0])


class Conv2d(Op):
    """y = Σ x[window] w + b: one matrix product of patches. The three ops here are each other's gradients."""

    sums = True
    takes_integers = True

    def __init__(self, stride: Pair, padding: Pair, activation: str | None = None) -> None:
        self.stride, self.padding, self.activation = stride, padding, activation

    def forward(self, x: Any, w: Any, *b: Any) -> Any:
        oh, ow = places(x.shape, w.shape[2:], self.stride, self.padding, "conv2d")
        dtype = np.result_type(x, w) if x.dtype.kind == "f" else w.dtype
        matrix = _kernel_matrix(w)
        y = np.empty_like(x, dtype, order="C", shape=(len(x), oh, ow, len(w)))
        for part, patches in _patches(_channels_last(x, self.padding, dtype), w.shape[2:], self.stride):
            np.matmul(patches, matrix, out=y[part].reshape(len(patches), len(w)))
        if b:
            y += b[0]
        return np.transpose(activated(y, self.activation), (0, 3, 1, 2))

    def backward(self, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        g = before_activation(g, y, self.activation)
        gx = ConvInput(self.stride, self.padding, x.shape)(g, w) if self.needs(0) else None
        gw = ConvWeight(self.stride, self.padding, w.shape)(x, g) if self.needs(1) else None
        if not b:
            return gx, gw
        return gx, gw, np.sum(g, axis=(0, 2, 3)) if self.needs(2) else None


class ConvInput(Op):
    """Gradient of Conv2d for its input: each place adds g w to its window (a transposed convolution)."""

    sums = True

    def __init__(self, stride: Pair, padding: Pair, shape: tuple[int, ...]) -> None:
        self.stride, self.padding, self.shape = stride, padding, shape

    def forward(self, g: Any, w: Any) -> Any:
        (n, c, h, width), (sh, sw), (ph, pw) = self.shape, self.stride, self.padding
        out, _, kh, kw = w.shape
        _, _, oh, ow = g.shape
        # The sum in blocks of stride x stride elements: neighboring windows then overlap by whole blocks.
        down, across = -(-kh // sh), -(-kw // sw)
        rows, columns = (
            max(oh + down - 1, -(-(h + 2 * ph) // sh)),
            max(ow + across - 1, -(-(width + 2 * pw) // sw)),
        )
        y = np.zeros_like(g, order="C", shape=(n, rows, sh, columns, sw, c))
        matrix = _kernel_matrix(w).T
        flat = _channels_last(g, (0, 0), g.dtype)
        step = max(1, CHUNK // max(1, oh * ow * c * kh * kw * g.itemsize))
        for k in range(0, n, step):
            part = flat[k : k + step]
            patches = np.matmul(part.reshape(len(part) * oh * ow, out), matrix).reshape(-1, oh, ow, kh, kw, c)
            for i in range(down):
                for j in range(across):
                    block = patches[:, :, :, i * sh : (i + 1) * sh, j * sw : (j + 1) * sw]
                    _, _, _, bh, bw, _ = block.shape
                    y[k : k + step, i : i + oh, :bh, j : j + ow, :bw] += np.transpose(block, (0, 1, 3, 2, 4, 5))
        image = y.reshape(n, rows * sh, columns * sw, c)[:, ph : ph + h, pw : pw + width]
        return np.transpose(image, (0, 3, 1, 2))

    def backward(self, g: Any, y: Any, h: Any, w: Any) -> Any:
        gh = Conv2d(self.stride, self.padding)(g, w) if self.needs(0) else None
        return gh, ConvWeight(self.stride, self.padding, w.shape)(g, h) if self.needs(1) else None


class ConvWeight(Op):
    """Gradient of Conv2d for its weight: patchesᵀ g."""

    sums = True

    def __init__(self, stride: Pair, padding: Pair, shape: tuple[int, ...]) -> None:
        self.stride, self.padding, self.shape = stride, padding, shape

    def forward(self, x: Any, g: Any) -> Any:
        out, c, kh, kw = self.shape
        y = np.zeros_like(g, order="C", shape=(out, kh * kw * c))
        flat = _channels_last(g, (0, 0), g.dtype)
        for part, patches in _patches(_channels_last(x, self.padding, g.dtype), (kh, kw), self.stride):
            y += np.matmul(flat[part].reshape(len(patches), out).T, patches)
        return np.transpose(y.reshape(out, kh, kw, c), (0, 3, 1, 2))

    def backward(self, g: Any, y: Any, x: Any, h: Any) -> Any:
        gx = ConvInput(self.stride, self.padding, x.shape)(h, g) if self.needs(0) else None
        return gx, Conv2d(self.stride, self.padding)(x, g) if self.needs(1) else None


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: int | Pair = 1, padding: int | Pair = 0,
    activation: str | None = None,
) -> Any:  # fmt: skip
    """Cross-correlation y[n, o, i, j] = b[o] + Σ x[n, c, i s + u - p, j s + v - p] weight[o, c, u, v].

    Args:
        x: images (batch, in, height, width); integers are taken in the type of `weight`.
        weight: kernels (out, in, kh, kw).
        bias: (out,) or None.
        stride: step of the kernel, one number or (down, across).
        padding: zeros added on every side, one number or (down, across).
        activation: None, "tanh" or "relu": applied in the same op, which saves memory and time.

    Returns:
        (batch, out, (height + 2p - kh) // s + 1, (width + 2p - kw) // s + 1).

    Raises:
        ShapeError: x or weight is not 4-dimensional, channels differ, or the kernel is larger than the image.
        ConfigError: a stride below 1 or a negative padding.
    """
    images(x, "conv2d")
    if np.ndim(weight) != 4 or weight.shape[1] != x.shape[1]:
        raise ShapeError(
            f"conv2d: expected weight of shape (out, {x.shape[1]}, kh, kw) for x {x.shape}, "
            f"got {np.shape(weight)}: channels come second; transpose images with channels last"
        )
    if bias is not None and np.shape(bias) != weight.shape[:1]:
        raise ShapeError(
            f"conv2d: expected bias of shape {weight.shape[:1]} (output channels), got {np.shape(bias)}: "
            "reshape it, or change the weight"
        )
    steps = pair(stride, "conv2d: stride", 1), pair(padding, "conv2d: padding", 0)
    op = Conv2d(*steps, activation)
    return op(x, weight) if bias is None else op(x, weight, bias)
