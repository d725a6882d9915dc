"""Tasks that need a memory are learned with an LSTM or GRU and not without, CartPole with hidden velocities too."""

from typing import Any

import pytest

from dbrrl.experiment import Experiment

from . import in_turn

QUIET: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False}
RUN = {"num_envs": 8, "eval_interval": 1_000_000, "final_episodes": 100, "threads": 1}
STEPS = 6_000
NETWORK: dict[str, Any] = {
    "gamma": 0.9,
    "hidden_sizes": (16,),
    "recurrent_size": 16,
}
LINEAR = {"learning_rate_schedule": "linear"}
AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 16, "batch_size": 64, "n_epochs": 4, "learning_rate": 5e-3, **LINEAR},
    "a2c": {
        "n_steps": 8, "optimizer": "adam", "normalize_advantage": True, "learning_rate": 1e-2, "entropy_coef": 0.0,
        **LINEAR,
    },
    "a3c": {"n_steps": 8, "learning_rate": 5e-3, "rmsprop_eps": 1e-3, "entropy_coef": 0.02, **LINEAR},
    "impala": {"n_steps": 8, "optimizer": "adam", "optimizer_eps": 1e-5, "learning_rate": 1e-2, **LINEAR},
    "reinforce": {"n_steps": 8, "learning_rate": 1e-2, **LINEAR},
    "trpo": {"n_steps": 16, "max_kl": 0.05, "critic_epochs": 8, "learning_rate": 3e-3},
}  # fmt: skip

SLOW = ("a3c", "trpo")
names = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in AGENTS]
)


def chain(name: str, recurrent: str) -> float:
    """Only its first observation tells how the others of an episode are shifted; the right actions return 1."""
    env, settings = "dbrrl/ChainHidden-v0", {**NETWORK, **AGENTS[name], "recurrent": recurrent}
    if recurrent == "none":
        settings.pop("recurrent_size")
    if name == "a3c":  # its learners in turn, in this process
        return in_turn.score(in_turn.train(env, 0, STEPS, **settings), env)
    return Experiment(name, env, seed=0, preset=False, steps=STEPS, **settings, **RUN, **QUIET).run().score


@names
@pytest.mark.parametrize("recurrent", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_the_first_observation_is_recalled(name: str, recurrent: str) -> None:
    assert chain(name, recurrent) == 1.0


@names
def test_without_a_memory_the_first_observation_is_lost(name: str) -> None:
    assert chain(name, "none") < 0.8  # one of the two shifts at the best: 0.5, and what the draw adds


def cartpole(name: str, seed: int, **settings: Any) -> float:
    """The score at the end of the preset's training of at most 100,000 steps, for A2C 200,000."""
    run = Experiment(name, "dbrrl/CartPoleHidden-v0", seed=seed, eval_interval=1_000_000, **QUIET, **settings).run()
    assert run.scores[-1]["steps"] <= (100_000 if name == "ppo" else 200_000)
    assert run.scores[-1]["evaluation_episodes"] == 100
    return run.score


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("ppo", 0), ("ppo", 1), ("a2c", 0), ("a2c", 5), ("a2c", 8)])
def test_cartpole_is_solved_with_its_velocities_hidden(name: str, seed: int) -> None:
    assert cartpole(name, seed) >= 450


@pytest.mark.slow
def test_without_a_memory_cartpole_stays_unsolved() -> None:
    assert cartpole("ppo", 0, recurrent="none") < 450
