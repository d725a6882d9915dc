"""Pooling of images (batch, channels, height, width)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl.autodiff.conv import Pair, images, pair, places
from dbrrl.autodiff.op import Op
from dbrrl.errors import ConfigError


class _Windows:
    """The kernel's elements one by one, each as the slice of images that it meets."""

    def __init__(self, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, name: str) -> None:
        self.shape, self.kernel, self.stride, self.padding = shape, kernel, stride, padding
        self.places = places(shape, kernel, stride, padding, name)

    def pad(self, x: Any, value: Any) -> Any:
        ph, pw = self.padding
        return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value) if ph or pw else x

    def inside(self, y: Any) -> Any:
        (ph, pw), (h, w) = self.padding, self.shape[2:]
        return y[:, :, ph : ph + h, pw : pw + w]

    def slices(self) -> Iterator[tuple[Any, ...]]:
        (kh, kw), (sh, sw), (oh, ow) = self.kernel, self.stride, self.places
        for i in range(kh):
            for j in range(kw):
                yield ..., slice(i, i + sh * (oh - 1) + 1, sh), slice(j, j + sw * (ow - 1) + 1, sw)


class Pool(Op):
    """y = Σ weight_k x[window_k] over the elements k of the kernel; weights are plain numbers or masks."""

    sums = True
    saves_inputs = False

    def __init__(self, windows: _Windows, weights: list[Any]) -> None:
        self.windows, self.weights = windows, weights

    def forward(self, x: Any) -> Any:
        x = self.windows.pad(x, 0)
        y: Any = 0
        for place, weight in zip(self.windows.slices(), self.weights, strict=True):
            y = y + weight * x[place]
        return y

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return Unpool(self.windows, self.weights)(g)


class Unpool(Op):
    """x[window_k] += weight_k g: the transpose of Pool, whose transpose it is."""

    sums = True
    saves_inputs = False

    def __init__(self, windows: _Windows, weights: list[Any]) -> None:
        self.windows, self.weights = windows, weights

    def forward(self, g: Any) -> Any:
        (n, c, h, w), (ph, pw) = self.windows.shape, self.windows.padding
        x = np.zeros_like(g, shape=(n, c, h + 2 * ph, w + 2 * pw))
        for place, weight in zip(self.windows.slices(), self.weights, strict=True):
            x[place] += weight * g
        return self.windows.inside(x)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return Pool(self.windows, self.weights)(g)


class MaxPool2d(Op):
    """y = max x[window]; the gradient goes to the first of equal maxima."""

    def __init__(self, windows: _Windows) -> None:
        self.windows = windows

    def forward(self, x: Any) -> Any:
        slices = self.windows.slices()
        self.padded = self.windows.pad(x, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)
        y = self.padded[next(slices)].copy()
        for place in slices:
            np.maximum(y, self.padded[place], out=y)
        self.top = y
        return y

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        weights, free = [], np.ones_like(self.top, bool)
        for place in self.windows.slices():
            hit = free & (self.padded[place] == self.top)
            free &= ~hit
            weights.append(hit)
        return Unpool(self.windows, weights)(g)


def _pool_windows(x: Any, kernel_size: Any, stride: Any, padding: Any, name: str) -> _Windows:
    images(x, name)
    kernel = pair(kernel_size, f"{name}: kernel_size", 1)
    steps = kernel if stride is None else pair(stride, f"{name}: stride", 1)
    pad = pair(padding, f"{name}: padding", 0)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise ConfigError(f"{name}: expected padding of at most half the kernel {kernel}, got {pad}: reduce it")
    return _Windows(x.shape, kernel, steps, pad, name)


def max_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Any:
    """Largest element of each window of images (batch, channels, height, width).

    Args:
        x: images.
        kernel_size: height and width of the window, one number or a pair.
        stride: step of the window; its size by default.
        padding: elements (of -inf) added on every side, at most half the window.

    Returns:
        (batch, channels, (height + 2p - kh) // s + 1, (width + 2p - kw) // s + 1).

    Raises:
        ShapeError: x is not 4-dimensional, or smaller than the window.
        ConfigError: a size or stride below 1, or a padding out of range.
    """
    return MaxPool2d(_pool_windows(x, kernel_size, stride, padding, "max_pool2d"))(x)


def avg_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Any:
    """Mean of each window of images, padded zeros counted; arguments, result and errors: see `max_pool2d`."""
    windows = _pool_windows(x, kernel_size, stride, padding, "avg_pool2d")
    n = windows.kernel[0] * windows.kernel[1]
    return Pool(windows, [1 / n] * n)(x)
