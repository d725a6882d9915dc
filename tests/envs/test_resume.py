"""Exact resume: environments put back inside their episodes go on bit for bit, or say that they do not."""

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fragile import Broken, Ours

from dbrrl.checkpoint import load, save
from dbrrl.envs import Environments, make
from dbrrl.envs.recorder import Recorder
from dbrrl.errors import CheckpointError, EnvError

COPIES = 3


def seed(number: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(number)


def sampler(environments: Environments, number: int) -> Any:
    space = environments.vector_env.action_space
    space.seed(number)
    return space.sample


def leaves(observation: Any) -> list[bytes]:
    return [leaf.tobytes() for leaf in (observation.values() if isinstance(observation, dict) else [observation])]


def assert_same_future(one: Environments, other: Environments, steps: int = 60) -> None:
    sample = sampler(one, 11)
    assert leaves(one.observation) == leaves(other.observation)
    for _ in range(steps):
        action = sample()
        ours, theirs = one.step(action), other.step(action)
        assert leaves(ours.observation) == leaves(theirs.observation)
        assert leaves(ours.next_observation) == leaves(theirs.next_observation)
        for field in ("reward", "terminated", "truncated", "valid"):
            assert np.array_equal(getattr(ours, field), getattr(theirs, field))
        assert one.finished == other.finished
        assert np.array_equal(one.episode_return, other.episode_return)
        assert np.array_equal(one.episode_length, other.episode_length)
    assert one.steps == other.steps


def through_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    save(folder / "environments", {"state": state}, kind="test")
    return load(folder / "environments", kind="test")["state"]


@pytest.mark.parametrize("steps", [0, 1, 2, 37])
@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ("CartPole-v1", "batched"),
        ("CartPole-v1", "vector"),
        ("CartPole-v1", "sync"),
        ("Pendulum-v1", "sync"),
        ("FrozenLake-v1", "sync"),
        ("dbrrl/IdentityMultiBinary-v0", "sync"),
        ("fragile:Walk", "sync"),
        ("fragile:Ours", "vector"),
    ],
)
def test_goes_on_bit_for_bit(env: str, kind: str, steps: int, tmp_path: Path) -> None:
    environments = make(env, COPIES, seed=seed(1), vectorization=kind)
    environments.reset()
    sample = sampler(environments, 0)
    for _ in range(steps):
        environments.step(sample())
    state = through_a_file(environments.state_dict(), tmp_path)
    other = make(env, COPIES, seed=seed(2), vectorization=kind)
    assert other.load_state_dict(state) == []
    assert_same_future(environments, other)
    assert leaves(environments.reset()) == leaves(other.reset())


def test_a_used_one_can_be_put_back_too() -> None:
    environments = make("fragile:Walk", COPIES, seed=seed())
    environments.reset()
    sample = sampler(environments, 0)
    for _ in range(20):
        environments.step(sample())
    state = environments.state_dict()
    kept = make("fragile:Walk", COPIES, seed=seed(5))
    kept.reset()
    for _ in range(7):
        kept.step(sample())
    assert kept.load_state_dict(state) == []
    assert_same_future(environments, kept)


@pytest.mark.parametrize("kind", ["batched", "vector", "sync"])
def test_state_is_not_changed_by_what_follows(kind: str) -> None:
    environments = make("CartPole-v1", COPIES, seed=seed(), vectorization=kind)
    environments.reset()
    environments.step(np.ones(COPIES, np.int64))
    state = environments.state_dict()
    before = json.dumps(state, default=lambda array: array.tolist())
    other = make("CartPole-v1", COPIES, seed=seed(), vectorization=kind)
    other.load_state_dict(state)
    for _ in range(30):
        environments.step(np.zeros(COPIES, np.int64))
        other.step(np.zeros(COPIES, np.int64))
    assert json.dumps(state, default=lambda array: array.tolist()) == before


def test_async_goes_on_bit_for_bit_and_is_interchangeable_with_sync(tmp_path: Path) -> None:
    environments = make("fragile:Walk", 2, seed=seed(1), vectorization="async")
    environments.reset()
    sample = sampler(environments, 0)
    for _ in range(23):
        environments.step(sample())
    state = through_a_file(environments.state_dict(), tmp_path)
    for kind in ("async", "sync"):
        other = make("fragile:Walk", 2, seed=seed(2), vectorization=kind)
        assert other.load_state_dict(state) == []
        if kind == "sync":
            assert_same_future(environments, other)
        other.close()
    environments.close()


def test_box2d_comes_back(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its bindings are old, and an error while they load crashes the process
        pytest.importorskip("Box2D")
    environments = make("LunarLander-v3", 2, seed=seed(1))
    environments.reset()
    sample = sampler(environments, 0)
    for _ in range(150):
        environments.step(sample())
    state = through_a_file(environments.state_dict(), tmp_path)
    other = make("LunarLander-v3", 2, seed=seed(2))
    assert other.load_state_dict(state) == []
    assert_same_future(environments, other, 150)


def test_what_does_not_come_back_is_reported_and_begins_again() -> None:
    environments = make("fragile:Drifting", 2, seed=seed())
    environments.reset()
    for _ in range(6):
        environments.step(np.zeros(2, np.int64))
    state = environments.state_dict()
    other = make("fragile:Drifting", 2, seed=seed())
    reports = other.load_state_dict(state)
    assert reports == [
        f"environment {row} (fragile:Drifting) did not come back equal after 2 replayed actions "
        "(its observation differs): it starts a new episode"
        for row in range(2)
    ]
    assert other.observation.tolist() == [[0.0], [0.0]]
    assert other.episode_length.tolist() == [0, 0] and other.episode_return.tolist() == [0.0, 0.0]
    for _ in range(4):
        step = other.step(np.zeros(2, np.int64))
    assert step.truncated.all() and other.finished == [(4.0, 4)] * 2


@pytest.mark.parametrize("tampered", ["actions", "generator", "episode_return"])
def test_a_copy_that_differs_in_anything_begins_again(tampered: str) -> None:
    environments = make("CartPole-v1", 2, seed=seed(), vectorization="sync")
    environments.reset()
    for _ in range(5):
        environments.step(np.zeros(2, np.int64))
    state = environments.state_dict()
    second = state["environment"]["episodes"][1]
    if tampered == "actions":
        second["actions"][2] = 1
    elif tampered == "generator":
        second["generator"]["state"]["state"] += 1
    else:
        state["episode_return"][1] += 1e-9
    other = make("CartPole-v1", 2, seed=seed(), vectorization="sync")
    (report,) = other.load_state_dict(state)
    assert report.startswith("environment 1 (CartPole-v1) did not come back equal after 5 replayed actions")
    assert other.episode_length.tolist() == [5, 0]
    assert np.array_equal(other.observation[0], environments.observation[0])
    single = gym.make("CartPole-v1")
    single.unwrapped.np_random.bit_generator.state = second["generator"]
    assert np.array_equal(other.observation[1], single.reset()[0])


def test_opaque_vector_environments_begin_again_the_same_way_each_time() -> None:
    states = []
    for _ in range(2):
        environments = Environments(Ours(2, opaque=True), "Ours", seed=seed())
        environments.reset()
        first = environments.observation.copy()
        environments.step(np.zeros(2, np.int64))
        other = Environments(Ours(2, opaque=True), "Ours", seed=seed())
        reports = other.load_state_dict(environments.state_dict())
        assert reports[1] == (
            "environment 1 (Ours) cannot be put back (its attribute 'handle' (object) is not plain data): "
            "it starts a new episode"
        )
        assert not np.array_equal(other.observation, first)
        states.append(other.observation)
    assert np.array_equal(*states)


def test_state_before_the_first_reset() -> None:
    environments = make("CartPole-v1", 2, seed=seed(3))
    other = make("CartPole-v1", 2, seed=seed(3))
    assert other.load_state_dict(environments.state_dict()) == []
    assert np.array_equal(environments.reset(), other.reset())


def test_other_environments_are_refused() -> None:
    environments = make("CartPole-v1", 2, seed=seed())
    environments.reset()
    state = environments.state_dict()
    for other in (
        make("CartPole-v1", 3, seed=seed()),
        make("Acrobot-v1", 2, seed=seed()),
        make("CartPole-v1", 2, seed=seed(), vectorization="sync"),
    ):
        with pytest.raises(CheckpointError, match=r"expected the state of . x .*, got 2 x CartPole-v1 \(batched\)"):
            other.load_state_dict(state)


def test_damaged_state_is_refused_in_one_line() -> None:
    environments = make("CartPole-v1", 2, seed=seed())
    environments.reset()
    state = environments.state_dict()
    state["environment"]["own"]["state"] = np.zeros((3, 3))
    with pytest.raises(CheckpointError, match="take another checkpoint") as caught:
        environments.load_state_dict(state)
    assert "\n" not in str(caught.value)


def test_recorded_actions_are_one_array_that_doubles() -> None:
    environments = make("Pendulum-v1", 1, seed=seed(), vectorization="sync")
    environments.reset()
    action = np.ones((1, 1), np.float32)
    for _ in range(150):
        environments.step(action)
    recorder = environments.vector_env.envs[0]
    assert recorder._actions.shape == (256, 1) and recorder._actions.dtype == np.float32
    assert recorder.episode_state()["actions"].shape == (150, 1)
    for _ in range(60):
        environments.step(action)
    assert recorder._actions.shape == (256, 1) and recorder.episode_state()["actions"].shape == (10, 1)


class Aliased(Ours):
    """Acts on its state through a view of it."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.state = np.zeros((num_envs, 2))
        self.parts = {"first": [self.state[:, 0]]}


def test_attributes_that_are_views_of_one_another_are_not_put_back_apart() -> None:
    environments = Environments(Aliased(2), "Aliased", seed=seed())
    environments.reset()
    other = Environments(Aliased(2), "Aliased", seed=seed())
    report, _ = other.load_state_dict(environments.state_dict())
    assert "cannot be put back (two of its attributes are views of one array)" in report


def test_a_copy_that_can_neither_come_back_nor_begin_again_says_why() -> None:
    recorder = Recorder(Broken("reset raises"))
    recorder.reset(seed=0)
    recorder.step(0)
    recorder.pending = {**recorder.episode_state(), "observation": [np.zeros(2, np.float32)], "episode_return": 1.0}
    with pytest.raises(EnvError, match=r"reset\(\): raised ValueError: no way back at .*fragile.py:\d+: correct"):
        recorder.replay()
