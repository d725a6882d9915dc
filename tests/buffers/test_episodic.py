"""Sequences are pieces of the episodes that happened: against a plain list of them, through wrap-around and saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint, nn
from dbrrl.backend.trees import leaves
from dbrrl.buffers import EpisodicReplayBuffer, Sequences
from dbrrl.buffers.cutting import cut
from dbrrl.errors import CheckpointError, GraphError

from .test_replay import Story
from .test_replay import make as make_plain
from .test_stacks import StackStory
from .test_stacks import make as make_stacked

KINDS = [(make_plain, Story), (make_stacked, StackStory)]


def begin(make: Any, tell: type[Story], capacity: int, num_envs: int, seed: int = 0, **changes: Any) -> Story:
    return tell(make(capacity, num_envs, kind=EpisodicReplayBuffer), seed, **changes)


def happened(story: Story, index: int) -> tuple[int, int]:
    """Environment and step of what lies at a place."""
    buffer, told = story.buffer, len(story.told[0])
    ring = len(buffer.ends) // buffer.num_envs
    row, env = divmod(index, buffer.num_envs)
    return env, next(t for t in range(told - 1, -1, -1) if t % ring == row)


def check(story: Story, sequences: Sequences, length: int) -> None:
    """Every sequence against what happened."""
    oldest = len(story.told[0]) - story.buffer.size
    for i, (index, steps) in enumerate(zip(sequences.index, sequences.lengths, strict=True)):
        env, t = happened(story, int(index))
        told = story.told[env]
        assert 1 <= steps <= length and t >= oldest
        np.testing.assert_array_equal(sequences.mask[:, i], np.arange(length) < steps)
        begins = t == 0 or told[t - 1]["ended"] or not told[t - 1]["valid"]
        assert sequences.first[0, i] == begins and not sequences.first[1:, i].any()
        for j in range(steps):
            step = told[t + j]
            assert step["valid"] and (j == steps - 1 or not step["ended"])
            assert sequences.action[j, i] == step["action"] and sequences.reward[j, i] == np.float32(step["reward"])
            assert sequences.terminated[j, i] == step["terminated"]
            assert sequences.terminated[j, i] | sequences.truncated[j, i] == step["ended"]
            for part, seen in zip(leaves(sequences.observation), step["seen"], strict=True):
                np.testing.assert_array_equal(part[j, i], seen)
        last = told[t + steps - 1]
        for part, seen in zip(leaves(sequences.observation), last["next"], strict=True):
            np.testing.assert_array_equal(part[steps, i], 0 if last["terminated"] else seen)
            assert not part[steps + 1 :, i].any()
        for array in (sequences.action, sequences.reward, sequences.terminated, sequences.truncated):
            assert not array[steps:, i].any()
        # A short one is all there is of its episode.
        over = last["ended"] or t + steps == len(told) or not told[t + steps]["valid"]
        assert steps == length or (over and (begins or t == oldest))


@pytest.mark.parametrize(("make", "tell"), KINDS)
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_sequences_are_what_happened(make: Any, tell: Any, num_envs: int, invalid: bool, length: int) -> None:
    story, rng = begin(make, tell, 12 * num_envs, num_envs, invalid=invalid), np.random.default_rng(7)
    for _ in range(40):
        story.step()
        if len(story.buffer):
            check(story, story.buffer.sample(8, rng, length), length)


def test_all_steps_come_and_whole_episodes_if_asked_for() -> None:
    story = begin(make_plain, Story, 40, 2)
    for _ in range(33):
        story.step()
    long = story.buffer.sample(500, np.random.default_rng(0), 40)
    episodes = {(int(index), int(steps)) for index, steps in zip(long.index, long.lengths, strict=True)}
    assert sum(steps for _, steps in episodes) == len(story.buffer) == 40  # all of them, none cut
    seen = story.buffer.sample(3000, np.random.default_rng(0), 3)
    counts = np.zeros(len(story.buffer.ends), int)
    for j in range(3):
        np.add.at(counts, (seen.index[seen.mask[j]] + 2 * j) % len(counts), 1)
    assert np.count_nonzero(counts) == 40


def test_an_episode_worked_out_by_hand() -> None:
    """Five steps, then two of the next episode: windows of 4, asked for at each step."""
    buffer = EpisodicReplayBuffer(10, 1, [(1,)], [np.float32])
    for t in range(7):
        buffer.add_action([np.array([[t]], np.float32)], np.array([t]))
        buffer.add_outcome([np.array([[t + 0.5]], np.float32)], 10.0 * t, False, t == 4)
    s = buffer.gather(np.array([0, 1, 3, 5]), 4)
    np.testing.assert_array_equal(s.lengths, [4, 4, 2, 2])
    np.testing.assert_array_equal(s.action.T, [[0, 1, 2, 3], [1, 2, 3, 4], [3, 4, 0, 0], [5, 6, 0, 0]])
    np.testing.assert_array_equal(s.reward, 10 * s.action)
    np.testing.assert_array_equal(s.truncated.T, [[0] * 4, [0, 0, 0, 1], [0, 1, 0, 0], [0] * 4])
    np.testing.assert_array_equal(s.first.T, [[1, 0, 0, 0], [0] * 4, [0] * 4, [1, 0, 0, 0]])
    np.testing.assert_array_equal(
        leaves(s.observation)[0][:, :, 0].T, [[0, 1, 2, 3, 4], [1, 2, 3, 4, 4.5], [3, 4, 4.5, 0, 0], [5, 6, 6.5, 0, 0]]
    )
    starts = set(buffer.sample(300, np.random.default_rng(0), 4).index.tolist())
    assert starts == {0, 1, 5}


def test_windows_are_drawn_as_said() -> None:
    """Nine steps, T = 3. Step 0 gives the window from 0 at each of 3 offsets, 1 at two, 2 at one: 6 of 27 draws.

    By symmetry as many give the last window, and 3 each of those between.
    """
    buffer = EpisodicReplayBuffer(20, 1, [(1,)], [np.float32])
    for t in range(9):
        buffer.add_action([np.zeros((1, 1), np.float32)], 0)
        buffer.add_outcome([np.zeros((1, 1), np.float32)], 0.0, t == 8, False)
    counts = np.bincount(buffer.sample(27_000, np.random.default_rng(0), 3).index)
    np.testing.assert_allclose(counts / 1000, [6, 3, 3, 3, 3, 3, 6], atol=0.3)


def test_a_recurrent_network_takes_them() -> None:
    story = begin(make_plain, Story, 40, 2)
    for _ in range(15):
        story.step()
    sequences, lstm = story.buffer.sample(6, np.random.default_rng(0), 5), nn.LSTM(2, 3, rng=0)
    outputs, _ = lstm(leaves(sequences.observation)[0][:-1], reset=sequences.first, lengths=sequences.lengths)
    assert outputs.shape == (5, 6, 3) and not outputs.numpy()[~sequences.mask].any()


@pytest.mark.parametrize(("make", "tell"), KINDS)
@pytest.mark.parametrize("steps", [1, 30])
def test_a_saved_buffer_draws_the_same(make: Any, tell: Any, steps: int, tmp_path: Path) -> None:
    one, other = (begin(make, tell, 14, 2, seed=4, invalid=True) for _ in range(2))
    for _ in range(steps):
        one.step()
    for _ in range(9):
        other.step()
    checkpoint.save(tmp_path / "buffer", one.buffer.state_dict(), kind="x")
    other.buffer.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    other.rng.bit_generator.state, other.observation = one.rng.bit_generator.state, one.observation
    for t in range(25):
        one.step()
        other.step()
        encoded = [checkpoint.encode(s.buffer.state_dict(), kind="x") for s in (one, other)]
        assert encoded[0] == encoded[1]
        drawn = [s.buffer.sample(4, np.random.default_rng(t), 3) for s in (one, other)]
        np.testing.assert_array_equal(drawn[0].index, drawn[1].index)
        np.testing.assert_array_equal(leaves(drawn[0].observation)[1], leaves(drawn[1].observation)[1])


def test_what_cannot_be_is_refused() -> None:
    buffer = make_plain(6, 1, EpisodicReplayBuffer)
    with pytest.raises(GraphError, match="expected a transition"):
        buffer.sample(1, np.random.default_rng(0), 3)
    with pytest.raises(CheckpointError, match="replay: expected an entry 'position'"):
        buffer.load_state_dict(make_plain(6, 1).state_dict())


@pytest.mark.parametrize(("make", "tell"), KINDS)
@pytest.mark.parametrize("burn_in", [1, 5])
def test_the_steps_to_burn_in_come_before_in_the_same_episode(make: Any, tell: Any, burn_in: int) -> None:
    """As many as the buffer has, and `burn_in` at the most."""
    story, rng, seen = begin(make, tell, 24, 2, invalid=True), np.random.default_rng(7), set()
    for _ in range(40):
        story.step()
        if not len(story.buffer):
            continue
        sequences = story.buffer.sample(8, rng, 3, burn_in)
        check(story, sequences, 3)
        oldest = len(story.told[0]) - story.buffer.size
        for i, (index, steps) in enumerate(zip(sequences.index, sequences.before_lengths, strict=True)):
            env, t = happened(story, int(index))
            told, begins = story.told[env], t
            while begins > oldest and told[begins - 1]["valid"] and not told[begins - 1]["ended"]:
                begins -= 1
            assert steps == min(t - begins, burn_in)
            seen.add(int(steps))
            for j in range(burn_in):
                expected = told[t - steps + j]["seen"] if j < steps else [0, 0]
                for part, x in zip(leaves(sequences.before), expected, strict=True):
                    np.testing.assert_array_equal(part[j, i], x)
    assert seen == {0, 1} if burn_in == 1 else {0, 1, 2} <= seen


def test_the_state_is_that_before_the_steps_to_burn_in() -> None:
    """State t is (t, -t) for each of two units of one layer; the episode ends after step 4."""
    buffer = EpisodicReplayBuffer(10, 1, [(1,)], [np.float32], state_shapes=[(1, 2)])
    for t in range(7):
        x = np.zeros((1, 1), np.float32)
        buffer.add_action([x], np.array([t]), [np.array([[[t, -t]]], np.float32)])
        buffer.add_outcome([x], 0.0, False, t == 4)
    index = np.array([0, 1, 3, 5, 6])
    np.testing.assert_array_equal(buffer.gather(index, 2).state[0], [[[0, 0], [1, -1], [3, -3], [5, -5], [6, -6]]])
    burned = buffer.gather(index, 2, burn_in=2)
    np.testing.assert_array_equal(burned.before_lengths, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(burned.state[0], [[[0, 0], [0, 0], [1, -1], [5, -5], [5, -5]]])
    assert buffer.latest_ends.tolist() == [False] and buffer.nbytes > EpisodicReplayBuffer(10, 1, [(1,)], ["f4"]).nbytes
    other = EpisodicReplayBuffer(10, 1, [(1,)], [np.float32], state_shapes=[(1, 2)])
    other.load_state_dict(buffer.state_dict())
    np.testing.assert_array_equal(other.gather(index, 2).state[0], buffer.gather(index, 2).state[0])
    with pytest.raises(CheckpointError, match="state_0"):
        other.load_state_dict(EpisodicReplayBuffer(10, 1, [(1,)], [np.float32]).state_dict())


def test_no_sequence_goes_on_beyond_a_cut() -> None:
    buffer = EpisodicReplayBuffer(10, 2, [(1,)], [np.float32])
    x = np.zeros((2, 1), np.float32)
    for t in range(3):
        buffer.add_action([x], np.array([t, t]))
        buffer.add_outcome([x], np.zeros(2), np.array([False, t == 2]), np.zeros(2, bool))
    cut(buffer)
    for t in range(3, 5):
        buffer.add_action([x], np.array([t, t]))
        buffer.add_outcome([x], np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    s = buffer.gather(np.array([0, 1, 6, 7]), 5, burn_in=2)
    np.testing.assert_array_equal(s.lengths, [3, 3, 2, 2])
    np.testing.assert_array_equal(s.first[0], [True] * 4)
    np.testing.assert_array_equal(s.before_lengths, [0] * 4)
    np.testing.assert_array_equal(s.truncated[2], [True, False, False, False])
