"""Thresholds, bounds and published figures: complete, and what their sources say."""

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.benchmarks import reference, suite
from dbrrl.envs import make
from dbrrl.seeding import generator, sequence

CELLS = {(cell.agent, cell.env) for name in suite.names() for cell in suite.load(name).cells}
ENVS = sorted({env for _, env in CELLS})


@pytest.mark.parametrize("env", ENVS)
def test_every_environment_of_a_suite_has_bounds_and_gymnasiums_threshold(env: str) -> None:
    entry = reference.environment(env)
    assert entry is not None and entry.low < entry.high
    if env.startswith("ALE/"):
        assert entry.threshold is None
        return
    spec = gym.spec(env)
    expected = -200.0 if env == "Pendulum-v1" else spec.reward_threshold
    assert entry.threshold == expected
    if entry.threshold is not None:
        assert entry.high == entry.threshold
    assert reference.environment(f"dbrrl/{env}") == entry


def test_normalized_scores_are_0_for_random_play_and_1_at_the_bound() -> None:
    entry = reference.Environment(threshold=None, low=-20.0, high=30.0)
    assert entry.normalize(np.array([-20.0, 30.0, 5.0])).tolist() == [0.0, 1.0, 0.5]
    assert reference.environment("Unknown-v0") is None


@pytest.mark.parametrize(("env", "episodes"), [("CartPole-v1", 400), ("MountainCarContinuous-v0", 32)])
def test_random_play_scores_the_lower_bound(env: str, episodes: int) -> None:
    envs, draw = make(env, 16, seed=sequence(0)), generator(0, "actions")
    returns: list[float] = []
    envs.reset()
    while len(returns) < episodes:
        shape = (16, *(envs.action_space.shape or ()))
        discrete = isinstance(envs.action_space, gym.spaces.Discrete)
        envs.step(draw.integers(0, 2, shape) if discrete else draw.uniform(-1, 1, shape).astype(np.float32))
        returns += [episode_return for episode_return, _ in envs.finished]
    entry = reference.environment(env)
    assert entry is not None
    assert np.mean(returns) == pytest.approx(entry.low, abs=4 * np.std(returns) / episodes**0.5)


def test_published_figures_are_those_of_the_sources() -> None:
    def figures(env: str, agent: str) -> set[tuple[str, int, float, int]]:
        found = reference.published(env, agent)
        return {(one.source.short, one.steps, one.score, one.source.seeds) for one in found}

    assert figures("CartPole-v1", "dqn") == {
        ("SB3", 50_000, 500.0, 1),
        ("CleanRL", 500_000, 488.69, 3),
        ("CleanRL JAX", 500_000, 498.38, 3),
    }
    assert figures("LunarLander-v3", "ppo") == {("SB3", 1_000_000, 242.1, 1)}
    assert figures("MountainCar-v0", "c51") == {
        ("CleanRL", 500_000, -166.38, 3),
        ("CleanRL JAX", 500_000, -174.3, 3),
    }
    assert figures("CartPole-v1", "rainbow") == set()
    assert len(reference.published("Acrobot-v1")) == 10


def test_every_published_figure_is_whole_and_states_another_version() -> None:
    known = {*ENVS, *(env for env, _ in reference._environments().items())}
    for one in reference._published():
        assert one.env in known and one.steps >= 20_000 and one.spread >= 0
        assert bool(one.differs) == (one.theirs != one.env), one
        assert one.source.where.startswith("https://") and one.source.seeds >= 1 and one.source.measured
    entries = [(one.source.name, one.theirs, one.agent, one.steps) for one in reference._published()]
    assert len(entries) == len(set(entries))
