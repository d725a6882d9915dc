"""Observations of every served space as the arrays that networks take."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import (
    A2C,
    A3C,
    C51,
    DDPG,
    DQN,
    DRQN,
    IMPALA,
    IQN,
    PPO,
    QRDQN,
    REINFORCE,
    SAC,
    TD3,
    TQC,
    TRPO,
    DoubleDQN,
    Rainbow,
    SACDiscrete,
)
from dbrrl.errors import SpaceError
from dbrrl.networks.preprocessor import Preprocessor, is_image
from tests import standin
from tests.standin import host, put

Box, Discrete, MultiDiscrete, MultiBinary, Dict = (
    gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary, gym.spaces.Dict
)  # fmt: skip
IMAGE, FIRST = Box(0, 255, (6, 8, 3), np.uint8), Box(0, 255, (4, 6, 8), np.uint8)


def batch(space: Any, n: int) -> Any:
    if isinstance(space, Dict):
        return {key: batch(inner, n) for key, inner in space.spaces.items()}
    space.seed(3)
    return np.stack([space.sample() for _ in range(n)])


def by_hand(x: Any, space: Any) -> Any:
    """Gymnasium's own flattening, row by row."""
    return np.stack([gym.spaces.flatten(space, row) for row in x]).astype(np.float32)


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (3,)),
        Box(-1, 1, (3,), np.float64),
        Box(-1, 1, ()),
        Box(-1, 1, (2, 3)),
        Box(0, 1, (6, 8, 3), np.float32),
        Box(0, 255, (5, 4), np.uint8),
        Discrete(4),
        Discrete(4, start=-2),
        MultiDiscrete([2, 5]),
        MultiDiscrete(np.array([[2, 3], [4, 2]])),
        MultiBinary(3),
        MultiBinary((2, 2)),
    ],
    ids=str,
)
def test_vectors(space: Any) -> None:
    preprocessor, x = Preprocessor(space), batch(space, 7)
    vector = preprocessor(x)
    expected = by_hand(x, space)
    np.testing.assert_array_equal(vector, expected)
    assert vector.dtype == np.float32 and preprocessor.shapes == [expected.shape[1:]]
    assert preprocessor.vector_size == expected.shape[1] and preprocessor.dtypes == [np.float32]
    assert not preprocessor.image_shapes and not preprocessor.names


def test_multi_discrete_counts_from_its_start() -> None:
    vector = Preprocessor(MultiDiscrete([2, 3], start=[5, -1]))(np.array([[6, -1]]))
    np.testing.assert_array_equal(vector, [[0, 1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("space", "shape"),
    [(IMAGE, (3, 6, 8)), (FIRST, (4, 6, 8)), (Box(0, 255, (6, 8, 1), np.uint8), (1, 6, 8))],
)
def test_images_come_channels_first_as_bytes(space: Any, shape: Any) -> None:
    preprocessor, x = Preprocessor(space), batch(space, 2)
    image = preprocessor(x)
    assert preprocessor.image_shapes == preprocessor.shapes == [shape] and preprocessor.vector_size == 0
    assert is_image(space) and not preprocessor.names
    assert image.shape == (2, *shape) and image.dtype == np.uint8 and preprocessor.dtypes == [np.uint8]
    expected = x if x.shape[1:] == shape else np.stack([x[..., c] for c in range(shape[0])], 1)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((10, 10, 4), (4, 10, 10)),
        ((10, 10, 10), (10, 10, 10)),
        ((8, 8, 111), (111, 8, 8)),
        ((4, 10, 10), (4, 10, 10)),
        ((111, 8, 8), (111, 8, 8)),
        ((9, 7, 3), (3, 9, 7)),
    ],
)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8])
def test_small_boards_are_images_and_the_two_equal_axes_are_the_pictures(shape: Any, first: Any, dtype: Any) -> None:
    space = Box(0, 1, shape, dtype)
    preprocessor, x = Preprocessor(space), batch(space, 3)
    image = preprocessor(x)
    assert preprocessor.images == [(first, 1.0)] and image.dtype == np.uint8
    moved = x if shape[1:] == first[1:] and shape != (10, 10, 10) else x.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(image, moved)
    with standin.installed():
        there = preprocessor(put(x, "cuda"))
        np.testing.assert_array_equal(host(there, "cuda"), moved)


def test_a_vector_of_booleans_can_be_scaled() -> None:
    space = Box(0, 1, (3,), np.bool_)
    vector = Preprocessor(space, scale=True)(np.array([[True, False, True]]))
    np.testing.assert_array_equal(vector, [[1, -1, 1]])


def test_a_nested_dict_gives_one_vector_and_its_images() -> None:
    inner = Dict({"goal": Discrete(3, start=1), "camera": IMAGE})
    space = Dict({"a": Box(-1, 1, (2,), np.float64), "inner": inner, "bits": MultiBinary(2), "depth": FIRST})
    preprocessor, x = Preprocessor(space), batch(space, 5)
    given = preprocessor(x)
    assert list(given) == ["vector", "depth", "inner/camera"]  # Gymnasium keeps the keys sorted
    vector, depth, camera = given.values()
    leaves = [(x["a"], space["a"]), (x["bits"], space["bits"]), (x["inner"]["goal"], inner["goal"])]
    np.testing.assert_array_equal(vector, np.hstack([by_hand(*leaf) for leaf in leaves]))
    np.testing.assert_array_equal(camera, np.moveaxis(x["inner"]["camera"], -1, 1))
    np.testing.assert_array_equal(depth, x["depth"])
    assert preprocessor.shapes == [(7,), (4, 6, 8), (3, 6, 8)] and preprocessor.vector_size == 7
    assert [str(d) for d in preprocessor.dtypes] == ["float32", "uint8", "uint8"]
    assert [array.shape[1:] for array in preprocessor(x).values()] == preprocessor.shapes


def test_spaces_that_are_not_served() -> None:
    with pytest.raises(SpaceError, match=r"observation words/inner: expected one of Box, .* got Text"):
        Preprocessor(Dict({"words": Dict({"inner": gym.spaces.Text(5)})}))
    for empty in (Dict({}), Box(-1, 1, (0,))):
        with pytest.raises(SpaceError, match="expected at least one number"):
            Preprocessor(empty)


def test_scaled_entries_are_within_one() -> None:
    inf = np.inf
    space = Dict({"a": Box(np.float32([-1.2, -0.07, -inf]), np.float32([0.6, 0.07, 3.0])), "b": Discrete(2)})
    x = {"a": np.float32([[-1.2, 0.07, -5.0], [-0.3, 0.035, 9.0]]), "b": np.array([1, 0])}
    vector = Preprocessor(space, scale=True)(x)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [[-1, 1, -5, 0, 1], [0, 0.5, 9, 1, 0]], atol=1e-6)
    huge = np.finfo(np.float32).max
    alone = Box(np.float32([-1.2, 1000.0, -huge]), np.float32([0.6, 1004.0, huge]))
    vector = Preprocessor(alone, scale=True)(np.array([[0.6, 1003.0, 7.0]]))
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [[1, 0.5, 7]], atol=1e-6)
    image = Preprocessor(IMAGE, scale=True)(batch(IMAGE, 2))
    np.testing.assert_array_equal(image, Preprocessor(IMAGE)(batch(IMAGE, 2)))


SECONDS = np.arange(100) + 1_700_000_000  # since 1970: float32 counts them in steps of 128
FAR = 2**60


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("low", "high", "dtype", "entries"),
    [
        (1.7e9, 1.7e9 + 99, np.float64, SECONDS),
        (1_700_000_000, 1_700_000_099, np.int32, SECONDS),
        (1_700_000_000, 1_700_000_099, np.uint32, SECONDS),
        (2**24, 2**24 + 99, np.int64, np.arange(100) + 2**24),
        (FAR, FAR + 99, np.int64, np.arange(100) + FAR),
        (2**63, 2**63 + 99, np.uint64, np.arange(100, dtype=np.uint64) + np.uint64(2**63)),
        (-FAR, 99 - FAR, np.int64, np.arange(100) - FAR),
    ],
)
def test_entries_beyond_float32_are_scaled_before_they_are_cast(
    low: Any, high: Any, dtype: Any, entries: Any, device: str
) -> None:
    box = Box(np.array([low], dtype), np.array([high], dtype), dtype=dtype)
    x = entries.astype(dtype).reshape(-1, 1)
    expected = np.linspace(-1, 1, 100)
    with standin.installed():
        alone = Preprocessor(box, scale=True)(put(x, device))
        given = {"a": put(x, device), "b": put(np.arange(100) % 2, device)}
        inside = Preprocessor(Dict({"a": box, "b": Discrete(2)}), scale=True)(given)
        assert alone.dtype == inside.dtype == np.float32
        np.testing.assert_allclose(host(alone, device)[:, 0], expected, atol=1e-6)
        np.testing.assert_allclose(host(inside, device)[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16, np.uint8])
def test_entries_that_float32_holds_are_scaled_in_float32_as_ever(dtype: Any) -> None:
    box = Box(np.array([0, 2], dtype), np.array([6, 100], dtype), dtype=dtype)
    x = batch(box, 50)
    narrow = x.astype(np.float32)
    vector = Preprocessor(box, scale=True)(x)
    np.testing.assert_array_equal(vector, (narrow - np.float32([3, 51])) / np.float32([3, 49]))
    assert vector.dtype == Preprocessor(box).exact(x)[0].dtype == np.float32


@pytest.mark.parametrize(
    ("low", "high", "entries"),
    [(0, 4_000_000_000, SECONDS.astype(np.float64)), (0, 2**40, SECONDS), (FAR, FAR + 100, np.arange(100) + FAR)],
)
@pytest.mark.parametrize("make", [PPO, A2C])
def test_normalized_observations_of_large_entries_stay_distinct(
    make: Any, low: int, high: int, entries: np.ndarray
) -> None:
    """The running mean and deviation of t = 0 ... 99 are known in closed form; what is stored is what was given."""
    config = make.Config(n_steps=200, normalize_observation=True)
    agent = make(Box(low, high, (1,), entries.dtype.type), Discrete(2), config)
    for x in entries:
        agent.act(x.reshape(1, 1))
        agent.observe(x.reshape(1, 1), *np.zeros((3, 1)))
    given = agent.preprocess(entries.reshape(-1, 1))
    t = np.arange(100)
    np.testing.assert_allclose(given[:, 0], (t - t.mean()) / t.std(), atol=1e-5)
    seen = agent.rollout.observations[0][:100, 0, 0]
    running = [(k - k / 2) / max(np.sqrt(((k + 1) ** 2 - 1) / 12), 1e-4) for k in range(100)]
    np.testing.assert_allclose(seen, running, atol=1e-5)
    assert seen.dtype == given.dtype == np.float32


ON_POLICY = [PPO, A2C, A3C, IMPALA, REINFORCE, TRPO]
OFF_POLICY = [DQN, DoubleDQN, C51, QRDQN, IQN, Rainbow, DRQN, DDPG, TD3, SAC, TQC, SACDiscrete]


@pytest.mark.parametrize("make", [*ON_POLICY, *OFF_POLICY])
def test_every_agent_scales_large_entries_before_it_stores_them(make: Any) -> None:
    box = Box(1.7e9, 1.7e9 + 99, (1,), np.float64)
    actions = Discrete(2) if Discrete in make.action_spaces else Box(-1, 1, (1,))
    agent = make(box, actions, make.Config(scale_observation=True))
    for x in SECONDS.astype(np.float64):
        agent.act(x.reshape(1, 1))
        agent.observe(x.reshape(1, 1), *np.zeros((3, 1)))
    given = (agent.central if make is A3C else agent).preprocessor(SECONDS.astype(np.float64).reshape(-1, 1))
    np.testing.assert_allclose(given[:, 0], np.linspace(-1, 1, 100), atol=1e-6)
    if hasattr(agent, "replay"):
        rest = (1,) if make is DRQN else (0.99, 1)
        stored = agent.replay.sample(500, np.random.default_rng(0), *rest).observation
        assert len(np.unique(stored)) > 90 and stored.dtype == np.float32
