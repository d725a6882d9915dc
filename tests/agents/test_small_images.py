"""Images too small for the Nature CNN, such as MinAtar's: every agent takes them through a network of their size."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import (
    A2C,
    A3C,
    C51,
    DDPG,
    DQN,
    DRQN,
    IQN,
    PPO,
    QRDQN,
    REINFORCE,
    SAC,
    TD3,
    TQC,
    TRPO,
    DoubleDQN,
    Rainbow,
    SACDiscrete,
)

from .feeding import actions_for

TWO = gym.spaces.Discrete(2)
AGENTS = [PPO, A2C, A3C, REINFORCE, TRPO, DQN, DoubleDQN, C51, QRDQN, IQN, Rainbow, DRQN]
ACTOR_CRITICS = [DDPG, TD3, SAC, TQC, SACDiscrete]
SHAPES = [((10, 10, 4), np.bool_), ((10, 10, 6), np.uint8), ((7, 7, 3), np.uint8), ((3, 24, 21), np.uint8)]
QUICK: dict[str, Any] = {"learning_starts": 16, "batch_size": 8, "update_interval": 4}


@pytest.mark.parametrize(("shape", "dtype"), SHAPES)
@pytest.mark.parametrize(
    "kind", [kind if kind in (PPO, DQN) else pytest.param(kind, marks=pytest.mark.slow) for kind in AGENTS]
)
def test_every_agent_keeps_the_protocol_on_small_images(kind: Any, shape: Any, dtype: Any) -> None:
    settings = QUICK if issubclass(kind, DQN | DRQN) else {"n_steps": 4}
    space = gym.spaces.Box(0, 1 if dtype is np.bool_ else 255, shape, dtype)

    def make() -> Any:
        return kind(space, TWO, kind.Config(**settings), num_envs=2, seed=0)

    testing.check_agent(make, steps=6)
    network = make().network
    (images,) = network.encoder.images
    assert isinstance(images, nn.MinAtarCNN)
    flat = {10: 16 * 8 * 8, 7: 16 * 5 * 5, 3: 16 * 11 * 10}[shape[0]]
    units = 4 * 64 if kind is DRQN else 128  # the gates of its memory take the place of the hidden layer
    assert any(parameter.shape == (units, flat) for parameter in network.parameters())


@pytest.mark.parametrize("kind", ACTOR_CRITICS)
def test_actors_and_critics_read_small_images(kind: Any) -> None:
    space, actions = gym.spaces.Box(0, 1, (10, 10, 4), np.bool_), actions_for(kind)
    config = kind.Config(**QUICK, hidden_sizes=(8,), buffer_size=100)
    testing.check_agent(lambda: kind(space, actions, config, num_envs=2, seed=0), steps=10)
    agent = kind(space, actions, config)
    for network in (agent.actor, agent.critics):
        assert [type(cnn) for cnn in network.encoder.images] == [nn.MinAtarCNN]


@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_a_memory_reads_small_images(recurrent: str) -> None:
    space = gym.spaces.Box(0, 1, (10, 10, 4), np.bool_)
    config = PPO.Config(n_steps=4, recurrent=recurrent)
    testing.check_agent(lambda: PPO(space, TWO, config, num_envs=2, seed=0), steps=5)


def test_small_and_large_images_may_come_together() -> None:
    camera = gym.spaces.Box(0, 255, (40, 36, 3), np.uint8)
    boxes = {"board": gym.spaces.Box(0, 1, (10, 10, 4), np.bool_), "camera": camera}
    agent: Any = DQN(gym.spaces.Dict(boxes), TWO, DQN.Config(**QUICK))
    assert [type(cnn) for cnn in agent.network.encoder.images] == [nn.MinAtarCNN, nn.NatureCNN]
    assert agent.network.width == 512
    agent.act(gym.spaces.Dict(boxes).sample())


@pytest.mark.parametrize(
    ("kind", "settings", "steps"),
    [
        (PPO, {"n_steps": 16, "batch_size": 64, "n_epochs": 4, "learning_rate": 3e-3}, 160),
        (DQN, {"learning_starts": 100, "epsilon_steps": 1000, "batch_size": 64, "update_interval": 16}, 200),
    ],
)
def test_where_a_dot_is_can_be_learned(kind: Any, settings: dict[str, Any], steps: int) -> None:
    """A dot somewhere on a board of 10 x 10; the right action says on which half. Chance is right half the time."""
    agent = kind(gym.spaces.Box(0, 1, (10, 10, 2), np.bool_), TWO, kind.Config(**settings), num_envs=16, seed=0)
    rng, yes, no = np.random.default_rng(0), np.ones(16, bool), np.zeros(16, bool)

    def boards(count: int) -> tuple[np.ndarray, np.ndarray]:
        x, (row, column) = np.zeros((count, 10, 10, 2), bool), rng.integers(0, 10, (2, count))
        x[np.arange(count), row, column, 1] = True
        return x, (column >= 5).astype(np.int64)

    board, right = boards(16)
    for _ in range(steps):
        reward = np.where(agent.act(board) == right, 1.0, -1.0)
        board, right = boards(16)
        agent.observe(board, reward, yes, no)
    board, right = boards(300)
    assert np.mean(agent.act(board, explore=False) == right) > 0.95
