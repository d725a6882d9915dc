"""Prioritized replay: the sum tree against cumulative sums, probabilities and weights against the paper's formulas."""

from pathlib import Path

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.buffers import PrioritizedReplayBuffer
from dbrrl.buffers.prioritized import SumTree
from dbrrl.errors import AnomalyError, CheckpointError, ConfigError, GraphError

from .test_replay import GAMMA, Story, make


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000, 3000, 20_000])
def test_the_tree_finds_what_a_cumulative_sum_says(size: int) -> None:
    rng, tree = np.random.default_rng(size), SumTree(size)
    values = np.where(rng.random(size) < 0.3, 0.0, rng.integers(1, 9, size)).astype(float)
    values[size // 2] = 3.0
    tree[np.arange(size)] = values
    assert tree.total == values.sum()
    share = rng.random(500)
    cumulative = np.cumsum(values)
    np.testing.assert_array_equal(tree.find(share), np.searchsorted(cumulative, share * cumulative[-1], side="right"))
    changed = np.tile(rng.integers(size, size=20), 2)
    fresh = rng.random(40)
    tree[changed] = fresh
    for index, value in zip(changed, fresh, strict=True):
        values[index] = value  # the last of those that come twice
    np.testing.assert_array_equal(tree[np.arange(size)], values)
    assert tree.total == pytest.approx(values.sum())
    end = tree.find(np.array([1.0]))  # rounding can ask for the very end
    assert values[end[0]] > 0


def test_weights_worked_out_by_hand() -> None:
    """Errors 1, 2, 4, 8 with α = 1, β = 1/2: P = (1, 2, 4, 8)/15, w = (N P)^-1/2 over the largest, that of 1."""
    buffer = PrioritizedReplayBuffer(4, 1, [(1,)], [np.float32], alpha=1.0, beta=0.5, eps=1e-12)
    for t in range(4):
        buffer.add_action([np.full((1, 1), t, np.float32)], np.array([0]))
        buffer.add_outcome([np.zeros((1, 1), np.float32)], 0.0, False, False)
    buffer.sample(1, np.random.default_rng(0), GAMMA)
    buffer.update_priorities(np.arange(4), np.array([-1.0, 2.0, 4.0, -8.0]))
    batch = buffer.sample(15_000, np.random.default_rng(0), GAMMA)
    counts = np.bincount(batch.index, minlength=4)
    np.testing.assert_allclose(counts, [1000, 2000, 4000, 8000], atol=2)  # stratified: nearly no chance in it
    assert batch.weight is not None and batch.weight.dtype == np.float32
    np.testing.assert_allclose(batch.weight, np.array([1, 2, 4, 8])[batch.index] ** -0.5, rtol=1e-6)


def test_new_transitions_get_the_largest_priority_so_far() -> None:
    story = Story(make(20, 2, PrioritizedReplayBuffer, alpha=0.5), seed=0)
    story.step()
    batch = story.buffer.sample(4, np.random.default_rng(0), GAMMA)
    assert set(story.buffer.tree[batch.index]) == {1.0}
    for row, (error, largest) in enumerate([(9.0, 9.0), (4.0, 9.0), (0.25, 9.0), (-16.0, 16.0)], start=1):
        story.buffer.update_priorities(np.arange(2 * row), np.full(2 * row, error))  # all rows that there are
        story.step()
        story.buffer.sample(1, np.random.default_rng(0), GAMMA)
        assert story.buffer.tree[np.array([2 * row, 2 * row + 1])] == pytest.approx(largest**0.5)


def test_a_priority_is_the_error_and_eps_to_the_power_of_alpha() -> None:
    story = Story(make(20, 2, PrioritizedReplayBuffer, alpha=0.5, eps=0.25), seed=0)
    story.step()
    story.buffer.sample(1, np.random.default_rng(0), GAMMA)
    story.buffer.update_priorities(np.array([0, 1]), np.array([0.0, -2.0]))
    assert story.buffer.tree[np.array([0, 1])].tolist() == [0.5, 1.5]  # √(0 + 1/4), √(2 + 1/4)


def test_a_new_transition_has_a_priority_of_at_least_one() -> None:
    story = Story(make(20, 2, PrioritizedReplayBuffer, alpha=0.5), seed=0)
    story.step()
    story.buffer.sample(4, np.random.default_rng(0), GAMMA)
    story.buffer.update_priorities(np.array([0, 1]), np.full(2, 0.01))  # all there are
    story.step()
    story.buffer.sample(1, np.random.default_rng(0), GAMMA)
    assert (story.buffer.tree[np.array([2, 3])] == 1.0).all()


def test_forgotten_and_invalid_rows_are_never_drawn() -> None:
    story = Story(make(6, 2, PrioritizedReplayBuffer), seed=3, invalid=True)
    rng = np.random.default_rng(1)
    for step in range(60):
        story.step()
        if not len(story.buffer) or step % 3 == 1:
            continue
        batch = story.buffer.sample(50, rng, GAMMA)
        assert story.buffer.valid[batch.index].all() and not np.isin(batch.index // 2, [story.buffer.head]).any()
        drawable = np.count_nonzero(story.buffer.tree.nodes[story.buffer.tree.leaves :])
        assert drawable == len(story.buffer)
        story.buffer.update_priorities(batch.index, rng.normal(size=50))
        assert story.check(3) == len(story.buffer)


@pytest.mark.parametrize("steps", [1, 30])
def test_a_saved_buffer_draws_the_same(steps: int, tmp_path: Path) -> None:
    one, other = (Story(make(14, 2, PrioritizedReplayBuffer), seed=5) for _ in range(2))
    for _ in range(steps):
        one.step()
    batch = one.buffer.sample(8, np.random.default_rng(0), GAMMA)
    one.buffer.update_priorities(batch.index, batch.reward * 5)
    checkpoint.save(tmp_path / "buffer", one.buffer.state_dict(), kind="x")
    other.buffer.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    other.rng.bit_generator.state, other.observation = one.rng.bit_generator.state, one.observation
    for t in range(20):
        drawn = []
        for story in (one, other):
            story.step()
            drawn.append(story.buffer.sample(6, np.random.default_rng(t), GAMMA))
            story.buffer.update_priorities(drawn[-1].index, drawn[-1].reward)
        np.testing.assert_array_equal(drawn[0].index, drawn[1].index)
        np.testing.assert_array_equal(drawn[0].weight, drawn[1].weight)
        encoded = [checkpoint.encode(s.buffer.state_dict(), kind="x") for s in (one, other)]
        assert encoded[0] == encoded[1]


def test_what_cannot_be_is_refused() -> None:
    buffer = make(4, 1, PrioritizedReplayBuffer)
    with pytest.raises(GraphError, match="expected a transition"):
        buffer.sample(1, np.random.default_rng(0), GAMMA)
    for wrong in ({"alpha": 1.5}, {"beta": -0.1}, {"eps": 0.0}):
        with pytest.raises(ConfigError, match="expected alpha and beta in"):
            make(4, 1, PrioritizedReplayBuffer, **wrong)
    with pytest.raises(CheckpointError, match="prioritized replay"):
        buffer.load_state_dict(make(4, 1).state_dict())


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_an_error_that_is_no_number_changes_no_priority(odd: float) -> None:
    story = Story(make(8, 1, PrioritizedReplayBuffer), seed=0)
    for _ in range(5):
        story.step()
    buffer, rng = story.buffer, np.random.default_rng(0)
    index = buffer.sample(3, rng, GAMMA).index
    before = buffer.state_dict()["priority"].copy(), buffer.largest
    with pytest.raises(AnomalyError, match=r"expected finite errors, got (nan|inf) at place \d"):
        buffer.update_priorities(index, np.array([1.0, odd, 2.0]))
    assert (buffer.state_dict()["priority"] == before[0]).all() and buffer.largest == before[1]
