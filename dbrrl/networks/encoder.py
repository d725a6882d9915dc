"""The front of every network: features of an observation."""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.backend.trees import leaves
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.types import Observation


class Encoder(nn.Module):
    """Features (B, size) of an observation: its vector as it is, and what convolutions make of its images.

    Args:
        observations: describes the observations (see `Preprocessor`).
        hidden: whether the network of an image ends with its own hidden layer, as in `nn.image_network`.
        rng: generator of the initial weights.

    Attributes:
        size: number of features.
        width: units of the hidden layer that image networks of this size usually have; 0 without images.
    """

    def __init__(self, observations: Preprocessor, *, hidden: bool = True, rng: np.random.Generator) -> None:
        self.images = [nn.image_network(shape, hidden, rng, high) for shape, high in observations.images]
        self.size = observations.vector_size + sum(cnn.features for cnn in self.images)
        self.width = max((cnn.width for cnn in self.images), default=0)

    def forward(self, observation: Observation) -> Any:
        """Return the features of a batch of observations."""
        if not self.images and type(observation) is not dict:
            return observation
        arrays = leaves(observation)
        vectors = len(arrays) - len(self.images)
        features = arrays[:vectors] + [cnn(image) for cnn, image in zip(self.images, arrays[vectors:], strict=True)]
        return features[0] if len(features) == 1 else F.concatenate(features, axis=1)
