"""Networks for continuous actions, and the map between [-1, 1] and the bounds of a Box."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn
from dbrrl.errors import SpaceError
from dbrrl.networks.continuous import Critics, DeterministicActor, SquashedNormalActor, UnitBoxHead
from dbrrl.networks.preprocessor import Preprocessor

Box = gym.spaces.Box
IMAGE = Box(0, 255, (12, 12, 1), np.uint8)
DICT = gym.spaces.Dict({"seen": IMAGE, "felt": Box(-1, 1, (3,))})
RNG = np.random.default_rng(0)


def test_the_unit_box_goes_linearly_to_the_bounds() -> None:
    head = UnitBoxHead(Box(np.float32([-2, 0]), np.float32([2, 10])), "page")
    sample = np.float32([[-1, -1], [0, 0], [1, 1], [0.5, -0.5]])
    np.testing.assert_allclose(head.to_action(sample), [[-2, 0], [0, 5], [2, 10], [1, 2.5]])
    np.testing.assert_allclose(head.from_action(head.to_action(sample)), sample)
    assert head.to_action(sample).dtype == np.float32 and head.sample_shape == (2,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_actions_have_the_shape_and_dtype_of_the_space(shape: tuple[int, ...], dtype: Any) -> None:
    space = Box(-3.0, 0.1, shape, dtype)
    head = UnitBoxHead(space, "page")
    sample = RNG.uniform(-1, 1, (50, head.size)).astype(np.float32)
    sample[0], sample[1] = -1, 1
    action = head.to_action(sample)
    assert action.shape == (50, *shape) and action.dtype == dtype
    assert all(space.contains(np.asarray(row)) for row in action)
    np.testing.assert_allclose(head.from_action(action), sample, atol=2e-3 if dtype == np.float16 else 1e-5)


def test_integers_have_equal_parts_of_the_unit_box() -> None:
    head = UnitBoxHead(Box(-1, 3, (1,), np.int64), "page")
    sample = np.linspace(-1, 1, 5001)[:, None].astype(np.float32)
    action = head.to_action(sample)
    values, counts = np.unique(action, return_counts=True)
    assert action.dtype == np.int64 and values.tolist() == [-1, 0, 1, 2, 3] and counts.max() - counts.min() <= 2
    whole = np.arange(-1, 4)[:, None]
    np.testing.assert_array_equal(head.to_action(head.from_action(whole)), whole)


def test_bounds_that_meet_leave_one_action() -> None:
    head = UnitBoxHead(Box(np.float32([2.0, -1]), np.float32([2.0, 1])), "page")
    action = head.to_action(np.float32([[-1, -1], [1, 1]]))
    np.testing.assert_array_equal(action, [[2, -1], [2, 1]])
    np.testing.assert_array_equal(head.from_action(action), [[0, -1], [0, 1]])


@pytest.mark.parametrize(
    "space",
    [
        Box(-np.inf, np.inf, (2,), np.float32),
        Box(np.float32([0, 0]), np.float32([1, np.inf])),
        Box(-1e300, 1e300, (1,), np.float64),
        Box(-(2**62), 2**62, (1,), np.int64),
    ],
    ids=["infinite", "half", "huge", "integers"],
)
def test_bounds_that_are_not_finite_are_refused_by_name(space: Any) -> None:
    with pytest.raises(SpaceError, match=r"page: expected an action space Box with finite bounds, got \["):
        UnitBoxHead(space, "page")


@pytest.mark.parametrize("space", [Box(-1, 1, (4,)), IMAGE, DICT, gym.spaces.Discrete(5)], ids=lambda s: str(type(s)))
def test_every_observation_goes_to_actors_and_critics(space: Any) -> None:
    given = Preprocessor(space)
    space.seed(0)
    samples = [space.sample() for _ in range(6)]
    stacked = {k: np.stack([s[k] for s in samples]) for k in space} if space is DICT else np.stack(samples)
    observation, action = given(stacked), RNG.uniform(-1, 1, (6, 2)).astype(np.float32)
    actor = DeterministicActor(given, 2, (8,), "relu", rng=RNG)
    assert actor(observation).shape == (6, 2) and np.abs(actor(observation).array).max() < 1
    policy = SquashedNormalActor(given, 2, (8,), "relu", rng=RNG)(observation)
    assert policy.mode().shape == (6, 2)
    assert Critics(given, 2, 2, (8,), "relu", rng=RNG)(observation, action).shape == (2, 6)
    assert Critics(given, 2, 3, (8,), "tanh", 7, rng=RNG)(observation, action).shape == (3, 6, 7)


def test_critics_read_the_action_and_each_has_its_own_weights() -> None:
    critics = Critics(Preprocessor(Box(-1, 1, (3,))), 2, 2, (16, 16), "relu", rng=RNG)
    observation = RNG.normal(size=(4, 3)).astype(np.float32)
    one, other = (critics(observation, np.full((4, 2), a, np.float32)).array for a in (-0.5, 0.5))
    assert np.abs(one - other).min() > 1e-5 and np.abs(one[0] - one[1]).min() > 1e-5
    np.testing.assert_array_equal(critics(observation, np.full((4, 2), 0.5, np.float32), slice(1, 2)).array, other[1:])


def test_the_last_layers_of_ddpg_start_small() -> None:
    given = Preprocessor(Box(-1, 1, (3,)))
    actor = DeterministicActor(given, 2, (16,), "relu", out_bound=3e-3, rng=RNG)
    critics = Critics(given, 2, 1, (16,), "relu", out_bound=3e-3, rng=RNG)
    last: list[Any] = [next(m for m in reversed(list(actor.modules())) if isinstance(m, nn.Linear))]
    last.append(critics.body.layers[-1])
    for layer in last:
        for p in (layer.weight, layer.bias):
            assert 0 < np.abs(p.array).max() <= 3e-3


def test_the_log_standard_deviation_is_kept_in_its_range() -> None:
    actor = SquashedNormalActor(Preprocessor(Box(-1, 1, (3,))), 2, (8,), "relu", rng=RNG)
    last: Any = actor.body.layers[-1]
    last.bias.array[2:] = [100, -100]
    policy = actor(np.zeros((5, 3), np.float32))
    np.testing.assert_array_equal(policy.base.log_std.array, np.tile([2.0, -20.0], (5, 1)))
