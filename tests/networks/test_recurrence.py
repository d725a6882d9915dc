"""Networks with a memory: one step after the other or whole sequences, where episodes begin, rows of sequences."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.distributions.heads import head_for
from dbrrl.errors import CheckpointError, GraphError, ShapeError
from dbrrl.networks.actor_critic import RecurrentActorCritic
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.networks.recurrence import Recurrent, Sequences, plain, resets

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGES = gym.spaces.Dict({"seen": gym.spaces.Box(0, 255, (36, 36, 1), np.uint8), "felt": BOX})
STEPS, BATCH = 6, 4

kinds = pytest.mark.parametrize("kind", ["lstm", "gru"])


def network(kind: str = "lstm", space: gym.Space[Any] = BOX, size: int = 5) -> RecurrentActorCritic:
    head = head_for(gym.spaces.Box(-1.0, 1.0, (2,), np.float32))
    return RecurrentActorCritic(Preprocessor(space), head, (7,), "tanh", 0.0, np.random.default_rng(0), kind, size)


def observations(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(STEPS, BATCH, 3)).astype(np.float32)


def sequences(ends: np.ndarray, keep: np.ndarray, state: tuple[Any, ...]) -> Sequences:
    time, env = np.divmod(np.flatnonzero(keep), BATCH)
    return Sequences(observations(), state, resets(ends)[:-1], time, env)


@kinds
def test_a_sequence_is_its_steps_one_after_the_other(kind: str) -> None:
    net, x = network(kind), observations()
    reset = np.random.default_rng(1).random((STEPS, BATCH)) < 0.3
    start = tuple(np.random.default_rng(2).normal(size=(1, BATCH, 5)).astype(np.float32) for _ in net.initial_state(1))
    outputs, values, after = net(x, start, reset)
    assert outputs.shape == (STEPS, BATCH, 2) and values.shape == (STEPS, BATCH)
    state = start
    for t in range(STEPS):
        state = tuple(np.where(reset[t][None, :, None], 0, part) for part in state)
        output, value, state = net(x[t : t + 1], tuple(map(plain, state)), None)
        state = tuple(map(plain, state))
        np.testing.assert_allclose(output.numpy()[0], outputs.numpy()[t], atol=1e-6)
        np.testing.assert_allclose(value.numpy()[0], values.numpy()[t], atol=1e-6)
    for part, end in zip(state, after, strict=True):
        np.testing.assert_allclose(part, plain(end), atol=1e-6)


def test_images_and_vectors_are_read_at_every_step() -> None:
    net, rng = network(space=IMAGES), np.random.default_rng(0)
    seen, felt = rng.integers(0, 255, (2, 3, 1, 36, 36), np.uint8), rng.normal(size=(2, 3, 3)).astype(np.float32)
    given = {"vector": felt, "seen": seen}
    outputs, _, _ = net(given, net.initial_state(3), None)
    assert outputs.shape == (2, 3, 2)
    for part in (felt, seen):
        kept = part[1, 2].copy()
        part[1, 2] = 0
        changed = np.abs(net(given, net.initial_state(3), None)[0].numpy() - outputs.numpy()).max(-1) > 0
        part[1, 2] = kept
        np.testing.assert_array_equal(changed, [[False] * 3, [False, False, True]])


@kinds
def test_rows_of_sequences_are_those_of_the_whole(kind: str) -> None:
    rng, net = np.random.default_rng(3), network(kind)
    ends, keep = rng.random((STEPS, BATCH)) < 0.3, rng.random((STEPS, BATCH)) < 0.8
    state = tuple(rng.normal(size=part.shape).astype(np.float32) for part in net.initial_state(BATCH))
    whole = sequences(ends, keep, state)
    outputs, values = (x.numpy() for x in whole.unroll(net))
    everything = net(observations(), state, resets(ends)[:-1])
    np.testing.assert_array_equal(outputs, everything[0].numpy().reshape(-1, 2)[keep.reshape(-1)])
    n = keep.sum()
    for rows in (np.arange(n), rng.permutation(n), rng.choice(n, 3), np.flatnonzero(whole.env == 2)):
        some = whole[rows]
        assert some.reset.shape[1] == len(np.unique(whole.env[rows]))  # no sequence more than is needed
        found = some.unroll(net)
        np.testing.assert_allclose(found[0].numpy(), outputs[rows], atol=1e-6)
        np.testing.assert_allclose(found[1].numpy(), values[rows], atol=1e-6)


@pytest.mark.parametrize(("size", "groups"), [(1, 4), (STEPS, 4), (2 * STEPS, 2), (3 * STEPS, 2), (999, 1)])
def test_minibatches_are_whole_sequences_each_once_in_random_order(size: int, groups: int) -> None:
    net, rng = network(), np.random.default_rng(0)
    whole = sequences(np.zeros((STEPS, BATCH), bool), np.ones((STEPS, BATCH), bool), net.initial_state(BATCH))
    orders = set()
    for _ in range(20):
        found = list(whole.groups(size, rng))
        assert len(found) == groups
        np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(STEPS * BATCH))
        for rows in found:
            assert len(rows) == STEPS * len(np.unique(whole.env[rows]))
        orders.add(tuple(tuple(np.unique(whole.env[rows])) for rows in found))
    assert len(orders) > 3 or groups == 1


def test_a_sequence_without_a_transition_is_left_out() -> None:
    keep = np.ones((STEPS, BATCH), bool)
    keep[:, 1] = False
    whole = sequences(np.zeros((STEPS, BATCH), bool), keep, network().initial_state(BATCH))
    found = list(whole.groups(STEPS, np.random.default_rng(0)))
    assert sorted(len(rows) for rows in found) == [STEPS] * 3


@kinds
def test_a_memory_goes_on_with_observe_and_begins_anew_where_an_episode_ended(kind: str) -> None:
    net, x = network(kind), observations()
    memory = Recurrent(net, BATCH)
    first = memory.act(x[0], True).numpy()
    np.testing.assert_array_equal(memory.act(x[0], True).numpy(), first)  # not yet gone on
    memory.advance(np.array([False, True, False, False]))
    second = memory.act(x[1], True).numpy()
    both = net(x[:2], net.initial_state(BATCH), None)[0].numpy()[1]
    alone = net(x[1:2], net.initial_state(BATCH), None)[0].numpy()[0]
    np.testing.assert_allclose(second, np.where([[False], [True], [False], [False]], alone, both), atol=1e-6)
    assert np.abs(both - alone).max() > 1e-4


def test_what_is_remembered_of_an_evaluation_is_apart() -> None:
    net, x = network(), observations()
    memory, twin = Recurrent(net, BATCH), Recurrent(net, BATCH)
    for t in range(3):
        for one in (memory, twin):
            one.act(x[t], True)
        for first in (True, False, np.array([False, True])):
            memory.act(x[t, :2], False, first)
        for one in (memory, twin):
            one.advance(np.zeros(BATCH, bool))
    for name in ("start", "state", "ahead"):
        for part, other in zip(getattr(memory, name), getattr(twin, name), strict=True):
            np.testing.assert_array_equal(part, other)
    expected = net(x[1:3, :2], net.initial_state(2), None)[0].numpy()
    for t, first in ((1, True), (2, False)):
        np.testing.assert_allclose(memory.act(x[t, :2], False, first).numpy(), expected[t - 1], atol=1e-6)


def test_an_evaluation_must_say_where_episodes_begin() -> None:
    memory, x = Recurrent(network(), BATCH), observations()[0]
    with pytest.raises(GraphError, match="expected `episode_start`, got none: say in evaluation"):
        memory.act(x, False)
    with pytest.raises(GraphError, match=r"expected episode_start=True at the first step of 4 episodes"):
        memory.act(x, False, False)
    memory.act(x, False, True)
    with pytest.raises(GraphError, match="of 2 episodes"):
        memory.act(x[:2], False, [True, False])
    with pytest.raises(ShapeError, match=r"expected episode_start of shape \(4,\), got \(3,\)"):
        memory.act(x, False, np.ones(3, bool))


def test_a_state_of_another_network_is_refused() -> None:
    memory = Recurrent(network(), BATCH)
    for other in (Recurrent(network(size=6), BATCH), Recurrent(network(), 2), Recurrent(network("gru"), BATCH)):
        with pytest.raises(CheckpointError, match="memory: start: expected"):
            memory.load_state_dict(other.state_dict())
