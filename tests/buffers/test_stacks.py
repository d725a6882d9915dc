"""Stacks of frames stored as single frames: what is taken is what was written, whatever was written."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import backend, checkpoint
from dbrrl.agents.dqn import DQN
from dbrrl.buffers import PrioritizedReplayBuffer, ReplayBuffer
from dbrrl.buffers import memory as memory_module
from dbrrl.envs import make as make_envs
from dbrrl.errors import CheckpointError, ConfigError
from tests import standin

from .test_replay import GAMMA, Story

K, SIZE = 3, (2, 2)


def make(capacity: int, num_envs: int, channels: int = 1, kind: Any = ReplayBuffer, **changes: Any) -> Any:
    shapes, dtypes = [(2,), (K * channels, *SIZE)], [np.float32, np.uint8]
    return kind(capacity, num_envs, shapes, dtypes, frame_stack=K, **changes)


class StackStory(Story):
    """Stacks of K frames; an episode begins with zeros, with its first frame K times, or with K frames of its own."""

    channels = 1

    def draw(self) -> list[np.ndarray]:
        vector = super().draw()[0]
        return [vector, self.frames(K)]

    def frames(self, count: int) -> np.ndarray:
        shape = (self.buffer.num_envs, count * self.channels, *SIZE)
        return self.rng.integers(0, 3, shape, np.uint8)  # so few values that frames come twice

    def following(self) -> list[np.ndarray]:
        moved = np.concatenate([self.observation[1][:, self.channels :], self.frames(1)], axis=1)
        if self.rng.random() < 0.1:  # an environment whose stack jumps
            moved[self.rng.integers(len(moved))] = self.frames(K)[0]
        return [super().draw()[0], moved]

    def fresh(self) -> list[np.ndarray]:
        vector, stack = self.draw()
        newest = stack[:, -self.channels :]
        for env, way in enumerate(self.rng.integers(3, size=len(stack))):
            if way == 0:
                stack[env, : -self.channels] = 0
            elif way == 1:
                stack[env] = np.tile(newest[env], (K, 1, 1))
        return [vector, stack]


@pytest.mark.parametrize(("n_steps", "num_envs", "channels"), [(1, 1, 1), (3, 1, 1), (1, 3, 2), (4, 3, 1)])
@pytest.mark.parametrize("invalid", [False, True])
def test_transitions_are_those_that_happened(
    n_steps: int, num_envs: int, channels: int, invalid: bool, place: Any
) -> None:
    story = StackStory.__new__(StackStory)
    story.channels = channels
    story.__init__(make(8 * num_envs, num_envs, channels, **place), seed=n_steps, invalid=invalid)  # type: ignore[misc]
    for _ in range(60):
        story.step()
        assert story.check(n_steps) == len(story.buffer)
    store = story.buffer.stores[1]
    assert 0 < len(store.full_stacks) == np.count_nonzero(store.entry) < 8 * num_envs


def test_forgotten_rows_are_never_drawn_by_priority() -> None:
    story, rng = StackStory(make(10, 2, kind=PrioritizedReplayBuffer), seed=3, invalid=True), np.random.default_rng(1)
    for step in range(80):
        story.step()
        if not len(story.buffer) or step % 3 == 1:
            continue
        batch = story.buffer.sample(50, rng, GAMMA)
        assert np.count_nonzero(story.buffer.tree.nodes[story.buffer.tree.leaves :]) == len(story.buffer)
        story.buffer.update_priorities(batch.index, rng.normal(size=50))
        assert story.check(3) == len(story.buffer)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
@pytest.mark.parametrize("steps", [0, 1, 9, 10, 14, 40])
def test_a_saved_buffer_goes_on_bit_for_bit(kind: Any, steps: int, tmp_path: Path, place: Any) -> None:
    one, other = (StackStory(make(14, 2, kind=kind, **where), seed=1, invalid=True) for where in (place, {}))
    one.observation[1][:, :-1] = 0  # as if frames of zeros stood before the first row
    for _ in range(steps):
        one.step()
    for _ in range(13):  # what was there before is gone
        other.step()
    one.buffer.add_action(one.observation, np.array([1, 2]))
    checkpoint.save(tmp_path / "buffer", one.buffer.state_dict(), kind="x")
    other.buffer.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    other.rng.bit_generator.state, other.observation = one.rng.bit_generator.state, one.observation
    other.told = [list(steps) for steps in one.told]
    for _ in range(25):
        one.step()
        other.step()
        assert one.check(2) == other.check(2) == len(one.buffer)
        encoded = [checkpoint.encode(s.buffer.state_dict(), kind="x") for s in (one, other)]
        assert encoded[0] == encoded[1]


class Dots(gym.Env[np.ndarray, Any]):
    """A picture with one dot that moves; an episode ends after a dozen steps, truly or by its time limit."""

    observation_space = gym.spaces.Box(0, 255, (36, 36), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.picture(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.picture(), 1.0, self.np_random.random() < 0.1, self.t == 12, {}

    def picture(self) -> np.ndarray:
        picture = np.zeros((36, 36), np.uint8)
        picture[self.np_random.integers(36), self.t] = self.np_random.integers(1, 256)
        return picture


class StackedDots(gym.wrappers.FrameStackObservation):
    """Four of the pictures."""

    def __init__(self) -> None:
        super().__init__(Dots(), 4)


def learned(num_envs: int, device: str = "cpu", steps: int = 60, **settings: Any) -> DQN:
    """An agent that has learned from stacks of dots."""
    envs = make_envs(f"{__name__}:StackedDots", num_envs, seed=np.random.SeedSequence(0))
    config = DQN.Config(buffer_size=40, batch_size=8, learning_starts=20, n_step=2, **settings)
    agent = DQN(envs.observation_space, envs.action_space, config, num_envs=num_envs, device=device)
    observation = envs.reset()
    for _ in range(steps):
        step = envs.step(agent.act(observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
        observation = step.observation
    return agent


@pytest.mark.parametrize("cuda", ["stand-in", pytest.param("cupy", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("prioritized", [False, True])
def test_an_agent_learns_the_same_with_its_buffer_in_any_memory(
    prioritized: bool, cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cuda == "stand-in":
        standin.install(monkeypatch)
    try:
        backend.require("cuda")
    except ConfigError as error:
        pytest.skip(str(error))
    common: dict[str, Any] = {"frame_stack": 4, "prioritized": prioritized, "steps": 40}
    host, *others = (learned(3, "cuda", buffer_device=place, **common) for place in ("host", "pinned", "device"))
    for other in others:
        assert other.num_updates == host.num_updates > 0
        np.testing.assert_allclose(other.optimizer.flat.values.get(), host.optimizer.flat.values.get(), 1e-4, 1e-6)
        for far, near in zip(other.replay.stores, host.replay.stores, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(far.rows), near.rows)
    moved = learned(3, "cpu", buffer_device="device", **common)  # on the CPU it is the host's memory
    assert type(moved.replay.stores[0].rows) is np.ndarray


@pytest.mark.parametrize("num_envs", [1, 3])
def test_an_agent_learns_the_same_from_single_frames(num_envs: int) -> None:
    plain, stacked = (learned(num_envs, frame_stack=frame_stack) for frame_stack in (1, 4))
    assert plain.num_updates == stacked.num_updates > 0
    np.testing.assert_array_equal(plain.optimizer.flat.values, stacked.optimizer.flat.values)
    assert stacked.replay.nbytes < 0.7 * plain.replay.nbytes


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedReplayBuffer])
@pytest.mark.parametrize("num_envs", [1, 8])
def test_a_million_atari_transitions(kind: Any, num_envs: int, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Zeros take no memory: nothing is allocated here that the test machine would feel."""
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 7_500_000_000)
    buffer = kind(1_000_000, num_envs, [(4, 84, 84)], [np.uint8], frame_stack=4)
    assert 7_056_000_000 < buffer.nbytes < 7_120_000_000
    assert "Buffer: 7.1 GB of memory as it fills" in capsys.readouterr().err
    # 10,000 episodes, of 100 steps each, would keep a stack of older frames each.
    assert buffer.nbytes + 2**14 * 3 * 84 * 84 < 7_500_000_000


def test_what_is_no_stack_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"frame_stack: expected images of 3 frames.*\(4, 8, 8\)"):
        ReplayBuffer(8, 1, [(4, 8, 8)], [np.uint8], frame_stack=3)
    buffer, rng = ReplayBuffer(5000, 2, [(3, 4, 4)], [np.uint8], frame_stack=3), np.random.default_rng(0)
    none = np.zeros(2, np.bool_)

    def picture() -> list[np.ndarray]:
        return [rng.integers(0, 256, (2, 3, 4, 4), np.uint8)]

    def steps(count: int) -> None:
        for _ in range(count):
            buffer.add_action(picture(), np.zeros(2, int))
            buffer.add_outcome(picture(), np.zeros(2), none, none)

    steps(450)
    with pytest.raises(ConfigError, match="set frame_stack to 1"):
        steps(100)
    state = make(6, 2).state_dict()
    for other in (make(8, 1), make(6, 2, channels=2)):
        with pytest.raises(CheckpointError, match="load with the same spaces, buffer_size, frame_stack"):
            other.load_state_dict(state)


def test_episodes_of_one_step_are_no_reason_to_refuse() -> None:
    buffer, rng = ReplayBuffer(5000, 2, [(3, 4, 4)], [np.uint8], frame_stack=3), np.random.default_rng(0)
    for _ in range(1500):
        stack = rng.integers(0, 256, (2, 3, 4, 4), np.uint8)
        buffer.add_action([stack], np.zeros(2, int))
        newest = rng.integers(0, 256, (2, 1, 4, 4), np.uint8)
        following = [np.concatenate([stack[:, 1:], newest], axis=1)]
        buffer.add_outcome(following, np.zeros(2), np.ones(2, bool), np.zeros(2, bool))
    assert len(buffer) == 3000
