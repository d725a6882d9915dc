"""A3C on problems whose answer is known, its learners in turn in one process or in two; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

from dbrrl.envs.chain import Chain

from .in_turn import QUICK, score, train
from .probes import GAMMA, PROBES, over_probes_of_both_kinds, over_seeds, solves_cartpole
from .probes import train as run_experiment


def values(agent: Any, observations: Any) -> np.ndarray:
    found: np.ndarray = agent.network.value(agent.central.preprocess(np.asarray(observations, np.float32))).numpy()
    return found


@over_seeds
@over_probes_of_both_kinds
def test_probes_give_their_known_return_and_values(name: str, continuous: bool, seed: int) -> None:
    (known, seen), env = PROBES[name], f"dbrrl/Probe{name}{'Continuous' * continuous}-v0"
    hard = continuous and name in ("Action", "Both")
    agent = train(env, seed, 12_000 if hard else 8_000, log_std_init=-1.0 if hard else 0.0)
    if name != "Observation":  # its return is drawn: nothing is to be learned there
        assert known.optimal_return - score(agent, env) < 0.02
    wanted = [known.value(observation, GAMMA) for observation in seen]
    np.testing.assert_allclose(values(agent, [[o] for o in seen]), wanted, atol=0.05)


@over_seeds
def test_the_chain_is_walked_to_its_end(seed: int) -> None:
    agent = train("dbrrl/Chain-v0", seed, 12_000)
    assert score(agent, "dbrrl/Chain-v0") == 1.0
    assert values(agent, np.eye(5, dtype=np.float32)[:1])[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.05)


@over_seeds
def test_a_time_limit_is_no_end(seed: int) -> None:
    assert values(train("dbrrl/Endless-v0", seed, 12_000), [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True])
def test_two_processes_learn_to_walk_the_chain(deterministic: bool) -> None:
    settings = {**QUICK, "num_envs": 2, "steps": 12_000, "deterministic": deterministic}
    assert run_experiment("a3c", "dbrrl/Chain-v0", 0, **settings).score == 1.0


@pytest.mark.slow
@over_seeds
def test_cartpole_is_solved_by_its_preset(seed: int) -> None:
    assert solves_cartpole("a3c", seed)
