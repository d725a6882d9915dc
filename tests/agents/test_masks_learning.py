"""Agents learn what pays among the allowed actions, where any other ends the episode; without masks they do not."""

from typing import Any

import pytest

from dbrrl.envs.masked import Masked

from . import in_turn
from .probes import QUICK_DQN, QUICK_NOISY, over_seeds, train

BEST, ALIKE = Masked.optimal_return, 6.5
QUICK: dict[str, Any] = {"gamma": 0.5, "num_envs": 4, "hidden_sizes": (16,)}
ON_POLICY: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 32, "batch_size": 64, "n_epochs": 4, "learning_rate": 1e-2},
    "trpo": {"n_steps": 64},
    "impala": {"n_steps": 8, "learning_rate": 5e-3},
    "reinforce": {"learning_rate": 1e-2},
    "a2c": {"n_steps": 8, "learning_rate": 1e-2, "optimizer": "adam", "entropy_coef": 0.0},
}
Q_LEARNERS: dict[str, dict[str, Any]] = {
    "dqn": {},
    "c51": {"value_min": 0.0, "value_max": 8.0, "atoms": 33},
    "qr_dqn": {"quantiles": 10},
    "iqn": {},
    "drqn": {"recurrent_size": 8, "sequence_length": 5, "burn_in": 0, "batch_size": 16},
    "rainbow": {"value_min": 0.0, "value_max": 8.0, "atoms": 33, "n_step": 1},
}


@over_seeds
@pytest.mark.parametrize("agent", ON_POLICY)
def test_a_policy_takes_the_best_of_the_allowed_actions(agent: str, seed: int) -> None:
    assert train(agent, "dbrrl/Masked-v0", seed, steps=4000, **QUICK, **ON_POLICY[agent]).score == BEST


@over_seeds
@pytest.mark.parametrize(
    "agent", [pytest.param(name, marks=pytest.mark.slow) if name in ("iqn", "rainbow") else name for name in Q_LEARNERS]
)
def test_a_q_learner_takes_the_best_of_the_allowed_actions(agent: str, seed: int) -> None:
    quick = QUICK_NOISY if agent == "rainbow" else QUICK_DQN
    settings = {**quick, **QUICK, **Q_LEARNERS[agent]}
    assert train(agent, "dbrrl/Masked-v0", seed, steps=3000, **settings).score == BEST


@over_seeds
def test_a_soft_policy_takes_the_best_of_the_allowed_actions(seed: int) -> None:
    """Where one action is allowed its entropy is 0, whatever is asked for: the temperature is learned, too."""
    settings = {**QUICK, "learning_rate": 1e-2, "temperature_learning_rate": 1e-2, "target_entropy": 0.2}
    settings |= {"learning_starts": 200, "batch_size": 32, "tau": 0.1, "temperature": 0.1}
    assert train("sac_discrete", "dbrrl/Masked-v0", seed, steps=3000, **settings).score == BEST


@pytest.mark.slow
@over_seeds
def test_actor_learners_take_the_best_of_the_allowed_actions(seed: int) -> None:
    agent = in_turn.train("dbrrl/Masked-v0", seed, 6000, gamma=0.5)
    assert in_turn.score(agent, "dbrrl/Masked-v0") == BEST


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_a_memory_of_two_choices_and_masks_in_info(agent: str) -> None:
    settings = {**QUICK, **(ON_POLICY[agent] if agent == "ppo" else QUICK_DQN)} | {"gamma": 0.5}
    assert train(agent, "dbrrl/MaskedInfo-v0", 0, steps=3000, **settings).score == BEST
    if agent == "ppo":
        settings |= {"recurrent": "gru", "recurrent_size": 8}
        assert train(agent, "dbrrl/MaskedMultiDiscrete-v0", 0, steps=4000, **settings).score == BEST


def test_an_agent_that_does_not_see_the_masks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbrrl.networks.actor_critic.masked", lambda outputs, observation: outputs)
    run = train("ppo", "dbrrl/Masked-v0", 0, steps=4000, **QUICK, **ON_POLICY["ppo"])
    assert run.score < ALIKE
