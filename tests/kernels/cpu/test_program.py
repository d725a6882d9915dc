"""Programs as a whole: random functions, their memory, what they refuse, and several threads."""

import threading
from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension
from tests.cycles import leaving_no_cycles
from tests.kernels.cpu.conftest import using
from tests.kernels.cpu.programs import Untraceable, agree, recorded, refused, run
from tests.kernels.cpu.random_programs import RandomProgram

X = np.arange(12.0, dtype=np.float32).reshape(3, 4)


def check(seed: int, length: int = 14) -> bool:
    """Assert that a random function gives what NumPy gives, on two sets of arguments; False where it is refused."""
    function = RandomProgram(seed, length)
    others = function.more(np.random.default_rng(seed + 1_000_000))
    try:
        agree(function, *function.inputs, others=others, scale=300, single=function.single)
    except Untraceable as error:
        if "a write to places of this kind" in str(error):
            return False
        raise
    except AssertionError as error:
        raise AssertionError(f"RandomProgram({seed}, {length}): {error}") from None
    return True


@pytest.mark.parametrize("block", range(4))
def test_a_random_function_gives_what_numpy_gives(block: int) -> None:
    assert sum(check(seed) for seed in range(block * 100, block * 100 + 100)) > 90


@pytest.mark.slow
@pytest.mark.parametrize("block", range(5))
def test_many_and_long_random_functions_give_what_numpy_gives(block: int) -> None:
    assert sum(check(seed, 14 + seed % 30) for seed in range(block * 1000 + 1000, block * 1000 + 2000)) > 900


@pytest.mark.parametrize("level", ["plain", "avx2", "avx512"])
def test_random_functions_at_every_level(level: str) -> None:
    if level not in extension.module.levels():
        pytest.skip(f"this processor has no {level}")
    with using(level):
        for seed in range(400, 440):
            check(seed)


def test_an_input_that_is_returned_is_that_of_the_run() -> None:
    agree(lambda x: (x, x[1], x.T), X, others=[X + 1])


def test_a_result_may_be_any_view() -> None:
    agree(lambda x: ((x + 1)[::-1], (x * 2)[:, ::-2], (x - 1).T[1:], np.broadcast_to(x[0] + 1, (2, 4))), X, others=[-X])


def test_one_array_may_be_several_results() -> None:
    def function(x: Any) -> Any:
        y = x + 1
        return y, y, y[0], y[0, 0]

    agree(function, X, others=[-X])


def test_numbers_are_not_mixed_with_those_of_an_earlier_run() -> None:
    def function(x: Any) -> Any:
        total = np.zeros_like(x)
        total[::2] += x[::2]
        np.add.at(total, np.array([0, 2]), x[1])
        return total

    program = agree(function, X, others=[np.ones_like(X)])
    for k in range(4):
        np.testing.assert_array_equal(run(program, X * k)["0"], function(X * k))


def test_memory_is_shared_by_arrays_that_are_not_needed_together() -> None:
    def chain(x: Any) -> Any:
        for _ in range(20):
            x = np.tanh(x + 1)[::-1] * 2
        return x

    large = np.linspace(-1, 1, 10_000, dtype=np.float32)
    assert agree(chain, large, others=[large / 2], scale=30).program.memory < 5 * large.nbytes


def test_large_arrays_that_are_needed_together_begin_at_different_places_of_their_pages() -> None:
    def several(x: Any) -> Any:
        a, b, c = np.tanh(x), np.exp(x), np.sin(x)
        return a, b, c, a * b + b * c

    program = agree(several, np.linspace(-1, 1, 4096, dtype=np.float32), scale=30).program
    starts = {x.ctypes.data % 4096 for x in program.outputs[1:]}  # the first is the packed one
    assert len(starts) == len(program.outputs[1:]) == 4


def test_the_gradients_of_twin_layers_are_products_without_a_copy() -> None:
    def gradients(gradient: Any, x: Any) -> Any:
        return gradient.swapaxes(1, 2) @ x

    gradient, x = np.linspace(-1, 1, 2 * 6 * 5).reshape(2, 6, 5), np.linspace(0, 1, 6 * 3).reshape(6, 3)
    program = agree(gradients, gradient, x, others=[-gradient, x]).program
    assert [step.kind for step in program.steps].count("gemm") == 2
    assert not any(step.kind == "loop" and step.operands[0].shape == (2, 5, 6) for step in program.steps)
    many = np.linspace(-1, 1, 20 * 2 * 3).reshape(20, 2, 3)
    program = agree(lambda a, b: a.swapaxes(1, 2) @ b, many, np.ones((2, 2)), others=[-many, np.eye(2)]).program
    assert [step.kind for step in program.steps].count("gemm") == 1


def test_a_program_is_freed_without_the_collector_and_its_results_stay() -> None:
    program = recorded(lambda x: x + 1, X)
    with leaving_no_cycles():
        assert program.run(X)
        (result,) = program.results
        del program
        np.testing.assert_array_equal(result, X + 1)


def test_what_nobody_reads_is_not_computed() -> None:
    def function(x: Any) -> Any:
        np.exp(np.tanh(x)).sum()
        return x + 1

    assert len(agree(function, X).program.steps) == 1


def test_inputs_must_have_the_number_and_the_sizes_that_were_recorded() -> None:
    program = recorded(lambda x, y: x + y, X, X)
    with pytest.raises(TypeError, match="expected 2 inputs, got 1"):
        program.run(X)
    with pytest.raises(ValueError, match="expected 48 bytes of input 1, got 96"):
        program.run(X, X.astype(np.float64))
    with pytest.raises((BufferError, ValueError), match=r"contiguous|in one piece"):
        program.run(X, np.asfortranarray(X))
    assert program.run(X, X)


def test_arrays_of_somebody_else_are_read_where_they_are() -> None:
    own = np.ones((2, 3, 4), np.float32)
    number = np.array(2.0)

    def function(x: Any) -> Any:
        return x * own[1] + x * number - own[0, :, :1]

    program = agree(function, X)
    own *= 3
    number[...] = 5
    np.testing.assert_array_equal(run(program, X)["0"], function(X))


# ---- what is refused ----


def branch(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def read_number(x: Any) -> Any:
    return x * float(x[0, 0])


def read_item(x: Any) -> Any:
    return x * x.max().item()


def to_numpy(x: Any) -> Any:
    return np.asarray(x + 1) * x


def mask_index(x: Any) -> Any:
    return x[x > 3]


def write_elsewhere(x: Any) -> Any:
    kept = np.zeros((3, 4), np.float32)
    kept += x
    return kept


def write_elsewhere_by_index(x: Any) -> Any:
    kept = np.zeros((3, 4), np.float32)
    kept[0] = x[0]
    return kept


def write_input(x: Any) -> Any:
    x += 1
    return x * 2


def write_part_of_input(x: Any) -> Any:
    x[0] = 0
    return x * 2


def put_into_input(x: Any) -> Any:
    np.add.at(x, np.array([0, 1]), 1)
    return x


def count(x: Any) -> Any:
    return x[: int(x[0, 1])]


def as_text(x: Any) -> Any:
    return x * len(str(x.tolist()))


@pytest.mark.parametrize(
    "function",
    [branch, read_number, read_item, to_numpy, mask_index, write_elsewhere, write_elsewhere_by_index, write_input,
     write_part_of_input, put_into_input, count, as_text],
)  # fmt: skip
def test_what_cannot_be_traced_is_refused_with_its_line(function: Any) -> None:
    before = X.copy()
    message = refused(function, X)
    first = function.__code__.co_firstlineno
    place, _, line = message.rpartition(":")
    assert place.endswith("test_program.py") and first < int(line) <= first + 3
    np.testing.assert_array_equal(X, before)


SWALLOWED = {
    "copyto where": lambda x: np.copyto(x.copy(), 1, where=np.array([True, False, True, False])),
    "concatenate axis": lambda x: np.concatenate([x, x], axis=None),
    "dot out": lambda x: np.dot(x, x.T, out=np.zeros_like(x[:, :3])),
    "dot 3": lambda x: np.dot(x, x.reshape(1, 4, 3)),
    "mean out": lambda x: np.mean(x, axis=0, out=np.zeros_like(x[0])),
    "mean where": lambda x: np.mean(x, where=np.array([True, False, True, False])),
    "var correction": lambda x: np.var(x, correction=1),
    "sum initial": lambda x: np.sum(x, initial=1),
    "max where": lambda x: np.max(x, where=np.array([True, False, True, False]), initial=0),
    "argmax keepdims": lambda x: np.argmax(x, keepdims=True),
    "maximum.at": lambda x: np.maximum.at(x.copy(), np.array([0]), 1),
    "subtract.at": lambda x: np.subtract.at(x.copy(), np.array([0]), 1),
    "accumulate": lambda x: np.add.accumulate(x),
    "outer": lambda x: np.multiply.outer(x, x),
    "ravel order": lambda x: np.ravel(x, "F"),
    "reshape order": lambda x: np.reshape(x, (4, 3), order="F"),
    "cumsum": lambda x: x.cumsum(),
    "ufunc where": lambda x: np.add(x, 1, where=np.array([True, False, True, False])),
    "reciprocal of integers": lambda x: np.reciprocal(x.astype(np.int64) + 1),
    "True as index": lambda x: x[True],
    "half": lambda x: x.astype(np.float16),
    "bytes": lambda x: x.astype(np.uint8),
    "empty sum": lambda x: x[:0].sum(axis=0),
    "an object": lambda x: x + np.array([2, 1, 2, 3], object),
}


@pytest.mark.parametrize("name", list(SWALLOWED))
def test_an_argument_is_heeded_or_refused(name: str) -> None:
    assert "test_program.py:" in refused(SWALLOWED[name], X)


def test_an_array_of_a_trace_is_of_no_use_after_it() -> None:
    kept: list[Any] = []
    recorded(lambda x: kept.append(x + 1) or x * 2, X)
    with pytest.raises(Untraceable, match="used after it"):
        kept[0] + 1


# ---- threads ----


def test_a_program_that_runs_already_is_not_run_by_another_thread() -> None:
    def long(x: Any) -> Any:
        for _ in range(50):
            x = np.exp(np.tanh(x))
        return x.sum(axis=0)

    x = np.ones((200, 300))
    program = recorded(long, x)
    right, found = long(x), []

    def work() -> None:
        for _ in range(5):
            found.append(program.run(x))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {True, False} and True in found
    np.testing.assert_allclose(program.results[0], right)
