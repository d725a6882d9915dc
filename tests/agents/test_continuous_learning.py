"""The off-policy agents for continuous actions on problems whose answer is known, and broken twins that miss it."""

from typing import Any

import numpy as np
import pytest

from dbrrl.agents import TD3
from dbrrl.experiment import Run
from dbrrl.learning.off_policy import OffPolicyAgent

from .probes import GAMMA, over_seeds, probe_errors, train

QUICK: dict[str, Any] = {
    "num_envs": 4,
    "gamma": GAMMA,
    "learning_rate": 3e-3,
    "hidden_sizes": (32,),
    "activation": "tanh",  # all the probes' observations are 0 or nearly so: ReLU would be dead there
    "batch_size": 64,
    "buffer_size": 4000,
    "learning_starts": 200,
    "update_interval": 4,
    "tau": 0.05,
}
OWN: dict[str, dict[str, Any]] = {
    "ddpg": {"actor_learning_rate": 3e-3, "noise": "gaussian"},
    "td3": {"noise_scale": 0.2, "target_noise": 0.05},
    "sac": {"temperature": 0.01, "temperature_learning_rate": 0.0},  # so that entropy is next to nothing in the values
    "tqc": {"temperature": 0.01, "temperature_learning_rate": 0.0, "critics": 2, "quantiles": 5},
}
CONTINUOUS = {"continuous": True}
over_agents = pytest.mark.parametrize(
    "agent", ["td3", "sac", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ddpg", "tqc"))]
)
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("Constant", "Observation", "Delayed")]
over_probes = pytest.mark.parametrize("name", ["Action", "Both", *SLOW])


def learned(agent: str, env: str, seed: int, **settings: Any) -> Run:
    return train(agent, env, seed, **{**QUICK, **OWN[agent], **settings})


def values(run: Run, observations: Any) -> np.ndarray:
    """The mean over the critics of Q(s, π(s))."""
    agent: Any = run.agent
    given = agent.preprocessor(np.asarray(observations, np.float32))
    found = agent.critics(given, agent.act_greedily(given)).array
    return np.asarray(found.mean(axis=0) if found.ndim == 2 else found.mean(axis=(0, 2)))


@over_seeds
@over_agents
@over_probes
def test_probes_give_their_known_return_and_values(name: str, agent: str, seed: int) -> None:
    run = learned(agent, f"dbrrl/Probe{name}Continuous-v0", seed, steps=4000)
    short, error = probe_errors(name, run, values)
    assert short < 0.02 and error < 0.1


@over_seeds
@over_agents
def test_the_target_is_shown(agent: str, seed: int) -> None:
    run = learned(agent, "dbrrl/IdentityBox-v0", seed, steps=5000, gamma=0.0)
    assert run.score > 9.9


@over_seeds
@over_agents
@pytest.mark.parametrize("n_step", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_time_limit_is_no_end(agent: str, n_step: int, seed: int) -> None:
    run = learned(agent, "dbrrl/Endless-v0", seed, steps=6000, n_step=n_step, env_kwargs=CONTINUOUS)
    assert values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.05)


def test_a_time_limit_taken_for_an_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = OffPolicyAgent.observe

    def ending(
        self: Any, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None, **more: Any
    ) -> None:
        observe(self, observation, reward, terminated | truncated, np.zeros_like(truncated), info, **more)

    monkeypatch.setattr(TD3, "observe", ending)
    assert values(learned("td3", "dbrrl/Endless-v0", 0, steps=6000, env_kwargs=CONTINUOUS), [[0.0]])[0] < 9
