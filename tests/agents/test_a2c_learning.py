"""A2C on problems whose answer is known, with a broken twin that must miss the same bars; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

from dbrrl.agents import A2C
from dbrrl.envs.chain import Chain
from dbrrl.experiment import Experiment, Run

from .test_ppo_learning import GAMMA, PROBES, over_continuous, over_seeds, values

QUICK: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 4,
    "optimizer": "adam",
    "normalize_advantage": True,
    "learning_rate": 1e-2,
    "learning_rate_schedule": "linear",
    "entropy_coef": 0.0,
    "gamma": GAMMA,
    "hidden_sizes": (32,),
    "eval_interval": 1_000_000,
    "final_episodes": 20,
    "curve": False,
    "tensorboard": False,
    "progress": False,
}


def train(env: str, seed: int, **settings: Any) -> Run:
    """A run with what the toy problems have in common, without a preset."""
    return Experiment("a2c", env, seed=seed, preset=False, **{**QUICK, **settings}).run()


def probe_errors(name: str, continuous: bool, seed: int) -> tuple[float, float]:
    """How far the policy's return and the worst value are from the known answers."""
    env, seen = PROBES[name]
    steps = 20_000 if continuous and name in ("Action", "Both") else 10_000
    run = train(f"dbrrl/Probe{name}{'Continuous' * continuous}-v0", seed, steps=steps)
    known = [env.value(observation, GAMMA) for observation in seen]
    short = 0.0 if name == "Observation" else env.optimal_return - run.score
    return short, float(np.abs(values(run, [[o] for o in seen]) - known).max())


@over_seeds
@over_continuous
@pytest.mark.parametrize("name", PROBES)
def test_probes_give_their_known_return_and_values(name: str, continuous: bool, seed: int) -> None:
    short, error = probe_errors(name, continuous, seed)
    # While the policy still explores a continuous action, the critic sees a little less than the best reward.
    assert short < 0.01 and error < (0.02 if continuous and name in ("Action", "Both") else 0.01)


@over_seeds
@over_continuous
def test_the_chain_is_walked_to_its_end(continuous: bool, seed: int) -> None:
    run = train(f"dbrrl/Chain{'Continuous' * continuous}-v0", seed, steps=16_000)
    assert run.score == 1.0
    assert values(run, np.eye(5, dtype=np.float32)[:1])[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.05)


@over_seeds
@pytest.mark.parametrize(
    ("name", "bar"), [("Discrete", 10.0), ("MultiDiscrete", 10.0), ("MultiBinary", 10.0), ("Box", 9.9)]
)
def test_the_target_is_named_in_every_action_space(name: str, bar: float, seed: int) -> None:
    run = train(f"dbrrl/Identity{name}-v0", seed, steps=20_000, gamma=0.0)
    assert run.score >= bar


@over_seeds
def test_a_time_limit_is_no_end(seed: int) -> None:
    run = train("dbrrl/Endless-v0", seed, steps=20_000)
    assert values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.01)


def test_an_advantage_of_the_wrong_sign_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = A2C.gradient
    monkeypatch.setattr(A2C, "gradient", lambda self, terms, weights: right(self, terms, [-weights[0], *weights[1:]]))
    assert probe_errors("Action", continuous=False, seed=0)[0] > 1


@pytest.mark.slow
@over_seeds
def test_cartpole_is_solved_by_its_preset(seed: int) -> None:
    run = Experiment("a2c", "CartPole-v1", seed=seed, curve=False, tensorboard=False, progress=False).run()
    assert run.score >= 475 and run.scores[-1]["evaluation_episodes"] == 100
