"""The named tree of random streams: stable, independent, and put back bit for bit."""

import json

import numpy as np
import pytest

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
