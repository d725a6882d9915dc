"""DDPG: its target and losses by hand, and its targets after every update."""

from typing import Any

import numpy as np
import pytest

from dbrrl import nn
from dbrrl.agents import DDPG
from dbrrl.explorers import OrnsteinUhlenbeck

from .stubs import BOX, Stub, three
from .test_continuous import feed, make


def single(one: Any, observation: Any, action: Any) -> Any:
    """Q = 10 a + s, times the parameter."""
    return (one * (10 * action + observation)).reshape(1, -1)


def test_the_target_and_the_losses_worked_out_by_hand() -> None:
    """μ' = s/2 of 1, -1, 1.8 is 0.5, -0.5, 0.9; Q' = 6, -6, 10.8."""
    ddpg: Any = DDPG(BOX, BOX, DDPG.Config(buffer_size=10, hidden_sizes=(4,)))
    ddpg.target_actor, ddpg.target_critics = Stub(lambda one, s: one * s / 2), Stub(single)
    np.testing.assert_allclose(ddpg.target(three()), [1 + 0.5 * 6, 2 + 0.9 * -6, 3], rtol=1e-6)
    ddpg.critics, ddpg.actor = Stub(single), Stub(lambda one, s: one * s)
    loss, metrics = ddpg.critic_loss(three())  # Q = 5.2, -4.6, 9.4 against 4, -3.4, 3
    np.testing.assert_allclose(loss.numpy(), [1.2**2, 1.2**2, 6.4**2], rtol=1e-5)
    np.testing.assert_allclose(metrics()["error"], [1.2, 1.2, 6.4], rtol=1e-5)
    loss, _ = ddpg.actor_loss(three())
    assert loss.item() == pytest.approx(-11 * (0.2 + 0.4 - 0.6) / 3, abs=1e-6)


def test_both_targets_follow_after_every_update() -> None:
    ddpg = make(DDPG, num_envs=1, learning_starts=0, tau=0.25)
    for t in range(3):
        before = [nn.parameters_to_vector(x).copy() for x in (ddpg.target_actor, ddpg.target_critics)]
        feed(ddpg, 1, first=t)
        pairs = zip((ddpg.target_actor, ddpg.target_critics), before, (ddpg.actor, ddpg.critics), strict=True)
        for target, old, online in pairs:
            expected = 0.75 * old + 0.25 * nn.parameters_to_vector(online)
            np.testing.assert_allclose(nn.parameters_to_vector(target), expected, rtol=1e-5, atol=1e-8)
    assert ddpg.num_updates == 3


def test_the_papers_settings_are_the_defaults() -> None:
    config = DDPG.Config()
    assert (config.actor_learning_rate, config.learning_rate, config.tau) == (1e-4, 1e-3, 0.001)
    assert (config.batch_size, config.hidden_sizes) == (64, (400, 300))
    assert (config.noise_scale, config.noise_theta) == (0.2, 0.15)
    assert isinstance(make(DDPG).explorer.then, OrnsteinUhlenbeck)
