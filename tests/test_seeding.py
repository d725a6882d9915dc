"""The named tree of random streams: stable, independent, and put back bit for bit."""

import json

import numpy as np
import pytest

from dbrrl import seeding
from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.seeding import generator, generator_state, sequence, set_generator_state


def draws(*path: str | int, seed: int = 0) -> list[int]:
    return [int(x) for x in generator(seed, *path).integers(2**62, size=4)]


def test_a_name_gives_the_same_numbers_for_ever() -> None:
    assert draws("policy") == draws("policy")
    # Written down once: a change of the tree would change every published run.
    assert sequence(7, "environment", 3).spawn_key[:2] == (3167735871, 2465731044)


def test_other_names_seeds_and_depths_give_other_numbers() -> None:
    paths: list[tuple[str | int, ...]] = [
        (),
        ("a",),
        ("b",),
        ("a", "b"),
        ("b", "a"),
        ("ab",),
        (3,),
        ("3",),
        ("a", 3),
    ]
    streams = [tuple(draws(*path, seed=seed)) for path in paths for seed in (0, 1)]
    assert len(set(streams)) == len(streams)


def test_numpy_integers_are_integers() -> None:
    assert draws("environment", int(np.int64(3))) == [
        int(x)
        for x in generator(np.int64(0), "environment", np.int64(3)).integers(2**62, size=4)  # type: ignore[arg-type]
    ]


def test_neighboring_streams_are_uncorrelated() -> None:
    x = np.array([generator(0, "environment", i).normal(size=4000) for i in range(6)])
    correlation = np.corrcoef(x) - np.eye(6)
    assert np.abs(correlation).max() < 0.07


def test_state_brings_back_the_next_draws() -> None:
    g = generator(0, "policy")
    g.integers(10, size=3, dtype=np.int32)  # leaves half of a 64-bit draw buffered
    state = json.loads(json.dumps(generator_state(g)))
    expected = g.integers(10, size=5, dtype=np.int32), g.normal(size=5)
    other = generator(1)
    set_generator_state(other, state)
    np.testing.assert_array_equal(other.integers(10, size=5, dtype=np.int32), expected[0])
    np.testing.assert_array_equal(other.normal(size=5), expected[1])


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", None])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match="seed: expected an integer of 0 or more"):
        sequence(seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64"}, 5])
def test_a_foreign_state_is_refused(state: object) -> None:
    with pytest.raises(CheckpointError, match="expected a state of PCG64"):
        set_generator_state(generator(0), state)  # type: ignore[arg-type]


def test_streams_of_shares_are_those_of_each_share() -> None:
    alone = [seeding.of_shares(3, "policy", range(i, i + 1), 2) for i in range(4)]
    together = seeding.of_shares(3, "policy", range(4), 8)
    assert all(type(one) is np.random.Generator for one in alone)
    for name, options in (("random", {}), ("standard_normal", {"dtype": np.float32}), ("standard_exponential", {})):
        own = [getattr(one, name)((2, 3), **options) for one in alone]
        found = getattr(together, name)((8, 3), **options)
        assert found.dtype == own[0].dtype
        np.testing.assert_array_equal(found, np.concatenate(own))


def test_rows_of_shares_take_turns_and_are_all_there() -> None:
    streams = seeding.of_shares(0, "minibatches", range(1, 4), 6)  # three shares of two environments
    for steps in (1, 5):
        order = streams.permutation(steps * 6)
        assert sorted(order.tolist()) == list(range(steps * 6))
        assert ((order % 6) // 2).tolist() == [0, 1, 2] * (steps * 2)
    own = seeding.of_shares(0, "minibatches", range(2, 3), 2)
    own.permutation(2)  # of the order of one step
    time, env = np.divmod(own.permutation(10), 2)
    assert order[1::3].tolist() == (time * 6 + 2 + env).tolist()


def test_streams_go_on_from_their_state() -> None:
    one = seeding.of_shares(0, "policy", range(3), 6)
    one.random((6,))
    other = seeding.restored(one.state_dict(), "cpu")
    np.testing.assert_array_equal(one.random((6, 2)), other.random((6, 2)))
    with pytest.raises(CheckpointError):
        seeding.restored({"streams": [{}], "num_envs": 3}, "cpu")
