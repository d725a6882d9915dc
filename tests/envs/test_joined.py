"""Batched environments that step as one do what each does by itself."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import seeding
from dbrrl.envs import make
from dbrrl.envs.joined import Joined
from dbrrl.envs.vector import Environments
from dbrrl.errors import CheckpointError, EnvError

SIZES = (2, 3)


def seeds() -> list[np.random.SeedSequence]:
    return [seeding.sequence(5, "share", i) for i in range(len(SIZES))]


def parts(**options: Any) -> list[Environments]:
    return [make("CartPole-v1", n, seed=seed, **options) for n, seed in zip(SIZES, seeds(), strict=True)]


def joined(**options: Any) -> Environments:
    vector = Joined([one.vector_env for one in parts(**options)], seeds())
    return Environments(vector, "CartPole-v1", kind="batched", seed=seeding.sequence(0))


def test_each_part_does_what_it_does_by_itself() -> None:
    alone, together = parts(max_episode_steps=30), joined(max_episode_steps=30)
    np.testing.assert_array_equal(together.reset(), np.concatenate([one.reset() for one in alone]))
    rng, ends, limits = np.random.default_rng(0), 0, 0
    for _ in range(100):
        action = rng.integers(2, size=5)
        found, own = (
            together.step(action),
            [one.step(a) for one, a in zip(alone, (action[:2], action[2:]), strict=True)],
        )
        for name in ("observation", "next_observation", "reward", "terminated", "truncated", "valid"):
            expected = np.concatenate([getattr(one, name) for one in own])
            np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)
        assert together.finished == [episode for one in alone for episode in one.finished]
        ends, limits = ends + int(found.terminated.sum()), limits + int(found.truncated.sum())
    assert ends > 5 and limits > 2


def test_they_go_on_from_their_state() -> None:
    one, other = joined(), joined()
    one.reset()
    for _ in range(20):
        one.step(np.ones(5, np.int64))
    assert other.load_state_dict(one.state_dict()) == []
    for _ in range(40):
        first, second = (envs.step(np.zeros(5, np.int64)) for envs in (one, other))
        np.testing.assert_array_equal(first.observation, second.observation)
    state = one.state_dict()
    state["environment"]["own"]["parts"].pop()
    with pytest.raises(CheckpointError, match="as many shares"):
        other.load_state_dict(state)
    one.close()


def test_other_vector_environments_are_refused() -> None:
    class Other(gym.vector.VectorEnv[Any, Any, Any]):
        pass

    with pytest.raises(EnvError, match="as many workers as shares"):
        Joined([Other()], seeds()[:1])
