"""The network of the DQN family: shapes, the dueling formula, where noise stands."""

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.networks.q_network import QNetwork
from dbrrl.types import Observation

IMAGE = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
SPACES = {
    "box": gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
    "image": IMAGE,
    "dict": gym.spaces.Dict({"seen": IMAGE, "where": gym.spaces.Discrete(3)}),
}


def make(space: str = "box", **changes: object) -> tuple[QNetwork, Observation]:
    preprocessor = Preprocessor(SPACES[space])
    rng = np.random.default_rng(0)
    arrays = [(rng.random((5, *s)) * (200 if d == np.uint8 else 1)).astype(d) for s, d in _layout(preprocessor)]
    return QNetwork(preprocessor, 4, rng=rng, **changes), preprocessor.named(arrays)  # type: ignore[arg-type]


def _layout(preprocessor: Preprocessor) -> list[tuple[tuple[int, ...], np.dtype]]:
    return list(zip(preprocessor.shapes, preprocessor.dtypes, strict=True))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("noisy", [None, 0.5])
@pytest.mark.parametrize("atoms", [None, 7])
def test_each_action_gets_its_numbers(space: str, dueling: bool, noisy: float | None, atoms: int | None) -> None:
    network, observation = make(space, dueling=dueling, noisy=noisy, atoms=atoms)
    assert network(observation).shape == ((5, 4) if atoms is None else (5, 4, 7))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.NoisyLinear)]
    assert {type(layer) for layer in layers} == {nn.NoisyLinear if noisy else nn.Linear}
    assert len(layers) == (3 if space == "box" else 2) + 2 * dueling


def test_hidden_layers_are_shared_but_for_the_last_of_dueling_streams() -> None:
    def sizes(**changes: object) -> list[tuple[int, ...]]:
        return [p.shape for p in make(**changes)[0].parameters() if p.ndim == 2]  # type: ignore[arg-type]

    assert sizes() == [(120, 3), (84, 120), (4, 84)]
    assert sizes(hidden_sizes=(8,)) == [(8, 3), (4, 8)]
    assert sizes(dueling=True) == [(120, 3), (84, 120), (4, 84), (84, 120), (1, 84)]
    assert sizes(dueling=True, hidden_sizes=()) == [(4, 3), (1, 3)]


CONVOLUTIONS, FIRST, ATARI = 77_984, 3136 * 512 + 512, gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({}, CONVOLUTIONS + FIRST + 6 * 513),  # 1,687,206: Mnih et al. 2015
        ({"dueling": True}, CONVOLUTIONS + 2 * FIRST + 6 * 513 + 513),  # Wang et al. 2016: two streams of 512
        ({"noisy": 0.5}, CONVOLUTIONS + 2 * (FIRST + 6 * 513)),  # Fortunato et al. 2018: all linear layers
        ({"dueling": True, "noisy": 0.5, "atoms": 51}, CONVOLUTIONS + 2 * (2 * FIRST + 51 * 7 * 513)),  # Rainbow
    ],
)
def test_on_images_the_networks_are_the_papers(changes: dict[str, object], numbers: int) -> None:
    network = QNetwork(Preprocessor(ATARI), 6, rng=np.random.default_rng(0), **changes)  # type: ignore[arg-type]
    assert sum(p.size for p in network.parameters()) == numbers


@pytest.mark.parametrize("atoms", [None, 7])
def test_dueling_streams_are_put_together_as_in_equation_9(atoms: int | None) -> None:
    network, observation = make(dueling=True, atoms=atoms)
    features = network.features(observation)
    advantage = network.advantage(features).numpy().reshape(5, 4, -1)
    value = network.value(features).numpy().reshape(5, 1, -1)  # type: ignore[misc]
    expected = value + advantage - advantage.mean(1, keepdims=True)
    np.testing.assert_allclose(network(observation).numpy().reshape(5, 4, -1), expected, atol=1e-6)


def test_noise_is_silent_in_evaluation() -> None:
    network, observation = make(noisy=0.5)
    first = network(observation).numpy()
    nn.resample_noise(network)
    assert np.any(network(observation).numpy() != first)
    network.eval()
    still = network(observation).numpy()
    nn.resample_noise(network)
    np.testing.assert_array_equal(network(observation).numpy(), still)
