"""TD3: its targets and losses by hand, smoothing, the delay of the policy and of the targets."""

from typing import Any

import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.agents import TD3

from .stubs import BOX, Stub, column, three
from .test_continuous import feed, make


def agent() -> Any:
    return TD3(BOX, BOX, TD3.Config(buffer_size=10, hidden_sizes=(4,)))


def pair(one: Any, observation: Any, action: Any, members: slice | None = None) -> Any:
    """Q₁ = 10 a, Q₂ = 5 + a, times the parameter."""
    both = F.stack([10 * action[:, 0], 5 + action[:, 0]]) * one
    return both if members is None else both[members]


def test_the_target_worked_out_by_hand() -> None:
    """μ = s/2 of 1, -1, 1.8 and noise give 0.6, -0.3 and 1.4, clipped to 1; Q₁ = 6, -3, 10; Q₂ = 5.6, 4.7, 6."""
    td3 = agent()
    td3.target_actor = Stub(lambda one, s: one * s / 2)
    td3.target_critics = Stub(pair)
    target = td3.target(three(noise=column(0.1, 0.2, 0.5)))
    np.testing.assert_allclose(target, [1 + 0.5 * 5.6, 2 + 0.9 * -3, 3], rtol=1e-6)


def test_the_losses_worked_out_by_hand() -> None:
    """Q₁ = 5, -5, 10 and Q₂ = 5.5, 4.5, 6 against y = 4, 0, 3."""
    td3 = agent()
    td3.critics, td3.target = Stub(pair), lambda batch: np.array([4.0, 0.0, 3.0], np.float32)
    loss, metrics = td3.critic_loss(three())
    np.testing.assert_allclose(loss.numpy(), [1 + 1.5**2, 25 + 4.5**2, 49 + 9], rtol=1e-6)
    np.testing.assert_allclose(metrics()["error"], [1.25, 4.75, 5], rtol=1e-6)
    td3.actor = Stub(lambda one, s: one * s)
    loss, _ = td3.actor_loss(three())
    assert loss.item() == pytest.approx(-10 * (0.2 + 0.4 - 0.6) / 3, abs=1e-6)
    td3.actor = Stub(lambda one, s: one * s * s)
    loss, _ = td3.actor_loss(three())
    assert loss.item() == pytest.approx(-10 * (0.04 + 0.16 + 0.36) / 3, rel=1e-5)
    loss.backward()
    assert td3.actor.one.grad[0] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize(("scale", "low", "high"), [(0.1, 0.08, 0.12), (50.0, 0.45, 0.5)])
def test_smoothing_noise_has_its_deviation_and_its_bound(scale: float, low: float, high: float) -> None:
    td3 = make(TD3, target_noise=scale, batch_size=500)
    seen, step = [], td3.critic_step
    td3.critic_step = lambda batch: (seen.append(batch.noise), step(batch))[1]
    feed(td3, 6)
    noise = np.concatenate(seen)
    assert low <= noise.std() <= high and np.abs(noise).max() <= 0.5 and abs(noise.mean()) < 0.02


def vectors(td3: Any) -> list[np.ndarray]:
    names = ("actor", "target_actor", "target_critics", "critics")
    return [nn.parameters_to_vector(getattr(td3, name)).copy() for name in names]


def test_the_policy_and_the_targets_move_with_every_second_update() -> None:
    td3 = make(TD3, num_envs=1, learning_starts=0, policy_delay=3, tau=0.25)
    changed = []
    for t in range(7):
        before = vectors(td3)
        feed(td3, 1, first=t)
        after = vectors(td3)
        changed.append([bool(np.any(a != b)) for a, b in zip(after, before, strict=True)])
        if td3.num_updates % 3 == 0:
            np.testing.assert_allclose(after[1], 0.75 * before[1] + 0.25 * after[0], rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(after[2], 0.75 * before[2] + 0.25 * after[3], rtol=1e-5, atol=1e-7)
    assert changed == [[moved, moved, moved, True] for moved in (False, False, True, False, False, True, False)]


def test_the_critics_differ_from_the_start_and_targets_do_not() -> None:
    td3 = make(TD3)
    actor, target_actor, target_critics, critics = vectors(td3)
    np.testing.assert_array_equal(actor, target_actor)
    np.testing.assert_array_equal(critics, target_critics)
    first, second = td3.critics.body.layers[0].weight.array
    assert np.any(first != second)
