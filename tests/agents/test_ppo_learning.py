"""PPO on problems whose answer is known, with broken twins that must miss the same bars; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

import dbrrl.agents.ppo
from dbrrl.agents import PPO
from dbrrl.envs.chain import Chain
from dbrrl.envs.probes import ProbeAction, ProbeBoth, ProbeConstant, ProbeDelayed, ProbeObservation
from dbrrl.experiment import Experiment, Run

GAMMA = 0.9
SEEDS = [0, 1, 2]
QUICK: dict[str, Any] = {
    "num_envs": 8,
    "n_steps": 16,
    "batch_size": 64,
    "n_epochs": 8,
    "learning_rate": 3e-3,
    "learning_rate_schedule": "linear",
    "gamma": GAMMA,
    "hidden_sizes": (32,),
    "eval_interval": 1_000_000,
    "final_episodes": 20,
    "curve": False,
    "tensorboard": False,
    "progress": False,
}
PROBES = {
    "Constant": (ProbeConstant, [0.0]),
    "Observation": (ProbeObservation, [-1.0, 1.0]),
    "Delayed": (ProbeDelayed, [0.0, 1.0]),
    "Action": (ProbeAction, [0.0]),
    "Both": (ProbeBoth, [-1.0, 1.0]),
}

over_seeds = pytest.mark.parametrize("seed", SEEDS)
over_continuous = pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])


def train(env: str, seed: int, **settings: Any) -> Run:
    """A run with what the toy problems have in common, without a preset."""
    return Experiment("ppo", env, seed=seed, preset=False, **{**QUICK, **settings}).run()


def values(run: Run, observations: Any) -> np.ndarray:
    """V of a batch of observations."""
    agent: Any = run.agent
    found: np.ndarray = agent.network.value(agent.preprocess(np.asarray(observations, np.float32))).numpy()
    return found


def probe_errors(name: str, continuous: bool, seed: int) -> tuple[float, float]:
    """How far the policy's return and the worst value are from the known answers."""
    env, seen = PROBES[name]
    steps = 10_000 if continuous and name in ("Action", "Both") else 3_000
    run = train(f"dbrrl/Probe{name}{'Continuous' * continuous}-v0", seed, steps=steps)
    known = [env.value(observation, GAMMA) for observation in seen]
    # In evaluation the observation of ProbeObservation is drawn, and so is its return: nothing is to be learned there.
    short = 0.0 if name == "Observation" else env.optimal_return - run.score
    return short, float(np.abs(values(run, [[o] for o in seen]) - known).max())


@over_seeds
@over_continuous
@pytest.mark.parametrize("name", PROBES)
def test_probes_give_their_known_return_and_values(name: str, continuous: bool, seed: int) -> None:
    short, error = probe_errors(name, continuous, seed)
    # While the policy still explores a continuous action, the critic sees a little less than the best reward.
    assert short < 0.01 and error < (0.05 if continuous and name in ("Action", "Both") else 0.01)


@over_seeds
@over_continuous
def test_the_chain_is_walked_to_its_end(continuous: bool, seed: int) -> None:
    run = train(f"dbrrl/Chain{'Continuous' * continuous}-v0", seed, steps=8_000)
    assert run.score == 1.0
    first = np.eye(5, dtype=np.float32)[:1]
    assert values(run, first)[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.02)


@over_seeds
@pytest.mark.parametrize(
    ("name", "bar"), [("Discrete", 10.0), ("MultiDiscrete", 10.0), ("MultiBinary", 10.0), ("Box", 9.9)]
)
def test_the_target_is_named_in_every_action_space(name: str, bar: float, seed: int) -> None:
    run = train(f"dbrrl/Identity{name}-v0", seed, steps=8_000, gamma=0.0, n_steps=32)
    assert run.score >= bar


@over_seeds
def test_a_time_limit_is_no_end(seed: int) -> None:
    run = train("dbrrl/Endless-v0", seed, steps=20_000)
    assert values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.01)


def test_a_time_limit_taken_for_an_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = PPO.observe

    def ending(
        self: Any, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None, **more: Any
    ) -> None:
        observe(self, observation, reward, terminated | truncated, np.zeros_like(truncated), info, **more)

    monkeypatch.setattr(PPO, "observe", ending)
    assert values(train("dbrrl/Endless-v0", 0, steps=20_000), [[0.0]])[0] < 0.8 / (1 - GAMMA)


def test_an_advantage_of_the_wrong_sign_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dbrrl.agents.ppo.standardized
    monkeypatch.setattr(dbrrl.agents.ppo, "standardized", lambda advantage: -right(advantage))
    assert probe_errors("Action", continuous=False, seed=0)[0] > 1
    assert train("dbrrl/Chain-v0", 0, steps=8_000).score == 0.0


@pytest.mark.slow
@over_seeds
def test_cartpole_is_solved_by_its_preset(seed: int) -> None:
    run = Experiment("ppo", "CartPole-v1", seed=seed, curve=False, tensorboard=False, progress=False).run()
    assert run.score >= 475 and run.scores[-1]["evaluation_episodes"] == 100
