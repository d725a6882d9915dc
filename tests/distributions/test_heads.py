"""From outputs to actions of every served space, legal ones whatever the network says."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import Bernoulli, Categorical, MultiCategorical, Normal
from dbrrl.distributions.heads import ACTION_SPACES, head_for
from dbrrl.errors import ConfigError

INF = np.inf
Box, Discrete, MultiDiscrete, MultiBinary = (
    gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
)  # fmt: skip
SPACES: list[Any] = [
    (Discrete(3), 3, (), Categorical),
    (Discrete(4, start=-2), 4, (), Categorical),
    (MultiDiscrete([2, 3, 1]), 6, (3,), MultiCategorical),
    (MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-3, 5]])), 11, (4,), MultiCategorical),
    (MultiBinary(3), 3, (3,), Bernoulli),
    (MultiBinary((2, 3)), 6, (6,), Bernoulli),
    (Box(-1, 1, (2,)), 2, (2,), Normal),
    (Box(-1, 1, ()), 1, (1,), Normal),
    (Box(0.1, 0.7, (2, 3), np.float64), 6, (6,), Normal),
    (Box(np.array([-INF, 0, -1, -INF]), np.array([INF, INF, 2, 0]), dtype=np.float64), 4, (4,), Normal),
    (Box(-3, 3, (2,), np.int8), 2, (2,), Normal),
    (Box(0, 255, (2,), np.uint8), 2, (2,), Normal),
]


def name(x: Any) -> str:
    return str(x) if isinstance(x, gym.Space) else ""


@pytest.mark.parametrize(("space", "size", "shape", "kind"), SPACES, ids=name)
@pytest.mark.parametrize("scale", [0.1, 100.0])
def test_actions_are_in_the_space(space: Any, size: int, shape: Any, kind: Any, scale: float) -> None:
    head, rng = head_for(space), np.random.default_rng(0)
    assert isinstance(space, ACTION_SPACES)
    assert (head.size, head.sample_shape, head.continuous) == (size, shape, kind is Normal)
    outputs = Tensor(rng.normal(size=(50, size)).astype(np.float32) * scale, requires_grad=True)
    policy = head.distribution(outputs, np.zeros(size, np.float32) if head.continuous else None)
    assert type(policy) is kind
    for sample in (policy.sample(rng), policy.mode()):
        assert sample.shape == (50, *shape) and sample.astype(head.sample_dtype).dtype == head.sample_dtype
        np.testing.assert_array_equal(sample.astype(head.sample_dtype), sample)
        actions = head.to_action(sample)
        assert actions.shape == (50, *space.shape)
        assert all(space.contains(np.asarray(action)) for action in actions)
        log_prob = policy.log_prob(sample)
        assert log_prob.shape == (50,) and log_prob.dtype == np.float32 and np.isfinite(log_prob.array).all()


def test_samples_are_counted_from_the_start() -> None:
    np.testing.assert_array_equal(head_for(Discrete(3, start=5)).to_action(np.array([0, 2])), [5, 7])
    head = head_for(MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-3, 5]])))
    np.testing.assert_array_equal(head.to_action(np.array([[1, 2, 3, 0]])), [[[2, 2], [0, 5]]])
    # The choices of an entry are those of its own columns.
    outputs = np.full((1, 11), -9.0)
    outputs[0, [1, 4, 8, 9]] = 9
    np.testing.assert_array_equal(head.distribution(outputs).mode(), [[1, 2, 3, 0]])


@pytest.mark.parametrize("start", [0, 2])
def test_actions_have_the_dtype_of_their_space(start: int) -> None:
    for dtype in (np.int64, np.int32, np.uint8):
        actions = head_for(Discrete(3, start=start, dtype=dtype)).to_action(np.array([0, 2]))
        assert actions.dtype == dtype and actions.tolist() == [start, start + 2]


def test_boxes_clip_and_round() -> None:
    head = head_for(Box(np.array([-INF, -1.0], np.float32), np.array([3.0, INF], np.float32)))
    actions = head.to_action(np.array([[-99.0, -99.0], [99, 99]], np.float32))
    np.testing.assert_array_equal(actions, [[-99, -1], [3, 99]])
    whole = head_for(Box(-3, 3, (2,), np.int8)).to_action(np.array([[0.6, -0.6], [9.9, -1.2]], np.float32))
    np.testing.assert_array_equal(whole, [[1, -1], [3, -1]])
    assert whole.dtype == np.int8


def test_a_network_without_log_std_is_told() -> None:
    with pytest.raises(ConfigError, match=r"expected a Parameter log_std \(2,\) for Box actions"):
        head_for(Box(-1, 1, (2,))).distribution(np.zeros((1, 2)))
