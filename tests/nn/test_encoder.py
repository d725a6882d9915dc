"""The encoder: vectors pass as they are, images go through convolutions, and the features follow one another."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.nn import Encoder
from tests import standin

VECTOR = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE, OTHER = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8), gym.spaces.Box(0, 1, (2, 8, 8), np.uint8)
BOTH = gym.spaces.Dict({"a": IMAGE, "b": VECTOR, "c": gym.spaces.Discrete(2), "d": OTHER})


def encoder_of(space: gym.Space[Any], **options: Any) -> Encoder:
    return Encoder(Preprocessor(space), rng=np.random.default_rng(0), **options)


def batch(space: gym.Space[Any], n: int = 5) -> Any:
    """Preprocessed observations."""
    space.seed(0)
    rows = [space.sample() for _ in range(n)]
    if isinstance(space, gym.spaces.Dict):
        return Preprocessor(space)({key: np.stack([row[key] for row in rows]) for key in space.spaces})
    return Preprocessor(space)(np.stack(rows))


def test_a_vector_is_its_own_features() -> None:
    encoder, x = encoder_of(VECTOR), batch(VECTOR)
    assert encoder(x) is x
    assert encoder.size == 3 and encoder.width == 0 and encoder.parameters() == []


@pytest.mark.parametrize("hidden", [True, False])
def test_an_image_becomes_the_features_of_its_convolutions(hidden: bool) -> None:
    encoder, x = encoder_of(IMAGE, hidden=hidden), batch(IMAGE)
    alone = nn.image_network((1, 36, 36), hidden, np.random.default_rng(0), 255.0)
    features = encoder(x)
    assert features.shape == (5, encoder.size) and encoder.size == alone.features and encoder.width == alone.width
    np.testing.assert_array_equal(features.numpy(), alone(x).numpy())


def test_features_of_a_dict_are_the_vector_and_then_those_of_each_image() -> None:
    encoder, x = encoder_of(BOTH), batch(BOTH)
    assert list(x) == ["vector", "a", "d"]
    features = encoder(x).numpy()
    first, second = encoder.images
    expected = [x["vector"], first(x["a"]).numpy(), second(x["d"]).numpy()]
    np.testing.assert_array_equal(features, np.concatenate(expected, axis=1))
    assert encoder.size == features.shape[1] == 5 + first.features + second.features
    assert encoder.width == max(first.width, second.width)


def test_each_entry_of_the_observation_reaches_the_features_and_each_weight_has_a_gradient() -> None:
    encoder, x = encoder_of(BOTH), batch(BOTH)
    before = encoder(x)
    (before**2).sum().backward()
    assert all(p.grad is not None and np.any(p.grad != 0) for p in encoder.parameters() if p.ndim > 1)
    for name, array in x.items():
        changed = encoder(x | {name: 1 - array}).numpy()
        assert np.all(np.any(changed != before.numpy(), axis=1)), name


def test_the_maximum_of_an_images_space_scales_its_bytes() -> None:
    low, high = gym.spaces.Box(0, 1, (1, 36, 36), np.uint8), IMAGE
    x = np.random.default_rng(0).integers(0, 2, (4, 1, 36, 36), np.uint8)
    np.testing.assert_allclose(encoder_of(low)(x).numpy(), encoder_of(high)(255 * x).numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("space", [VECTOR, IMAGE, BOTH], ids=["vector", "image", "dict"])
def test_features_on_the_stand_in_gpu_are_those_on_the_cpu(space: gym.Space[Any]) -> None:
    x = batch(space)
    expected = encoder_of(space)(x)
    with standin.installed():
        there = {k: standin.put(v, "cuda") for k, v in x.items()} if isinstance(x, dict) else standin.put(x, "cuda")
        features = encoder_of(space).to("cuda")(there)
        found = standin.host(getattr(features, "array", features), "cuda")
    np.testing.assert_allclose(found, getattr(expected, "array", expected), rtol=1e-5, atol=1e-6)
