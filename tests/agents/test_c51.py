"""C51: the projection against the paper's formula and by hand, its loss, its protocol, its learning."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import testing
from dbrrl.agents import C51
from dbrrl.agents.c51 import projection
from dbrrl.errors import AnomalyError, ConfigError

from .feeding import feed
from .making import make_q_learner as make
from .probes import QUICK_DQN, greedy_values, over_probes, over_seeds, probe_errors, train

ATOMS = {"atoms": 21, "value_min": -2.0, "value_max": 2.0}


def by_the_formula(reward: Any, discount: Any, probs: Any, support: Any) -> np.ndarray:
    """Equation 7, one number at a time."""
    m, step = np.zeros(probs.shape), support[1] - support[0]
    for row in range(len(probs)):
        for i, z_i in enumerate(support):
            for j, z_j in enumerate(support):
                moved = np.clip(reward[row] + discount[row] * z_j, support[0], support[-1])
                m[row, i] += np.clip(1 - abs(moved - z_i) / step, 0, 1) * probs[row, j]
    return m


def test_a_projection_worked_out_by_hand() -> None:
    """Atoms -1 0 1, p = (1/4, 1/4, 1/2). r = 1/2, γ = 1/2: moved to 0, 1/2, 1. r = 9: all at 1. γ = 0: all at r."""
    support = np.array([-1.0, 0.0, 1.0], np.float32)
    probs = np.tile(np.array([0.25, 0.25, 0.5], np.float32), (4, 1))
    reward, discount = np.array([0.5, 9.0, -0.25, 0.0], np.float32), np.array([0.5, 0.5, 0.0, 1.0], np.float32)
    expected = [[0, 0.25 + 0.125, 0.5 + 0.125], [0, 0, 1], [0.25, 0.75, 0], [0.25, 0.25, 0.5]]
    found = projection(reward, discount, probs, support)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_projections_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    support = np.linspace(-3, 5, 17, dtype=np.float32)
    probs = rng.dirichlet(np.ones(17), 40).astype(np.float32)
    reward, discount = rng.normal(size=40).astype(np.float32) * 4, rng.random(40).astype(np.float32)
    found = projection(reward, discount, probs, support)
    np.testing.assert_allclose(found, by_the_formula(reward, discount, probs, support), atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_actions_taken() -> None:
    agent = make(C51, **ATOMS)
    for t in range(6):
        rng = np.random.default_rng(t)
        agent.act(rng.normal(size=(2, 3)).astype(np.float32))
        agent.replay.add_outcome([rng.normal(size=(2, 3)).astype(np.float32)], rng.normal(size=2), False, False)
    batch = agent.sample()
    terms, metrics = agent.loss(batch)
    loss = terms.numpy()
    logits = agent.network(batch.observation).numpy()
    for row in range(len(batch.index)):
        chosen = logits[row, batch.action[row]]
        log_p = chosen - np.log(np.exp(chosen).sum())
        assert loss[row] == pytest.approx(-(agent.target(batch)[row] * log_p).sum(), rel=1e-4)
    np.testing.assert_array_equal(metrics()["error"], loss)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_reward_without_a_place_among_the_returns_ends_the_run(poison: float) -> None:
    agent = make(C51, **ATOMS)
    feed(agent, 8)
    agent.replay.rewards[:] = poison
    with pytest.raises(AnomalyError, match=f"c51: reward: expected finite numbers, got {poison} in environment"):
        agent.update(agent.sample())


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("rest", [{}, {"prioritized": True, "n_step": 3, "noisy": True}])
def test_the_protocol_is_kept(device: str, dueling: bool, rest: dict[str, Any]) -> None:
    testing.check_agent(lambda: make(C51, dueling=dueling, **rest, **ATOMS, device=device), steps=20)


def test_values_in_the_wrong_order_are_refused() -> None:
    box = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    with pytest.raises(ConfigError, match="value_max: expected a number above value_min 3"):
        C51(box, gym.spaces.Discrete(2), C51.Config(value_min=3.0, value_max=3.0))


@over_seeds
@over_probes
def test_probes_give_their_known_return_and_values(name: str, seed: int) -> None:
    run = train("c51", f"dbrrl/Probe{name}-v0", seed, steps=4000, **{**QUICK_DQN, **ATOMS})
    short, error = probe_errors(name, run, greedy_values)
    assert short < 0.01 and error < 0.05


@over_seeds
def test_the_chain_is_walked_to_its_end(seed: int) -> None:
    assert train("c51", "dbrrl/Chain-v0", seed, steps=6000, **{**QUICK_DQN, **ATOMS}).score == 1.0
