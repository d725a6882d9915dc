"""TQC: its truncated target and its losses, written out again one quantile at a time."""

import math
from typing import Any

import numpy as np
import pytest

from dbrrl.agents import TQC
from dbrrl.distributions import SquashedNormal
from dbrrl.errors import ConfigError

from .stubs import BOX, Stub, column, three
from .test_continuous import make

ALPHA, N, M, D = 0.2, 2, 3, 1
RNG = np.random.default_rng(0)
NEXT, NOW = RNG.normal(size=(2, N, 3, M)).astype(np.float32)


def agent(theta: Any) -> Any:
    """An agent with a policy of mean s/2 and deviation 1, whose critics give the quantiles `theta`."""
    own = {"critics": N, "quantiles": M, "dropped_quantiles": D, "temperature": ALPHA}
    tqc: Any = TQC(BOX, BOX, TQC.Config(buffer_size=10, hidden_sizes=(4,), **own))
    tqc.actor = Stub(lambda one, s: SquashedNormal(one * s / 2, np.zeros(1, np.float32)))
    tqc.critics = tqc.target_critics = Stub(lambda one, s, a: one * theta + 0 * a.sum())
    return tqc


def log_density(observation: float, noise: float) -> float:
    u = observation / 2 + noise
    return -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(u) ** 2)


def test_the_target_drops_the_largest_of_all_critics_together() -> None:
    noise = (0.1, -0.4, 1.0)
    target = agent(NEXT).target(three(next_noise=column(*noise)))
    assert target.shape == (3, (M - D) * N)
    for i, (s, r, d) in enumerate(zip((1.0, -1.0, 1.8), (1, 2, 3), (0.5, 0.9, 0.0), strict=True)):
        pool = sorted(float(NEXT[n, i, m]) for n in range(N) for m in range(M))[: (M - D) * N]
        expected = [r + d * (z - ALPHA * log_density(s, noise[i])) for z in pool]
        np.testing.assert_allclose(target[i], expected, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_quantile_huber_loss_over_all_pairs() -> None:
    tqc, target = agent(NOW), RNG.normal(size=(3, 4)).astype(np.float32) * 2
    tqc.target = lambda batch: target
    loss, metrics = tqc.critic_loss(three())
    for i in range(3):
        total = 0.0
        for n in range(N):
            for m in range(M):
                for y in target[i]:
                    d, tau = float(y - NOW[n, i, m]), (2 * (m + 1) - 1) / (2 * M)
                    huber = d * d / 2 if abs(d) <= 1 else abs(d) - 0.5
                    total += abs(tau - (d < 0)) * huber / (M * 4)
        assert loss.numpy()[i] == pytest.approx(total, rel=1e-5)
        assert metrics()["error"][i] == pytest.approx(abs(target[i].mean() - NOW[:, i].mean()), rel=1e-4)


def test_the_policy_climbs_the_mean_of_all_quantiles() -> None:
    noise = (0.1, -0.4, 1.0)
    loss, _ = agent(NOW).actor_loss(three(noise=column(*noise)))
    densities = [log_density(s, e) for s, e in zip((0.2, 0.4, -0.6), noise, strict=True)]
    assert loss.item() == pytest.approx(np.mean([ALPHA * p for p in densities]) - NOW.mean(), rel=1e-5)


def test_at_least_one_quantile_has_to_stay() -> None:
    with pytest.raises(ConfigError, match="dropped_quantiles: expected fewer than the 3 quantiles"):
        make(TQC, quantiles=3, dropped_quantiles=3)
    assert make(TQC, quantiles=3, dropped_quantiles=0).sample is not None
