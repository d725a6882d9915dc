"""QR-DQN: the quantile Huber loss by hand and by its formula, that it finds quantiles, its protocol, its learning."""

from typing import Any

import numpy as np
import pytest

from dbrrl import Tensor, testing
from dbrrl import functional as F
from dbrrl.agents import QRDQN
from dbrrl.agents.qr_dqn import mean_error

from .making import make_q_learner as make
from .probes import QUICK_DQN, greedy_values, over_probes, over_seeds, probe_errors, train

FEW = {"quantiles": 8}


def by_the_formula(theta: Any, fractions: Any, target: Any) -> np.ndarray:
    """Equations 9 and 10, one number at a time."""
    loss = np.zeros(len(theta))
    for row in range(len(theta)):
        for i, tau in enumerate(fractions):
            for y in target[row]:
                u = y - theta[row, i]
                huber = 0.5 * u * u if abs(u) <= 1 else abs(u) - 0.5
                loss[row] += abs(tau - (u < 0)) * huber / target.shape[1]
    return loss


def test_a_loss_worked_out_by_hand() -> None:
    """θ = (0, 2) at τ̂ = (1/4, 3/4), y = (1, 4).

    Errors of θ₁: 1 and 4, h = 1/2 and 7/2, each times 1/4; of θ₂: -1 and 2, h = 1/2 and 3/2, times 1/4 and 3/4.
    """
    theta, fractions = np.array([[0.0, 2.0]], np.float32), np.array([0.25, 0.75], np.float32)
    target = np.array([[1.0, 4.0]], np.float32)
    loss = F.quantile_huber_loss(Tensor(theta), target, fractions)
    np.testing.assert_allclose(loss.numpy(), [(0.125 + 0.875) / 2 + (0.125 + 1.125) / 2])
    np.testing.assert_array_equal(mean_error(theta, target), [(1 + 4 - 1 + 2) / 4])
    np.testing.assert_array_equal(mean_error(theta, -target), [(1 + 4 + 3 + 6) / 4])  # of either sign


def test_losses_and_gradients_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    theta, target = rng.normal(size=(6, 5)) * 2, rng.normal(size=(6, 4)) * 2
    fractions = (np.arange(5) + 0.5) / 5
    found = F.quantile_huber_loss(Tensor(theta), target, fractions).numpy()
    np.testing.assert_allclose(found, by_the_formula(theta, fractions, target), rtol=1e-6)
    testing.check_gradients(lambda x: F.quantile_huber_loss(x, target, fractions).sum(), theta)


def test_what_it_finds_are_quantiles() -> None:
    """Returns are spread evenly over [0, 100], where the Huber part near 0 does not count."""
    theta = Tensor(np.full((1, 4), 50.0), requires_grad=True)
    fractions, target = (np.arange(4) + 0.5) / 4, np.linspace(0, 100, 1001)[None]
    for _ in range(400):
        theta.grad = None
        F.quantile_huber_loss(theta, target, fractions).sum().backward()
        theta.data = theta.data - 20 * theta.grad  # type: ignore[operator]
    np.testing.assert_allclose(theta.numpy()[0], fractions * 100, atol=0.5)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("rest", [{}, {"prioritized": True, "n_step": 3, "noisy": True}])
def test_the_protocol_is_kept(device: str, dueling: bool, rest: dict[str, Any]) -> None:
    testing.check_agent(lambda: make(QRDQN, dueling=dueling, **rest, **FEW, device=device), steps=20)


def test_targets_worked_out_by_hand() -> None:
    """The best action by its mean, and all its quantiles moved."""
    agent = make(QRDQN, quantiles=2)
    rows = np.array([[[0.0, 4.0], [3.0, 3.0], [1.0, 1.0]], [[9.0, 9.0], [0.0, 0.0], [0.0, 0.0]]], np.float32)
    agent.target_network = lambda observation: Tensor(rows)
    batch = make(QRDQN).replay
    for _ in range(2):
        batch.add_action([np.zeros((2, 3), np.float32)], 0)
        batch.add_outcome([np.zeros((2, 3), np.float32)], [1.0, 2.0], [False, True], False)
    found = agent.target(batch.gather(np.array([0, 1]), 0.5))
    np.testing.assert_array_equal(found, [[2.5, 2.5], [2.0, 2.0]])


@over_seeds
@over_probes
def test_probes_give_their_known_return_and_values(name: str, seed: int) -> None:
    run = train("qr_dqn", f"dbrrl/Probe{name}-v0", seed, steps=3000, **{**QUICK_DQN, **FEW})
    short, error = probe_errors(name, run, greedy_values)
    assert short < 0.01 and error < 0.05


@over_seeds
def test_the_chain_is_walked_to_its_end(seed: int) -> None:
    assert train("qr_dqn", "dbrrl/Chain-v0", seed, steps=6000, **{**QUICK_DQN, **FEW}).score == 1.0
