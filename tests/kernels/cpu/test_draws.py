"""Draws of recorded functions: the numbers of NumPy's generators, drawn by the functions behind their methods."""

import functools
from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension

if extension.module is None:
    pytest.skip("the extension module is not compiled", allow_module_level=True)

from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.kernels.cpu.draws import Call, drawing, whole_numbers

GENERATORS = [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]


def call(name: str, *arguments: Any, **options: Any) -> Call:
    drawn = getattr(np.random.default_rng(0), name)(*arguments, **options)
    return Call(name, arguments, options, drawn)


def is_quick(draw: Any) -> bool:
    return isinstance(draw, functools.partial) and draw.func is extension.module.draw


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["random", "standard_exponential", "standard_normal"])
def test_draws_are_those_of_the_method_in_their_order(name: str, dtype: Any, kind: Any) -> None:
    one, two = np.random.Generator(kind(3)), np.random.Generator(kind(3))
    draw = drawing(one, call(name, (5, 3), dtype))
    assert is_quick(draw)
    for _ in range(4):
        found, right = draw(), getattr(two, name)((5, 3), dtype)
        assert found.dtype == right.dtype and found.tobytes() == right.tobytes()
    assert one.random() == two.random()  # nothing more and nothing less was drawn
    assert one.bit_generator.lock.acquire(blocking=False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "made",
    [
        call("integers", 4, size=(5,)),
        call("normal", 2.0, 3.0, (5,)),
        call("standard_exponential", (5,), np.float64, method="inv"),
        call("uniform", -1.0, 1.0, (5,)),
        call("standard_normal", dtype=np.float32, out=np.zeros(5, np.float32)),
        call("random", None, np.float64, np.zeros(5)),
    ],
    ids=lambda made: made.name,
)
def test_other_draws_are_made_by_the_method(made: Call) -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    draw = drawing(one, made)
    assert not is_quick(draw)
    for _ in range(3):
        np.testing.assert_array_equal(draw(), getattr(two, made.name)(*made.arguments, **made.options))


def test_a_method_that_draws_other_numbers_than_the_function_is_called_itself() -> None:
    class Doubled(np.random.Generator):
        def random(self, *arguments: Any, **options: Any) -> Any:
            return 2 * super().random(*arguments, **options)

    made = call("random", (5,))
    draw, right = drawing(Doubled(np.random.PCG64(3)), made), Doubled(np.random.PCG64(3))
    np.testing.assert_array_equal(draw(), right.random((5,)))


def test_a_bit_generator_that_cannot_be_copied_draws_by_its_methods() -> None:
    class Single(np.random.PCG64):
        def __reduce__(self) -> Any:
            raise TypeError("not to be copied")

    draw = drawing(np.random.Generator(Single(3)), call("random", (5,)))
    assert not is_quick(draw)
    np.testing.assert_array_equal(draw(), np.random.default_rng(3).random(5))


def test_what_is_no_draw_is_refused() -> None:
    generator = np.random.default_rng(0).bit_generator
    lock, capsule = generator.lock, generator.capsule  # type: ignore[attr-defined]
    for wrong in (
        (np.zeros(3, np.int64), 1, capsule, lock.acquire, lock.release),
        (np.zeros(3), None, capsule, lock.acquire, lock.release),
        (np.zeros(3), 0, capsule, lock.acquire, lock.release),
        (np.zeros(3), 1, capsule),
    ):
        assert extension.module.draw(*wrong) is NotImplemented
    with pytest.raises(ValueError, match="PyCapsule"):
        extension.module.draw(np.zeros(3), 1, "a capsule", lock.acquire, lock.release)


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 2), (-7, 50_000), (5, 2**32), (-(2**62), 2**62 + 12345)])
def test_whole_numbers_are_those_of_the_method_in_their_order(kind: Any, first: int, count: int) -> None:
    one, two = np.random.Generator(kind(3)), np.random.Generator(kind(3))
    for n in (1, 0, 7, 128):
        found = whole_numbers(one, first, count, n)
        assert found.dtype == np.int64 and found.tobytes() == two.integers(first, first + count, size=n).tobytes()
    assert str(one.bit_generator.state) == str(two.bit_generator.state)
    assert one.bit_generator.lock.acquire(blocking=False)  # type: ignore[attr-defined]


def test_generators_that_are_not_known_draw_whole_numbers_themselves() -> None:
    class Other(np.random.Generator):
        """One that may draw others."""

    class Single(np.random.PCG64):
        def __reduce__(self) -> Any:
            raise TypeError("not to be copied")

    for rng in (Other(np.random.PCG64(3)), np.random.Generator(Single(3)), np.random.RandomState(3)):
        assert whole_numbers(rng, 0, 5, 3) is NotImplemented  # type: ignore[arg-type]
    buffer = ReplayBuffer(8, 1, [(2,)], [np.float32])
    for _ in range(6):
        buffer.add_action(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
        buffer.add_outcome(np.zeros((1, 2), np.float32), np.zeros(1), np.zeros(1, bool), np.zeros(1, bool))
    drawn = [buffer.draw(9, rng).tolist() for rng in (Other(np.random.PCG64(3)), np.random.default_rng(3))]
    assert drawn[0] == drawn[1] == np.random.default_rng(3).integers(0, 6, size=9).tolist()


def test_whole_numbers_of_what_is_not_served_are_refused() -> None:
    generator = np.random.default_rng(0).bit_generator
    lock, capsule = generator.lock, generator.capsule  # type: ignore[attr-defined]
    n_and_bounds = (-1, 0, 5), (3, 5, 4), (3.0, 0, 5), (3, None, 5), (3, 0, 2**64)
    for wrong in (*((*given, 1) for given in n_and_bounds), (3, 0, 5, None), (3, 0, 5, 0)):
        assert extension.module.draw_whole(*wrong, capsule, lock.acquire, lock.release) is NotImplemented
    with pytest.raises(ValueError, match="PyCapsule"):
        extension.module.draw_whole(3, 0, 5, 1, "a capsule", lock.acquire, lock.release)
