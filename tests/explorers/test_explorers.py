"""Explorers: their distributions, their bounds, and the same draws after saving."""

from collections.abc import Callable

import numpy as np
import pytest

from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.explorers import (
    AdditiveGaussian,
    Boltzmann,
    EpsilonGreedy,
    Explorer,
    EZGreedy,
    Greedy,
    LazyValues,
    NoNoise,
    OrnsteinUhlenbeck,
    UniformStart,
)  # fmt: skip
from dbrrl.schedules import exponential, linear

MANY = 40_000


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


MAKERS: dict[str, Callable[[], Explorer]] = {
    "greedy": lambda: Greedy(rng()),
    "epsilon": lambda: EpsilonGreedy(0.5, rng()),
    "ez": lambda: EZGreedy(0.5, 5, rng()),
    "boltzmann": lambda: Boltzmann(1.0, rng()),
    "gaussian": lambda: AdditiveGaussian(0.3, -1.0, 1.0, rng()),
    "ou": lambda: OrnsteinUhlenbeck(0.3, -1.0, 1.0, (5, 3), rng()),
    "none": lambda: NoNoise(rng()),
    "start": lambda: UniformStart(OrnsteinUhlenbeck(0.3, -1.0, 1.0, (5, 3), rng()), 12, -1.0, 1.0),
}


def shares(actions: np.ndarray) -> np.ndarray:
    return np.bincount(actions, minlength=3) / len(actions)


def values(row: list[float]) -> np.ndarray:
    return np.tile(np.array(row, np.float32), (MANY, 1))


def test_greedy_takes_the_best() -> None:
    np.testing.assert_array_equal(Greedy(rng())(np.array([[1.0, 3.0, 2.0], [9.0, 0.0, 1.0]])), [1, 0])


@pytest.mark.parametrize(
    ("schedule", "epsilons"),
    [
        (0.3, [0.3, 0.3, 0.3]),
        (linear(1.0, 0.1, 0.5), [1.0, 0.55, 0.1]),
        (exponential(1.0, 0.01, 0.5), [1.0, 0.1, 0.01]),
    ],
)
def test_epsilon_greedy_explores_as_often_as_its_schedule_says(schedule: object, epsilons: list[float]) -> None:
    explorer = EpsilonGreedy(schedule, rng())  # type: ignore[arg-type]
    for progress, epsilon in zip([0.0, 0.25, 0.9], epsilons, strict=True):
        expected = np.array([epsilon / 3, 1 - epsilon * 2 / 3, epsilon / 3])
        np.testing.assert_allclose(shares(explorer(values([0.0, 1.0, 0.5]), progress)), expected, atol=0.01)


@pytest.mark.parametrize("name", ["greedy", "epsilon", "ez", "boltzmann"])
def test_values_that_are_deferred_are_those_that_are_given(name: str) -> None:
    generator = rng()
    now, later = MAKERS[name](), MAKERS[name]()
    for _ in range(200):
        given = generator.standard_normal((5, 3))
        np.testing.assert_array_equal(later(LazyValues((5, 3), given.copy), 0.5), now(given, 0.5))


@pytest.mark.parametrize("explorer", [EpsilonGreedy(1.0, rng()), EZGreedy(1.0, 4, rng())])
def test_values_are_not_computed_where_all_explore(explorer: Explorer) -> None:
    asked: list[int] = []
    actions = [explorer(LazyValues((4, 3), lambda: asked.append(1))) for _ in range(50)]  # type: ignore[arg-type, func-returns-value]
    assert not asked and set(np.concatenate(actions).tolist()) == {0, 1, 2}


def lengths(explorer: EZGreedy, steps: int) -> np.ndarray:
    """How often in a row the first action was taken, where it was not the greedy one, 2."""
    batch = np.tile(np.float32([0.0, 0.0, 1.0]), (len(explorer.left), 1))
    first = explorer(batch)
    taken, going = np.ones(len(first), int), first < 2
    for _ in range(steps):
        action = explorer(batch, 1.0)
        going &= action == first
        taken += going
    return taken[first < 2]


def test_random_actions_last_as_the_zeta_distribution_says() -> None:
    """P(n) = n^-2 / (π² / 6); ε falls to 0 after the first step, so that no action begins later."""
    taken = lengths(EZGreedy(linear(0.75, 0.0), MANY, rng()), 12)
    assert len(taken) == pytest.approx(0.5 * MANY, rel=0.02)  # two of three random actions are not the greedy one
    expected = np.arange(1, 11) ** -2.0 / (np.pi**2 / 6)
    np.testing.assert_allclose(np.bincount(taken, minlength=12)[1:11] / len(taken), expected, atol=0.01)
    steep = lengths(EZGreedy(linear(0.75, 0.0), MANY, rng(), mu=4.0), 12)
    assert np.mean(steep == 1) == pytest.approx(90 / np.pi**4, abs=0.01)  # 1 / ζ(4)


def test_no_action_begins_while_another_lasts() -> None:
    explorer, batch = EZGreedy(1.0, 2, rng()), np.zeros((2, 1000), np.float32)  # 1,000 actions: hardly one comes twice
    taken = []
    for _ in range(200):
        before = explorer.left.copy()
        taken.append(explorer(batch))
        if len(taken) > 1:
            assert np.all(taken[-1][before > 0] == taken[-2][before > 0])
            assert np.all(explorer.left[before > 0] == before[before > 0] - 1)
    assert len({tuple(action) for action in taken}) < 200


def test_lasting_actions_end_with_the_episode() -> None:
    explorer, batch = EZGreedy(linear(1.0, 0.0), MANY, rng()), values([0.0, 0.0, 1.0])
    explorer(batch)
    ended = np.arange(MANY) % 2 == 0
    explorer.reset(ended)
    after = explorer(batch, 1.0)
    assert np.all(after[ended] == 2) and np.any(after[~ended] < 2)


def test_boltzmann_draws_from_the_softmax() -> None:
    p = np.exp(np.array([0.0, 1.0, 0.5]) / 0.5)
    np.testing.assert_allclose(shares(Boltzmann(0.5, rng())(values([0.0, 1.0, 0.5]))), p / p.sum(), atol=0.01)


def test_gaussian_noise_has_its_spread_and_stays_inside() -> None:
    noisy = AdditiveGaussian(linear(0.2, 0.0), -1.0, 1.0, rng())
    assert noisy(np.zeros((MANY, 1), np.float32)).std() == pytest.approx(0.2, rel=0.02)
    assert not noisy(np.zeros((9, 1), np.float32), 1.0).any()
    wide = AdditiveGaussian(5.0, np.float32([-1.0, 0.0]), np.float32([1.0, 2.0]), rng())(np.zeros((99, 2), np.float32))
    assert wide.dtype == np.float32
    np.testing.assert_array_equal([wide.min(0), wide.max(0)], [[-1.0, 0.0], [1.0, 2.0]])


def test_ornstein_uhlenbeck_noise_has_its_spread_and_memory() -> None:
    """x' = (1 - θ) x + σ n has the variance σ² / (1 - (1 - θ)²) and the correlation 1 - θ from step to step."""
    explorer = OrnsteinUhlenbeck(0.1, -9.0, 9.0, (MANY, 1), rng(), theta=0.25)
    zero = np.zeros((MANY, 1))
    for _ in range(40):
        before = explorer(zero).copy()
    after = explorer(zero)
    assert after.std() == pytest.approx(0.1 / np.sqrt(1 - 0.75**2), rel=0.02)
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] == pytest.approx(0.75, abs=0.01)
    explorer.reset(np.arange(MANY) < 3)
    assert not explorer.noise[:3].any() and explorer.noise[3:].all()


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_explorer_draws_the_same(name: str) -> None:
    one, other = MAKERS[name](), MAKERS[name]()
    batch = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for _ in range(4):
        one(batch)
    other.load_state_dict(one.state_dict())
    for _ in range(4):
        np.testing.assert_array_equal(one(batch), other(batch))
    with pytest.raises(CheckpointError):
        other.load_state_dict({})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EpsilonGreedy(1.5, rng()),
        lambda: EpsilonGreedy(linear(1.0, -0.1), rng()),
        lambda: EZGreedy(0.1, 1, rng(), mu=1.0),
        lambda: Boltzmann(0.0, rng()),
        lambda: AdditiveGaussian(-1.0, 0, 1, rng()),
        lambda: OrnsteinUhlenbeck(0.1, 0, 1, (1,), rng(), theta=2.0),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: Callable[[], Explorer]) -> None:
    with pytest.raises(ConfigError):
        wrong()


def test_a_uniform_start_counts_its_actions_and_then_hands_over() -> None:
    explorer = UniformStart(NoNoise(rng()), 5, np.float32([-1.0, 2.0]), np.float32([1.0, 4.0]))
    asked: list[int] = []
    given = LazyValues((2, 2), lambda: (asked.append(1), np.zeros((2, 2), np.float32))[1])
    for left in (3, 1, -1):
        action = explorer(given)
        assert explorer.left == left and not asked and action.dtype == np.float32
        assert (action >= [-1, 2]).all() and (action <= [1, 4]).all()
    assert explorer.stateless is explorer.then
    np.testing.assert_array_equal(explorer(given), np.zeros((2, 2)))
    assert len(asked) == 1 and explorer.state_dict()["left"] == 0


def test_a_uniform_start_does_not_count_what_is_not_learned_from() -> None:
    explorer = UniformStart(NoNoise(rng()), 5, -1.0, 1.0)
    for _ in range(4):
        assert np.abs(explorer.stateless(np.zeros((9, 2), np.float32))).max() > 0
    assert explorer.left == 5


def test_noise_without_a_state_has_the_long_run_deviation() -> None:
    explorer = OrnsteinUhlenbeck(0.2, -99.0, 99.0, (MANY, 1), rng(), theta=0.3)
    for _ in range(60):
        wandered = explorer(np.zeros((MANY, 1)))
    assert wandered.std() == pytest.approx(explorer.stateless(np.zeros((MANY, 1))).std(), rel=0.02)
    assert wandered.std() == pytest.approx(0.2 / np.sqrt(0.3 * 1.7), rel=0.02)
