"""SAC: its target and its three losses by hand, its density, and its temperature."""

import math
from typing import Any

import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.agents import SAC
from dbrrl.distributions import SquashedNormal

from .stubs import BOX, Stub, column, three
from .test_continuous import feed, make

STD, ALPHA = 0.5, 0.2


def agent() -> Any:
    """An agent whose policy has mean s/2 and deviation 0.5 before tanh, and Q₁ = 10 a, Q₂ = 5 + a."""
    sac: Any = SAC(BOX, BOX, SAC.Config(buffer_size=10, hidden_sizes=(4,), temperature=ALPHA))
    sac.actor = Stub(lambda one, s: SquashedNormal(one * s / 2, np.full(1, math.log(STD), np.float32)))
    sac.critics = sac.target_critics = Stub(
        lambda one, s, a: F.stack([10 * a[:, 0], 5 + a[:, 0]]) * one
    )  # fmt: skip
    return sac


def sample(observation: float, noise: float) -> tuple[float, float]:
    """An action and its log-density, in Python's own numbers."""
    u = observation / 2 + STD * noise
    normal = -0.5 * noise**2 - math.log(STD) - 0.5 * math.log(2 * math.pi)
    return math.tanh(u), normal - math.log(1 - math.tanh(u) ** 2)


def test_the_target_worked_out_by_hand() -> None:
    noise = (0.1, -0.4, 1.0)
    expected = []
    for s, e, r, d in zip((1.0, -1.0, 1.8), noise, (1, 2, 3), (0.5, 0.9, 0.0), strict=True):
        a, log_prob = sample(s, e)
        expected.append(r + d * (min(10 * a, 5 + a) - ALPHA * log_prob))
    np.testing.assert_allclose(agent().target(three(next_noise=column(*noise))), expected, rtol=1e-5)


def test_the_loss_of_the_critics_worked_out_by_hand() -> None:
    sac = agent()
    sac.target = lambda batch: np.array([4.0, 0.0, 3.0], np.float32)
    loss, metrics = sac.critic_loss(three())  # Q₁ = 5, -5, 10 and Q₂ = 5.5, 4.5, 6
    np.testing.assert_allclose(loss.numpy(), [1 + 1.5**2, 25 + 4.5**2, 49 + 9], rtol=1e-6)
    np.testing.assert_allclose(metrics()["error"], [1.25, 4.75, 5], rtol=1e-6)


def test_the_loss_of_the_policy_and_its_gradient_worked_out_by_hand() -> None:
    noise = (0.1, -0.4, 1.0)

    def loss_of(one: float) -> float:
        total = 0.0
        for s, e in zip((0.2, 0.4, -0.6), noise, strict=True):
            a, log_prob = sample(one * s, e)
            total += ALPHA * log_prob - min(10 * a, 5 + a)
        return total / 3

    sac = agent()
    loss, metrics = sac.actor_loss(three(noise=column(*noise)))
    assert loss.item() == pytest.approx(loss_of(1), rel=1e-5)
    densities = [sample(s, e)[1] for s, e in zip((0.2, 0.4, -0.6), noise, strict=True)]
    np.testing.assert_allclose(metrics()["log_prob"], densities, rtol=1e-5)
    loss.backward()
    assert sac.actor.one.grad[0] == pytest.approx((loss_of(1 + 1e-4) - loss_of(1 - 1e-4)) / 2e-4, rel=1e-3)


def test_the_loss_of_the_temperature_worked_out_by_hand() -> None:
    sac = agent()  # H = -1, of one entry
    loss, metrics = sac.temperature_loss(three(log_prob=np.array([0.5, 2.0, -1.0], np.float32)))
    assert loss.item() == pytest.approx(-ALPHA * (0.5 - 1), rel=1e-5)
    assert metrics()["alpha"] == pytest.approx(ALPHA, rel=1e-6)
    loss.backward()
    assert sac.log_temperature.grad[0] == pytest.approx(-ALPHA * -0.5, rel=1e-5)


@pytest.mark.parametrize(("asked", "expected"), [(None, -2.0), (-0.5, -0.5), (1.5, 1.5)])
def test_the_target_entropy_is_minus_the_entries_of_an_action(asked: float | None, expected: float) -> None:
    assert make(SAC, target_entropy=asked).target_entropy == expected


def test_a_temperature_without_step_size_stays() -> None:
    fixed, learned = make(SAC, temperature=0.3, temperature_learning_rate=0.0), make(SAC, temperature=0.3)
    for sac in (fixed, learned):
        feed(sac, 8)
    assert fixed.temperature[0] == pytest.approx(0.3, rel=1e-6) == fixed.statistics()["temperature_alpha"]
    assert abs(learned.temperature[0] - 0.3) > 1e-4


def test_the_temperature_reaches_the_entropy_that_is_asked_for() -> None:
    """With Q = -5 a² the policy of α is N(0, α / 10), whose entropy is -1 where α = 10 e⁻² / 2πe."""
    config = SAC.Config(
        buffer_size=10, hidden_sizes=(8,), target_entropy=-1.0, learning_rate=1e-2, temperature_learning_rate=3e-2
    )
    sac: Any = SAC(BOX, BOX, config)
    sac.critics = Stub(lambda one, s, a: F.stack([-5 * a[:, 0] ** 2] * 2) * one)
    rng, entropies, alphas = np.random.default_rng(0), [], []
    batch = three()[np.zeros(128, np.int64)]
    for _ in range(900):
        actor = sac.actor_step(batch.add(noise=rng.standard_normal((128, 1), np.float32)))
        entropies.append(-float(np.mean(actor["log_prob"])))
        sac.temperature_step(batch.add(log_prob=actor["log_prob"]))
        alphas.append(float(sac.temperature[0]))
    assert entropies[0] > -0.5 and np.mean(entropies[-100:]) == pytest.approx(-1.0, abs=0.03)
    assert np.mean(alphas[-100:]) == pytest.approx(10 * math.exp(-2) / (2 * math.pi * math.e), rel=0.05)


def test_only_the_critics_have_a_target() -> None:
    sac = make(SAC, num_envs=1, learning_starts=0, tau=0.25)
    before = nn.parameters_to_vector(sac.target_critics).copy()
    feed(sac, 1)
    expected = 0.75 * before + 0.25 * nn.parameters_to_vector(sac.critics)
    np.testing.assert_allclose(nn.parameters_to_vector(sac.target_critics), expected, rtol=1e-5, atol=1e-8)
    assert not hasattr(sac, "target_actor")


def test_it_explores_by_its_policy_and_acts_by_the_median() -> None:
    sac = make(SAC, num_envs=3000, learning_starts=0, buffer_size=3000)
    observation = np.full((3000, 3), 0.2, np.float32)
    unit = sac.head.from_action(sac.act(observation))
    policy = sac.actor(observation[:1])
    u = np.arctanh(unit.clip(-0.999999, 0.999999))
    np.testing.assert_allclose(u.mean(0), policy.base.mean.array[0], atol=0.08)
    np.testing.assert_allclose(u.std(0), policy.base.std.array[0], rtol=0.06)
    greedy = sac.head.from_action(sac.act(observation[:1], explore=False))
    np.testing.assert_allclose(greedy, np.tanh(policy.base.mean.array), atol=1e-6)
