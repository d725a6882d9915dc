"""IMPALA on problems whose answer is known, with broken twins that must miss the same bars; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

from dbrrl.agents import IMPALA
from dbrrl.envs.chain import Chain
from dbrrl.experiment import Run

from .probes import (
    GAMMA,
    over_continuous,
    over_probes_of_both_kinds,
    over_seeds,
    over_spaces,
    probe_errors,
    solves_cartpole,
    state_values,
    train,
)

QUICK: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 8,
    "learning_rate": 1e-2,
    "optimizer_eps": 1e-5,
    "entropy_coef": 0.0,
    "gamma": GAMMA,
    "hidden_sizes": (32,),
}


def learned(env: str, seed: int, **settings: Any) -> Run:
    """A run with what the toy problems have in common."""
    return train("impala", env, seed, **{**QUICK, **settings})


def errors(name: str, continuous: bool, seed: int) -> tuple[float, float]:
    """How far the policy's return and the worst value are from the known answers."""
    steps = 30_000 if continuous and name in ("Action", "Both") else 12_000
    run = learned(f"dbrrl/Probe{name}{'Continuous' * continuous}-v0", seed, steps=steps)
    return probe_errors(name, run, state_values)


@over_seeds
@over_probes_of_both_kinds
def test_probes_give_their_known_return_and_values(name: str, continuous: bool, seed: int) -> None:
    short, error = errors(name, continuous, seed)
    assert short < 0.01 and error < (0.03 if continuous and name in ("Action", "Both") else 0.01)


@over_seeds
@over_continuous
def test_the_chain_is_walked_to_its_end(continuous: bool, seed: int) -> None:
    run = learned(f"dbrrl/Chain{'Continuous' * continuous}-v0", seed, steps=16_000)
    assert run.score == 1.0
    assert state_values(run, np.eye(5, dtype=np.float32)[:1])[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.05)


@pytest.mark.slow
@over_seeds
@over_spaces
def test_the_target_is_named_in_every_action_space(name: str, bar: float, seed: int) -> None:
    assert learned(f"dbrrl/Identity{name}-v0", seed, steps=40_000, gamma=0.0).score >= bar


@over_seeds
def test_a_time_limit_is_no_end(seed: int) -> None:
    run = learned("dbrrl/Endless-v0", seed, steps=20_000)
    assert state_values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.01)


def test_an_advantage_of_the_wrong_sign_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = IMPALA.loss

    def wrong(self: IMPALA, batch: Any) -> Any:
        return right(self, batch.add(advantage=-batch.advantage))

    monkeypatch.setattr(IMPALA, "loss", wrong)
    assert errors("Action", continuous=False, seed=0)[0] > 1


@pytest.mark.slow
@over_seeds
def test_cartpole_is_solved_by_its_preset(seed: int) -> None:
    assert solves_cartpole("impala", seed)
