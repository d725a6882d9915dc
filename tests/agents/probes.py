"""Learning on problems whose answer is known: runs of seconds, and how far what they learned is from the answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dbrrl.envs.probes import ProbeAction, ProbeBoth, ProbeConstant, ProbeDelayed, ProbeObservation
from dbrrl.experiment import Experiment, Run

GAMMA = 0.9
QUIET: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False}
RUN: dict[str, Any] = {"eval_interval": 1_000_000, "final_episodes": 20, **QUIET}
# Settings of the DQN family with which it learns these in seconds.
QUICK_NOISY: dict[str, Any] = {
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
}
EPSILON: dict[str, Any] = {"epsilon_steps": 1000, "epsilon_end": 0.2}  # of those that do not explore by noisy layers
QUICK_DQN: dict[str, Any] = {**QUICK_NOISY, **EPSILON}
PROBES = {
    "Constant": (ProbeConstant, [0.0]),
    "Observation": (ProbeObservation, [-1.0, 1.0]),
    "Delayed": (ProbeDelayed, [0.0, 1.0]),
    "Action": (ProbeAction, [0.0]),
    "Both": (ProbeBoth, [-1.0, 1.0]),
}

# One seed by default, two more where slow tests run.
over_seeds = pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
over_continuous = pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
over_probes = pytest.mark.parametrize("name", PROBES)
# Continuous actions matter where the reward depends on them; the other probes of that kind are slow tests.
over_probes_of_both_kinds = pytest.mark.parametrize(
    ("name", "continuous"),
    [(name, False) for name in PROBES]
    + [pytest.param(name, True, marks=() if name in ("Action", "Both") else pytest.mark.slow) for name in PROBES],
)
over_spaces = pytest.mark.parametrize(
    ("name", "bar"), [("Discrete", 10.0), ("MultiDiscrete", 10.0), ("MultiBinary", 10.0), ("Box", 9.9)]
)


def train(agent: str, env: str, seed: int, **settings: Any) -> Run:
    """A run without a preset, evaluated over 20 episodes at its end alone."""
    return Experiment(agent, env, seed=seed, preset=False, **{**RUN, **settings}).run()


def solves_cartpole(agent: str, seed: int) -> bool:
    """Whether the agent's preset solves CartPole-v1: a mean return of 475 over 100 episodes after training."""
    run = Experiment(agent, "CartPole-v1", seed=seed, **QUIET).run()
    return run.score >= 475 and run.scores[-1]["evaluation_episodes"] == 100


def state_values(run: Run, observations: Any) -> np.ndarray:
    """V of a batch of observations, by the critic of an actor-critic agent."""
    agent: Any = run.agent
    found: np.ndarray = agent.network.value(agent.preprocess(np.asarray(observations, np.float32))).numpy()
    return found


def greedy_values(run: Run, observations: Any) -> np.ndarray:
    """max_a Q of a batch of observations, by the network of an agent of the DQN family."""
    agent: Any = run.agent
    agent.network.eval()
    found: np.ndarray = agent.values(agent.network, agent.preprocessor(np.asarray(observations, np.float32))).numpy()
    return found.max(1)


def probe_errors(name: str, run: Run, values: Callable[[Run, Any], np.ndarray]) -> tuple[float, float]:
    """How far the policy's return and the worst value are from the known answers of a probe."""
    env, seen = PROBES[name]
    known = [env.value(observation, GAMMA) for observation in seen]
    # In evaluation the observation of ProbeObservation is drawn, and so is its return: nothing is to be learned there.
    short = 0.0 if name == "Observation" else env.optimal_return - run.score
    return short, float(np.abs(values(run, [[o] for o in seen]) - known).max())
