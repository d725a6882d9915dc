"""Several gradient steps in one call: the bits of single steps, and the same errors at the same place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, optim
from dbrrl.backend import load_kernels
from dbrrl.buffers import Batch
from dbrrl.compiled import check, step
from dbrrl.compiled.step import AT_ONCE, CompiledStep
from dbrrl.errors import AnomalyError, ArgumentError
from dbrrl.kernels.cpu import extension
from dbrrl.learning.gradient_step import GradientStep
from dbrrl.optim.optimizer import SWEEP_INTERVAL

load_kernels("cpu")
pytestmark = pytest.mark.skipif(extension.module is None, reason=f"no compiled kernels: {extension.reason}")
ROWS, SIZE = 64, 8


class One:
    """A network with its step, and the calls of the step that were taken one by one."""

    def __init__(self, optimizer: Any = optim.Adam, vectors: bool = False) -> None:
        self.net = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))
        self.vectors = vectors
        self.step = CompiledStep(self.loss, optimizer(self.net, 0.01), 0.5, parameters=self.net.parameters)

    def loss(self, batch: Batch, scale: Any = 1.0) -> Any:
        error = self.net(batch.x) - batch.y
        loss = (error * error).mean() * scale
        return loss, lambda: {"loss": loss.array} | ({"errors": error.array[:, 0]} if self.vectors else {})

    def state(self) -> bytes:
        return self.step.optimizer.flat.values.tobytes() + str(self.step.optimizer.steps).encode()

    def singly(self, batches: Any, **numbers: float) -> list[dict[str, Any]]:
        return [dict(self.step(batch, **numbers)) for batch in batches]

    def together(self, batches: Any, **numbers: float) -> list[dict[str, Any]]:
        return [dict(metrics) for metrics in self.step.each(batches, **numbers)]


def data(rows: int = ROWS) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(x=rng.normal(size=(rows, 3)).astype(np.float32), y=rng.normal(size=(rows, 2)).astype(np.float32))


def passes(batch: Batch, size: int = SIZE, seed: int = 0, count: int = 1) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield from batch.minibatches(size, rng)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each call of `run_each` made, while the test runs."""
    from dbrrl.kernels.cpu.recorder import Recorded

    found: list[int] = []
    run = Recorded.run_each

    def counted(self: Any, *arguments: Any) -> Any:
        result = run(self, *arguments)
        found.append(len(result))
        return result

    monkeypatch.setattr(Recorded, "run_each", counted)
    return found


def assert_same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> None:
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


@pytest.mark.parametrize("size", [SIZE, 7, 60, 64, 100])
def test_the_bits_are_those_of_single_steps(size: int, calls: list[int]) -> None:
    one, two = One(), One()
    batch = data()
    for seed in range(4):
        numbers = {"scale": 1.0 + seed}
        assert_same(
            one.singly(passes(batch, size, seed), **numbers), two.together(passes(batch, size, seed), **numbers)
        )
        assert one.state() == two.state()
    assert (sum(calls) > 0) == (2 * size <= ROWS)  # the program is recorded in the first two


def test_a_pass_goes_over_the_sweep_of_moments_and_over_what_is_taken_at_once(calls: list[int]) -> None:
    one, two = One(), One()
    batch = data()
    count = 3 * SWEEP_INTERVAL // (ROWS // SIZE) + 3
    for each in (one, two):
        each.singly(passes(batch, 20))  # 4 steps, so that no sweep comes where 32 more were taken
    assert_same(one.singly(passes(batch, count=count)), two.together(passes(batch, count=count)))
    assert one.state() == two.state() and max(calls) == AT_ONCE
    steps = np.cumsum([4 + 2, *calls])  # the program is recorded in two
    assert two.step.optimizer.steps == 4 + count * ROWS // SIZE == steps[-1]
    assert {SWEEP_INTERVAL, 2 * SWEEP_INTERVAL, 3 * SWEEP_INTERVAL} <= set(steps.tolist())


@pytest.mark.parametrize(("longest", "taken"), [(0.0, []), (1e9, [AT_ONCE, 48 - AT_ONCE])])
def test_no_call_takes_long(
    longest: float, taken: list[int], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = One(), One()
    two.together(passes(data(), count=2))
    monkeypatch.setattr(step, "LONGEST", longest)
    two.together(passes(data(), seed=1, count=6))
    assert len(calls) == 1 + len(taken) and calls[1:] == taken  # the first one has shown how long a step takes
    for seed, count in ((0, 2), (1, 6)):
        one.singly(passes(data(), seed=seed, count=count))
    assert one.state() == two.state()


def test_batches_of_other_columns_and_whole_ones_are_taken_in_their_order() -> None:
    one, two = One(), One()
    first, second = data(), data(40)

    def mixed() -> Iterator[Batch]:
        for a, b in zip(passes(first), passes(second), strict=False):
            yield from (a, b, second)
        yield from passes(first, seed=1)
        yield from (batch[np.arange(5, dtype=np.int32)] for batch in (first, second))

    for _ in range(3):
        assert_same(one.singly(mixed()), two.together(mixed()))
        assert one.state() == two.state()


@pytest.mark.parametrize("kind", ["an optimizer without a program", "metrics of each row", "checked", "not compiled"])
def test_what_cannot_be_taken_together_is_taken_singly(
    kind: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (One(optim.RMSprop if "optimizer" in kind else optim.Adam, "each" in kind) for _ in range(2))
    if kind == "checked":
        monkeypatch.setattr(check, "RUNS", 1 << 30)
    for each in (one, two):
        each.step.compiled = kind != "not compiled"
    for seed in range(3):
        assert_same(one.singly(passes(data(), seed=seed)), two.together(passes(data(), seed=seed)))
    assert one.state() == two.state() and not calls


def test_a_number_that_changes_from_step_to_step_is_still_found() -> None:
    def changing(each: One) -> None:
        loss, count = each.loss, iter(range(1, 1000))
        each.step = CompiledStep(
            lambda batch: loss(batch, float(next(count))), each.step.optimizer, 0.5, parameters=each.net.parameters
        )

    one, two = One(), One()
    changing(one)
    changing(two)
    assert_same(one.singly(passes(data(), count=3)), two.together(passes(data(), count=3)))
    assert one.state() == two.state() and "from one step to the next" in two.step.refused


@pytest.mark.parametrize("at", [0, 1, 5, 7])
def test_a_gradient_that_is_not_finite_is_an_error_after_the_steps_before_it(at: int) -> None:
    one, two = One(), One()
    for each in (one, two):
        each.together(passes(data(), count=2))
    batch = data()
    order = np.concatenate([part._rows for part in passes(batch)])  # the rows of minibatch `at` are those from there on
    batch.x[order[at * SIZE]] = np.nan
    taken: list[list[Any]] = [[], []]
    for each, found in zip((one, two), taken, strict=True):
        steps = each.step.each(passes(batch)) if each is two else map(each.step, passes(batch))
        with pytest.raises(AnomalyError, match="expected a finite gradient"):
            found.extend(dict(metrics) for metrics in steps)
    assert len(taken[1]) == at
    assert_same(*taken)
    assert one.state() == two.state()


def test_a_row_out_of_range_is_an_error_after_the_steps_before_it() -> None:
    one, two = One(), One()
    for each in (one, two):
        each.together(passes(data(), count=2))
    whole = data()
    batches = [*whole.minibatches(SIZE, np.random.default_rng(0))][:3]
    one.singly(batches)
    taken: list[Any] = []
    with pytest.raises(IndexError):
        taken.extend(two.step.each([*batches, whole[np.full(SIZE, ROWS)]]))
    assert len(taken) == 3 and one.state() == two.state()


def test_until_stops_after_the_first_step_of_which_it_is_true_and_asks_for_no_further_batch() -> None:
    one, two = One(), One()
    asked = []

    def batches() -> Iterator[Batch]:
        for batch in passes(data()):
            asked.append(batch)
            yield batch

    losses = [metrics["loss"] for metrics in one.singly(list(passes(data()))[:4])]
    found = list(two.step.each(batches(), lambda metrics: metrics["loss"] == losses[3]))
    assert len(found) == len(asked) == 4 and one.state() == two.state()
    plain = GradientStep(two.loss, two.step.optimizer)
    assert len(list(plain.each(passes(data())))) == ROWS // SIZE and not list(plain.each([]))
    assert not list(two.step.each(iter(())))


def test_an_array_as_a_number_is_refused() -> None:
    with pytest.raises(ArgumentError, match="scale: expected a number"):
        One().together(passes(data()), scale=np.ones(3))


def test_the_program_takes_only_what_fits() -> None:
    one = One()
    one.together(passes(data(), count=2))
    (program,) = one.step.programs._found.values()
    native, code, packed = extension.module, program.program.code, program.packed
    x, y = data().x, data().y
    rows, settings = [np.arange(SIZE)] * 2, np.ones((2, 6))
    found = np.empty((2, packed.size))
    before = one.state()
    for wrong in (
        (code, packed, found, settings, tuple(rows), x, y),
        (code, packed, found, settings, rows, x),
        (code, packed, found, settings, rows, x, y, y),
        (code, packed, found[:1], settings, rows, x, y),
        (code, packed, found, np.ones((2, 5)), rows, x, y),
        (code, packed, found, settings.astype(np.float32), rows, x, y),
        (code, packed.astype(np.float32), found, settings, rows, x, y),
        (code, packed, found, settings, [np.arange(SIZE), np.arange(SIZE - 1)], x, y),
        (code, packed, found, settings, [np.arange(SIZE), np.arange(2 * SIZE)[::2]], x, y),
        (code, packed, found, settings, [np.arange(SIZE), None], x, y),
        (code, packed, found, settings, rows, x[:-1], y),
        ("program", packed, found, settings, rows, x, y),
        (code,),
    ):
        with pytest.raises((TypeError, ValueError, BufferError)):
            native.program_run_each(*wrong)
    assert native.program_run_each(code, packed, found[:0], settings[:0], [], x, y) == 0
    assert one.state() == before
