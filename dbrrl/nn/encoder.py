"""`Encoder`: the front of every network, which makes features of an observation."""

from typing import Any, Protocol

import numpy as np

from dbrrl import functional as F
from dbrrl.backend.trees import leaves
from dbrrl.nn.module import Module
from dbrrl.nn.networks import image_network
from dbrrl.types import Observation


class Described(Protocol):
    """A description of observations, such as a `Preprocessor`.

    Attributes:
        vector_size: numbers in the vector; 0: there is none.
        images: for each image its shape, channels first, and its largest value. What comes after these in an
            observation, such as a mask of actions, is no feature.
    """

    vector_size: int
    images: list[tuple[tuple[int, ...], float]]


class Encoder(Module):
    """Features (B, size) of an observation: its vector as it is, and what convolutions make of its images.

    Args:
        observations: describes the observations.
        hidden: whether the network of an image ends with its own hidden layer, as in `nn.image_network`.
        rng: generator of the initial weights.

    Attributes:
        size: number of features.
        width: units of the hidden layer that image networks of this size usually have; 0 without images.
    """

    def __init__(self, observations: Described, *, hidden: bool = True, rng: np.random.Generator) -> None:
        self.images = [image_network(shape, hidden, rng, high) for shape, high in observations.images]
        self.vectors = 1 if observations.vector_size else 0
        self.size = observations.vector_size + sum(cnn.features for cnn in self.images)
        self.width = max((cnn.width for cnn in self.images), default=0)

    def forward(self, observation: Observation) -> Any:
        """Return the features of a batch of observations."""
        if not self.images and type(observation) is not dict:
            return observation
        arrays, vectors = leaves(observation), self.vectors
        features = arrays[:vectors] + [cnn(image) for cnn, image in zip(self.images, arrays[vectors:], strict=False)]
        return features[0] if len(features) == 1 else F.concatenate(features, axis=1)
