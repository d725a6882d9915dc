"""Networks that many agents use: the multilayer perceptron, and convolutional networks for large and small images."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from dbrrl import functional as F
from dbrrl.backend import replaceable
from dbrrl.errors import ConfigError
from dbrrl.nn.activations import ReLU, Tanh
from dbrrl.nn.conv import Conv2d, Flatten
from dbrrl.nn.layers import Linear, generator
from dbrrl.nn.module import Module
from dbrrl.nn.sequential import FusedLayers, Sequential

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


class ImageNetwork(Module):
    """Images (B, channels, height, width) to features (B, n); inputs are divided by the largest value they can have.

    Args:
        convolutions: layers before the linear one, each with an activation after it.
        flat: size of the output of the convolutions, flattened.
        features: outputs of a final linear layer with ReLU; None: without that layer.
        high: the largest value of an input.
        rng: of the initial weights.
    """

    def __init__(
        self, convolutions: list[Module], flat: int, features: int | None, high: float, rng: np.random.Generator
    ) -> None:
        self.features, self.scale = flat if features is None else features, 1 / high
        linear = [] if features is None else [Linear(flat, features, gain=math.sqrt(2), rng=rng), ReLU()]
        self.body = Sequential(*convolutions, Flatten(), *linear)
        self.after_first_convolution = FusedLayers()

    def forward(self, images: Any) -> Any:
        """uint8 (or float) images (B, channels, height, width) to (B, features)."""
        return features_of(images, self)


@replaceable
def features_of(images: Any, network: ImageNetwork) -> Any:
    """The output of `network` for `images` (B, channels, height, width): (B, features)."""
    x = images if images.dtype.kind == "f" else F.astype(images, np.float32)
    return network.body(F.multiply(x, network.scale))


class NatureCNN(ImageNetwork):
    """The network of Mnih et al. 2015: images (B, channels, height, width) to features (B, 512).

    Convolutions 32 8×8/4, 64 4×4/2, 64 3×3/1 and a linear layer, all with ReLU; inputs are divided by `high`.

    Args:
        shape: (channels, height, width) of the images.
        features: outputs of the linear layer; None: the flattened convolutions, (B, 3136) for 84 × 84.
        rng: generator or seed of the initial weights.
        high: the largest value that an input can have.

    Raises:
        ConfigError: the image is smaller than 36 × 36.
    """

    smallest: ClassVar[int] = 36
    width: ClassVar[int] = 512  # of the linear layer

    def __init__(
        self,
        shape: tuple[int, ...],
        features: int | None = 512,
        rng: np.random.Generator | int | None = None,
        high: float = 255.0,
    ) -> None:
        rng, gain = generator(rng), math.sqrt(2)
        channels, height, width = shape
        if min(height, width) < self.smallest:
            raise ConfigError(
                f"NatureCNN: expected images of at least 36 x 36, got {height} x {width}: take nn.MinAtarCNN, or "
                "nn.image_network, which chooses by size; or resize them"
            )
        size = [((((n - 8) // 4 + 1) - 4) // 2 + 1) - 2 for n in (height, width)]
        convolutions: list[Module] = [
            Conv2d(channels, 32, 8, stride=4, gain=gain, rng=rng), ReLU(),
            Conv2d(32, 64, 4, stride=2, gain=gain, rng=rng), ReLU(),
            Conv2d(64, 64, 3, gain=gain, rng=rng), ReLU(),
        ]  # fmt: skip
        super().__init__(convolutions, 64 * size[0] * size[1], features, high, rng)


class MinAtarCNN(ImageNetwork):
    """The network of Young & Tian 2019 (arXiv:1903.03176) for MinAtar's 10 × 10: small images to features (B, 128).

    One convolution 16 3×3/1 (from 20 × 20 on 16 3×3/2) and a linear layer, both with ReLU; inputs are divided by
    `high`.

    Args:
        shape: (channels, height, width) of the images.
        features: outputs of the linear layer; None: the flattened convolution, (B, 1024) for 10 × 10.
        rng: generator or seed of the initial weights.
        high: the largest value that an input can have.

    Raises:
        ConfigError: the image is smaller than 3 × 3.
    """

    smallest: ClassVar[int] = 3
    width: ClassVar[int] = 128  # of the linear layer

    def __init__(
        self,
        shape: tuple[int, ...],
        features: int | None = 128,
        rng: np.random.Generator | int | None = None,
        high: float = 255.0,
    ) -> None:
        rng = generator(rng)
        channels, height, width = shape
        if min(height, width) < self.smallest:
            raise ConfigError(
                f"MinAtarCNN: expected images of at least 3 x 3, got {height} x {width}: flatten them to a vector"
            )
        stride = 1 if min(height, width) < 20 else 2
        size = [(n - 3) // stride + 1 for n in (height, width)]
        convolutions: list[Module] = [Conv2d(channels, 16, 3, stride=stride, gain=math.sqrt(2), rng=rng), ReLU()]
        super().__init__(convolutions, 16 * size[0] * size[1], features, high, rng)


def image_network(
    shape: tuple[int, ...],
    linear: bool = True,
    rng: np.random.Generator | int | None = None,
    high: float = 255.0,
) -> NatureCNN | MinAtarCNN:
    """A network for images of one shape (channels, height, width): `NatureCNN` from 36 × 36 on, else `MinAtarCNN`.

    Args:
        linear: end with the linear layer of 512 or 128 features.
        rng, high: see NatureCNN.
    """
    kind = NatureCNN if min(shape[1:]) >= NatureCNN.smallest else MinAtarCNN
    return kind(shape, kind.width if linear else None, rng, high)
