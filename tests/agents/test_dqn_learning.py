"""The DQN family on problems whose answer is known, with broken twins that must miss the bars; CartPole-v1 solved."""

from typing import Any

import numpy as np
import pytest

from dbrrl.agents import DQN
from dbrrl.envs.chain import Chain
from dbrrl.envs.probes import ProbeAction, ProbeBoth, ProbeConstant, ProbeDelayed, ProbeObservation
from dbrrl.experiment import Experiment, Run

GAMMA = 0.9
SEEDS = [0, 1, 2]
QUICK: dict[str, Any] = {
    "num_envs": 4,
    "learning_rate": 1e-2,
    "learning_rate_schedule": "linear",
    "gamma": GAMMA,
    "hidden_sizes": (32,),
    "activation": "tanh",  # all the probes' observations are 0 or nearly so: ReLU would be dead there
    "batch_size": 64,
    "buffer_size": 2000,
    "learning_starts": 100,
    "target_update_interval": 1,
    "tau": 0.05,
    "epsilon_steps": 1000,
    "epsilon_end": 0.2,
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
ADDED: dict[str, dict[str, Any]] = {
    "plain": {},
    "dueling": {"dueling": True},
    "n-step": {"n_step": 3},
    "prioritized": {"prioritized": True},
    "noisy": {"noisy": True, "noisy_sigma": 1.0},
    "all": {"dueling": True, "n_step": 3, "prioritized": True, "noisy": True, "noisy_sigma": 1.0},
}
AGENTS = ["dqn", "double_dqn"]

over_seeds = pytest.mark.parametrize("seed", SEEDS)
over_agents = pytest.mark.parametrize("agent", AGENTS)


def train(env: str, seed: int, agent: str = "dqn", **settings: Any) -> Run:
    """A run with what the toy problems have in common, without a preset."""
    return Experiment(agent, env, seed=seed, preset=False, **{**QUICK, **settings}).run()


def values(run: Run, observations: Any) -> np.ndarray:
    """max_a Q of a batch of observations."""
    agent: Any = run.agent
    agent.network.eval()
    found: np.ndarray = agent.values(agent.network, agent.preprocessor(np.asarray(observations, np.float32))).numpy()
    return found.max(1)


def probe_errors(name: str, seed: int, agent: str = "dqn", **settings: Any) -> tuple[float, float]:
    """How far the policy's return and the worst value are from the known answers."""
    env, seen = PROBES[name]
    run = train(f"dbrrl/Probe{name}-v0", seed, agent, **{"steps": 3000, **settings})
    known = [env.value(observation, GAMMA) for observation in seen]
    # In evaluation the observation of ProbeObservation is drawn, and so is its return: nothing is to be learned there.
    short = 0.0 if name == "Observation" else env.optimal_return - run.score
    return short, float(np.abs(values(run, [[o] for o in seen]) - known).max())


@over_seeds
@over_agents
@pytest.mark.parametrize("name", PROBES)
def test_probes_give_their_known_return_and_values(name: str, agent: str, seed: int) -> None:
    short, error = probe_errors(name, seed, agent)
    assert short < 0.01 and error < 0.02


@over_seeds
@pytest.mark.parametrize("added", ADDED)
def test_the_chain_is_walked_to_its_end(added: str, seed: int) -> None:
    run = train("dbrrl/Chain-v0", seed, steps=6000, **ADDED[added])
    assert run.score == 1.0
    if "n_step" not in ADDED[added]:  # returns of several steps hold the explored actions, too
        first = np.eye(5, dtype=np.float32)[:1]
        assert values(run, first)[0] == pytest.approx(Chain(3).value(GAMMA), abs=0.03)


@over_seeds
@over_agents
def test_the_target_is_named(agent: str, seed: int) -> None:
    run = train("dbrrl/IdentityDiscrete-v0", seed, agent, steps=3000, gamma=0.0)
    assert run.score >= 10.0


@over_seeds
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_time_limit_is_no_end(n_step: int, seed: int) -> None:
    run = train("dbrrl/Endless-v0", seed, steps=8000, n_step=n_step)
    assert values(run, [[0.0]])[0] == pytest.approx(1 / (1 - GAMMA), rel=0.02)


def test_a_time_limit_taken_for_an_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = DQN.observe

    def ending(
        self: Any, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None, **more: Any
    ) -> None:
        observe(self, observation, reward, terminated | truncated, np.zeros_like(truncated), info, **more)

    monkeypatch.setattr(DQN, "observe", ending)
    assert values(train("dbrrl/Endless-v0", 0, steps=8000), [[0.0]])[0] < 0.9 / (1 - GAMMA)


def test_a_target_without_its_maximum_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def least(self: Any, batch: Any) -> Any:
        following = self.values(self.target_network, batch.next_observation).array
        return batch.reward + batch.discount * following.min(axis=1)

    monkeypatch.setattr(DQN, "target", least)
    first = np.eye(5, dtype=np.float32)[:1]
    assert values(train("dbrrl/Chain-v0", 0, steps=6000), first)[0] < 0.5 * Chain(3).value(GAMMA)


FAMILY = [(agent, seed) for agent in ("dqn", "double_dqn", "c51") for seed in SEEDS]
FAMILY += [(agent, seed) for agent in ("qr_dqn", "iqn", "rainbow") for seed in SEEDS[:2]]  # a minute each


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "seed"), FAMILY)
def test_cartpole_is_solved_by_its_preset(agent: str, seed: int) -> None:
    run = Experiment(agent, "CartPole-v1", seed=seed, curve=False, tensorboard=False, progress=False).run()
    assert run.score >= 475 and run.scores[-1]["evaluation_episodes"] == 100
