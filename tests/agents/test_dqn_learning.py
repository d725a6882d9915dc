"""The DQN family on problems whose answer is known, with broken twins that must miss the bars; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

from dbrrl.agents import DQN
from dbrrl.envs.chain import Chain
from dbrrl.experiment import Run

from .probes import (
    GAMMA,
    QUICK_DQN,
    QUICK_NOISY,
    greedy_values,
    over_probes,
    over_seeds,
    probe_errors,
    solves_cartpole,
    train,
)

ADDED: dict[str, dict[str, Any]] = {
    "plain": {},
    "dueling": {"dueling": True},
    "n-step": {"n_step": 3},
    "prioritized": {"prioritized": True},
    "noisy": {"noisy": True, "noisy_sigma": 1.0},
    "all": {"dueling": True, "n_step": 3, "prioritized": True, "noisy": True, "noisy_sigma": 1.0},
}
AGENTS = ["dqn", "double_dqn"]

over_agents = pytest.mark.parametrize("agent", AGENTS)


def learned(env: str, seed: int, agent: str = "dqn", **settings: Any) -> Run:
    """A run with what the toy problems have in common."""
    quick = QUICK_NOISY if settings.get("noisy") else QUICK_DQN
    return train(agent, env, seed, **{**quick, **settings})


@over_seeds
@over_agents
@over_probes
def test_probes_give_their_known_return_and_values(name: str, agent: str, seed: int) -> None:
    short, error = probe_errors(name, learned(f"dbrrl/Probe{name}-v0", seed, agent, steps=3000), greedy_values)
    assert short < 0.01 and error < 0.02


@over_seeds
@pytest.mark.parametrize(
    "added", [name if name in ("plain", "all") else pytest.param(name, marks=pytest.mark.slow) for name in ADDED]
)
def test_the_chain_is_walked_to_its_end(added: str, seed: int) -> None:
    run = learned("dbrrl/Chain-v0", seed, steps=6000, **ADDED[added])
    assert run.score == 1.0
    if "n_step" not in ADDED[added]:  # returns of several steps hold the explored actions, too
        first = np.eye(5, dtype=np.float32)[:1]
        assert greedy_values(run, first)[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.03)


@over_seeds
@over_agents
def test_the_target_is_named(agent: str, seed: int) -> None:
    run = learned("dbrrl/IdentityDiscrete-v0", seed, agent, steps=3000, gamma=0.0)
    assert run.score >= 10.0


@over_seeds
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_time_limit_is_no_end(n_step: int, seed: int) -> None:
    run = learned("dbrrl/Endless-v0", seed, steps=8000, n_step=n_step)
    assert greedy_values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.02)


def test_a_time_limit_taken_for_an_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = DQN.observe

    def ending(
        self: Any, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None, **more: Any
    ) -> None:
        observe(self, observation, reward, terminated | truncated, np.zeros_like(truncated), info, **more)

    monkeypatch.setattr(DQN, "observe", ending)
    assert greedy_values(learned("dbrrl/Endless-v0", 0, steps=8000), [[0.0]])[0] < 0.9 / (1 - GAMMA)


def test_a_target_without_its_maximum_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def least(self: Any, batch: Any) -> Any:
        following = self.values(self.target_network, batch.next_observation).array
        return batch.reward + batch.discount * following.min(axis=1)

    monkeypatch.setattr(DQN, "target", least)
    first = np.eye(5, dtype=np.float32)[:1]
    assert greedy_values(learned("dbrrl/Chain-v0", 0, steps=6000), first)[0] < 0.5 * Chain(3).value(GAMMA)


FAMILY = [(agent, seed) for agent in ("dqn", "double_dqn", "c51") for seed in (0, 1, 2)]
FAMILY += [(agent, seed) for agent in ("qr_dqn", "iqn", "rainbow") for seed in (0, 1)]  # a minute each


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "seed"), FAMILY)
def test_cartpole_is_solved_by_its_preset(agent: str, seed: int) -> None:
    assert solves_cartpole(agent, seed)
