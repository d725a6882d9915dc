"""Convolution on the CPU: patches and products in turn, a few images at a time."""

from typing import Any

import numpy as np

from dbrrl.autodiff import conv
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c


@replaces(conv.Conv2d, "cpu")
class _Conv2d:
    """With bias and activation while the numbers are in cache."""

    def forward(self: Any, x: Any, w: Any, *b: Any) -> Any:
        y = _c.pooled(_c.conv_forward, x, w, b[0] if b else None, self.stride, self.padding, self.activation)
        return y if y is NotImplemented else y.transpose(0, 3, 1, 2)

    def backward(self: Any, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        found = _c.pooled(
            _c.conv_gradient, g, y, self.activation
        )  # refuses a tensor, whose gradient is asked for in turn
        if found is NotImplemented:
            return found
        g, sums = found[0].transpose(0, 3, 1, 2), found[1].astype(np.float32)
        gx = conv.ConvInput(self.stride, self.padding, x.shape)(g, w) if self.needs(0) else None
        gw = conv.ConvWeight(self.stride, self.padding, w.shape)(x, g) if self.needs(1) else None
        return (gx, gw, sums if self.needs(2) else None) if b else (gx, gw)


@replaces(conv.ConvInput, "cpu")
class _ConvInput:
    """Each patch is added to the image row by row."""

    def forward(self: Any, g: Any, w: Any) -> Any:
        y = _c.pooled(_c.conv_input, g, w, self.shape, self.stride, self.padding)
        if y is NotImplemented:
            return y
        (_, _, height, width), (down, across) = self.shape, self.padding
        return y[:, down : down + height, across : across + width].transpose(0, 3, 1, 2)


@replaces(conv.ConvWeight, "cpu")
class _ConvWeight:
    """Patches are made anew: to keep them would take more time than that."""

    def forward(self: Any, x: Any, g: Any) -> Any:
        return _c.pooled(_c.conv_weight, x, g, self.shape, self.stride, self.padding)
