"""Networks for images on a GPU: the first convolution reads bytes as they are."""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.backend import replaces
from dbrrl.nn import networks


@replaces(networks.features_of, "cuda")
def features_of(images: Any, network: networks.ImageNetwork) -> Any:
    """The scale of the bytes is that of the first convolution's weights, so that no float copy of them is made."""
    if images.dtype != np.uint8:
        return NotImplemented
    first: Any = network.body[0]
    x = F.conv2d(images, first.weight * network.scale, first.bias, first.stride, first.padding, "relu")
    return network.after_first_convolution(network.body.layers[2:], x)
