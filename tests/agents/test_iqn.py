"""IQN: its network against the paper's formula, its targets, its protocol, its learning."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import testing
from dbrrl.agents import IQN
from dbrrl.agents.iqn import of_action

from .feeding import OBSERVATIONS, feed
from .making import make_q_learner as make
from .probes import QUICK_DQN, greedy_values, over_probes, over_seeds, probe_errors, train

FEW = {"quantiles": 4, "target_quantiles": 5, "action_quantiles": 6, "cosines": 7}


def test_the_network_is_that_of_equation_4() -> None:
    network = make(IQN, hidden_sizes=(10, 8), **FEW).network
    rng = np.random.default_rng(0)
    x, fractions = rng.normal(size=(3, 3)).astype(np.float32), rng.random((3, 4)).astype(np.float32)
    w = {name: p.numpy() for name, p in network.named_parameters()}
    found = network(x, fractions).numpy()
    assert found.shape == (3, 4, 3)
    for row in range(3):
        psi = np.maximum(w["body.layers.0.weight"] @ x[row] + w["body.layers.0.bias"], 0)
        for column in range(4):
            cosines = np.cos(np.pi * np.arange(7) * fractions[row, column])
            phi = np.maximum(w["embedding.weight"] @ cosines + w["embedding.bias"], 0)
            hidden = np.maximum(w["advantage.layers.0.weight"] @ (psi * phi) + w["advantage.layers.0.bias"], 0)
            expected = w["advantage.layers.2.weight"] @ hidden + w["advantage.layers.2.bias"]
            np.testing.assert_allclose(found[row, column], expected, atol=1e-5)


def test_on_images_the_fractions_meet_what_the_convolutions_give() -> None:  # the paper's section 4: ψ and f
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    network = IQN(space, gym.spaces.Discrete(6), IQN.Config(buffer_size=1)).network
    assert network.embedding.weight.shape == (3136, 64)
    assert [p.shape for p in network.advantage.parameters() if p.ndim == 2] == [(512, 3136), (6, 512)]


def test_each_fraction_is_a_row_of_the_largest_product() -> None:
    agent = make(IQN, hidden_sizes=(10, 8), batch_size=5, **FEW)
    assert agent.largest_matmul == 5 * 6 * 10 * 8


def test_quantiles_of_an_action() -> None:
    quantiles = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(of_action(quantiles, np.array([1, 2])), [[1, 4], [8, 11]])


def test_a_target_moves_the_quantiles_of_the_best_action() -> None:
    agent = make(IQN, **FEW)
    feed(agent, 3)
    seen: list[Any] = []
    agent.compiled = False
    agent.gradient_step.loss = lambda batch: seen.append(batch) or agent.loss(batch)
    agent.fraction_rng, rng = np.random.default_rng(5), np.random.default_rng(5)
    agent.update(agent.sample())
    (batch,) = seen
    found = agent.target(batch)
    np.testing.assert_array_equal(batch.tau, rng.random((8, 4), dtype=np.float32))
    fractions = rng.random((8, 5), dtype=np.float32)
    quantiles = agent.target_network(batch.next_observation, fractions).numpy()
    mean = agent.target_network(batch.next_observation, (np.arange(6, dtype=np.float32) + 0.5) / 6).numpy().mean(1)
    for row in range(8):
        expected = batch.reward[row] + batch.discount[row] * quantiles[row, :, mean[row].argmax()]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("rest", [{}, {"prioritized": True, "n_step": 3, "noisy": True}, {"hidden_sizes": ()}])
def test_the_protocol_is_kept(device: str, dueling: bool, rest: dict[str, Any]) -> None:
    testing.check_agent(lambda: make(IQN, dueling=dueling, **rest, **FEW, device=device), steps=20)


@pytest.mark.parametrize("observation", ["discrete", "image", "dict"])
def test_the_protocol_is_kept_with_other_observations(device: str, observation: str) -> None:
    testing.check_agent(lambda: make(IQN, OBSERVATIONS[observation], **FEW, device=device), steps=6)


@over_seeds
@over_probes
def test_probes_give_their_known_return_and_values(name: str, seed: int) -> None:
    settings = {**QUICK_DQN, **FEW, "hidden_sizes": (32, 32), "learning_rate": 3e-3}
    run = train("iqn", f"dbrrl/Probe{name}-v0", seed, steps=3000, **settings)
    short, error = probe_errors(name, run, greedy_values)
    assert short < 0.01 and error < 0.1


@pytest.mark.slow
@over_seeds
def test_the_chain_is_walked_to_its_end(seed: int) -> None:
    settings = {**QUICK_DQN, **FEW, "hidden_sizes": (32, 32), "learning_rate": 3e-3}
    assert train("iqn", "dbrrl/Chain-v0", seed, steps=6000, **settings).score == 1.0
