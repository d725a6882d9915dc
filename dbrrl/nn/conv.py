"""Layers for images: convolution, pooling and flattening."""

import math
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.nn import init
from dbrrl.nn.layers import check_sizes, generator
from dbrrl.nn.module import Module, Parameter

Pair = int | tuple[int, int]


class Conv2d(Module):
    """Cross-correlation of images, (B, in_channels, H, W) to (B, out_channels, H', W').

    H' = (H + 2 padding - kernel) // stride + 1, and W' likewise.

    Args:
        kernel_size, stride, padding: one number, or one for each of height and width.
        gain: weights orthogonal with this gain and b = 0; by default both uniform with bound 1 / √(fan in).
        rng: generator or seed of the initial weights; from the system's entropy if None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = True,
        gain: float | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        rng = generator(rng)
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        shape = (out_channels, in_channels, *kernel)
        bound = 1 / math.sqrt(init.fans(shape)[0])
        self.weight = Parameter(init.uniform(rng, shape, bound) if gain is None else init.orthogonal(rng, shape, gain))
        start = np.zeros(out_channels, np.float32) if gain is not None else init.uniform(rng, (out_channels,), bound)
        self.bias = Parameter(start) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x: Any, activation: str | None = None) -> Any:
        """(B, in_channels, H, W) to (B, out_channels, H', W'); `activation` as in `F.conv2d`."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, activation)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"weight={self.weight.shape}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(Module):
    """Largest element of each window of images (B, C, H, W); sizes as in Conv2d, the stride by default the window."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any) -> Any:
        """(B, C, H, W) to (B, C, H', W')."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def describe(self) -> str:
        """Sizes for `repr`."""
        stride = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding}"


class AvgPool2d(MaxPool2d):
    """Mean of each window of images, padded zeros counted; otherwise as MaxPool2d."""

    def forward(self, x: Any) -> Any:
        """(B, C, H, W) to (B, C, H', W')."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class Flatten(Module):
    """All axes after the first as one: (B, ...) to (B, n)."""

    def forward(self, x: Any) -> Any:
        """(B, ...) to (B, n)."""
        return F.reshape(x, (x.shape[0], math.prod(x.shape[1:])))  # -1 is undefined for an empty batch
