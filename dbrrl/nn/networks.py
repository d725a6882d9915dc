"""Networks that many agents share: the multilayer perceptron and the convolutional network of the Nature DQN."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError
from dbrrl.nn.activations import ReLU, Tanh
from dbrrl.nn.conv import Conv2d, Flatten
from dbrrl.nn.layers import Linear, generator
from dbrrl.nn.module import Module
from dbrrl.nn.sequential import InTurn, Sequential

ACTIVATIONS: dict[str, type[Module]] = {"tanh": Tanh, "relu": ReLU}


def mlp(
    sizes: Sequence[int],
    activation: str = "tanh",
    gain: float = math.sqrt(2),
    out_gain: float = 1.0,
    rng: np.random.Generator | int | None = None,
) -> Sequential:
    """Linear layers of the given sizes (input, hidden ..., output) with an activation between them.

    Args:
        activation: "tanh" or "relu".
        gain, out_gain: of the orthogonal initial weights of the hidden layers and of the last one.
    """
    if len(sizes) < 2:
        raise ConfigError(f"mlp: expected sizes (input, hidden ..., output), at least two, got {tuple(sizes)}")
    if activation not in ACTIVATIONS:
        raise ConfigError(f"activation: expected one of {sorted(ACTIVATIONS)}, got {activation!r}")
    rng = generator(rng)
    layers: list[Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [Linear(a, b, gain=gain, rng=rng), ACTIVATIONS[activation]()]
    return Sequential(*layers, Linear(sizes[-2], sizes[-1], gain=out_gain, rng=rng))


class NatureCNN(Module):
    """The network of Mnih et al. 2015: bytes (B, channels, height, width) to features (B, 512).

    Convolutions 32 8×8/4, 64 4×4/2, 64 3×3/1 and a linear layer, all with ReLU; inputs are divided by 255.

    Args:
        shape: (channels, height, width) of the images.
        features: outputs of the linear layer; None: without it, what the convolutions give, (B, 3136) for 84 × 84.
        rng: generator or seed of the initial weights.

    Raises:
        ConfigError: the image is smaller than 36 × 36.
    """

    def __init__(
        self, shape: tuple[int, ...], features: int | None = 512, rng: np.random.Generator | int | None = None
    ) -> None:
        rng = generator(rng)
        channels, height, width = shape
        if min(height, width) < 36:
            raise ConfigError(f"NatureCNN: expected images of at least 36 x 36, got {height} x {width}: resize them")
        gain = math.sqrt(2)
        size = [((((n - 8) // 4 + 1) - 4) // 2 + 1) - 2 for n in (height, width)]
        flat = 64 * size[0] * size[1]
        self.features = flat if features is None else features
        layers = [
            Conv2d(channels, 32, 8, stride=4, gain=gain, rng=rng), ReLU(),
            Conv2d(32, 64, 4, stride=2, gain=gain, rng=rng), ReLU(),
            Conv2d(64, 64, 3, gain=gain, rng=rng), ReLU(),
            Flatten(),
        ]  # fmt: skip
        if features is not None:
            layers += [Linear(flat, features, gain=gain, rng=rng), ReLU()]
        self.body = Sequential(*layers)
        self._after_first = InTurn()

    def forward(self, images: Any) -> Any:
        """uint8 (or float in [0, 255]) images (B, channels, height, width) to (B, features)."""
        if images.dtype == np.uint8 and not isinstance(images, np.ndarray | Tensor):  # on a GPU bytes are read as such
            first: Any = self.body[0]
            x = F.conv2d(images, first.weight * (1 / 255), first.bias, first.stride, first.padding, "relu")
            return self._after_first(self.body.layers[2:], x)
        x = images if images.dtype.kind == "f" else F.astype(images, np.float32)
        return self.body(F.multiply(x, 1 / 255))
