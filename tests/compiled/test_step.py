"""Compiled gradient steps: the numbers are those of the ops, whatever changes between two steps."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dbrrl
from dbrrl import functional as F
from dbrrl import nn, optim
from dbrrl.backend import load_kernels
from dbrrl.buffers import Batch
from dbrrl.compiled import check
from dbrrl.compiled.step import CompiledStep
from dbrrl.errors import AnomalyError, ShapeError
from dbrrl.kernels.cpu import extension

load_kernels("cpu")
pytestmark = pytest.mark.skipif(extension.module is None, reason=f"no compiled kernels: {extension.reason}")


def net_of(seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8, rng=seed), nn.Tanh(), nn.Linear(8, 2, rng=seed + 1))


class Pair:
    """The same network and loss twice: one step is compiled, the other runs op by op."""

    def __init__(self, loss: Callable[..., Any] | None = None, rate: float = 0.01, **rest: Any) -> None:
        self.nets = [net_of(0) for _ in range(2)]
        self.optimizers = [optim.Adam(net, rate) for net in self.nets]
        self.loss = loss or squared
        self.steps = [
            CompiledStep(self.of(net), optimizer, 0.5, parameters=net.parameters, **rest)
            for net, optimizer in zip(self.nets, self.optimizers, strict=True)
        ]
        self.steps[1].compiled = False

    def of(self, net: Any) -> Callable[..., Any]:
        return lambda batch, **numbers: self.loss(net, batch, **numbers)

    def step(self, batch: Batch, **numbers: Any) -> None:
        """Take both steps; assert that the weights and the metrics are the same."""
        metrics = [dict(step(batch, **numbers)) for step in self.steps]
        self.check()
        assert sorted(metrics[0]) == sorted(metrics[1])
        for name, value in metrics[1].items():
            np.testing.assert_allclose(metrics[0][name], value, rtol=1e-5, atol=1e-6)

    def check(self) -> None:
        for one, two in zip(*(net.parameters() for net in self.nets), strict=True):
            np.testing.assert_allclose(one.array, two.array, rtol=1e-5, atol=1e-6)

    @property
    def compiled(self) -> bool:
        return self.steps[0].explain().startswith("runs as")


def squared(net: Any, batch: Batch, scale: Any = 1.0) -> Any:
    error = net(batch.x) - batch.y
    loss = (error * error).mean() * scale
    return loss, lambda: {"loss": loss.array, "errors": error.array[:, 0], "seen": batch.y}


def data(rows: int = 6, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(x=rng.normal(size=(rows, 3)).astype(np.float32), y=rng.normal(size=(rows, 2)).astype(np.float32))


def test_steps_are_those_of_the_ops() -> None:
    pair = Pair()
    for seed in range(8):
        pair.step(data(seed=seed), scale=1 + seed)
    assert pair.steps[0].refused == "" and pair.compiled
    assert pair.steps[1].explain() == "runs op by op: compiled is False"


def test_shapes_may_change_every_time() -> None:
    pair = Pair()
    for rows in range(1, 12):
        pair.step(data(rows, rows))
    assert "11 programs" in pair.steps[0].explain()


def test_a_column_that_is_added_replaced_or_nested_between_steps_is_seen() -> None:
    def loss(net: Any, batch: Batch) -> Any:
        error = net(batch.x["a"] if isinstance(batch.x, dict) else batch.x) - batch.y
        scale = batch.scale if "scale" in batch.columns else 1
        total = (error * error * scale).mean()
        return total, lambda: {"loss": total.array}

    pair, batch = Pair(loss), data()
    for _ in range(3):
        pair.step(batch)
    batch.scale = np.full((6, 1), 3, np.float32)  # type: ignore[attr-defined]
    for _ in range(3):
        pair.step(batch)
    batch.y = data(seed=5).y  # type: ignore[attr-defined]
    pair.step(batch)
    batch.x = {"a": batch.x}  # type: ignore[attr-defined]
    for seed in range(4):
        pair.step(batch)
        batch.x["a"] = data(seed=seed).x
    assert pair.compiled


def test_the_gradient_alone() -> None:
    pair = Pair()
    for seed in range(4):
        for step in pair.steps:
            step.gradient(data(seed=seed))
        grads = [step.optimizer.flat.gather().copy() for step in pair.steps]
        np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5, atol=1e-7)
        for step in pair.steps:
            step.optimizer.step()
        pair.check()
    assert pair.compiled


# ---- what no program sees ----


def test_numbers_that_change_from_step_to_step_are_found_at_the_second() -> None:
    factor = [1.0]

    def loss(net: Any, batch: Batch) -> Any:
        found, metrics = squared(net, batch)
        return found * factor[0], metrics

    pair = Pair(loss)
    for seed in range(4):
        pair.step(data(seed=seed))
        factor[0] += 1
    assert "from one step to the next" in pair.steps[0].refused
    assert pair.steps[0].explain().startswith("runs op by op: it computes something else")


def test_a_metric_of_pythons_that_changes_is_found() -> None:
    count = itertools.count()

    def loss(net: Any, batch: Batch) -> Any:
        found, _ = squared(net, batch)
        n = next(count)
        return found, lambda: {"calls": n}

    pair = Pair(loss)
    pair.steps[0](data())
    pair.steps[0](data())
    assert "'calls' is a number that Python computes" in pair.steps[0].refused
    assert pair.steps[0](data())["calls"] > 2


def test_a_generator_drawn_from_inside_is_found() -> None:
    rngs: dict[int, Any] = {}

    def loss(net: Any, batch: Batch) -> Any:
        rng = rngs.setdefault(id(net), np.random.default_rng(0))
        return squared(net, Batch(x=batch.x, y=batch.y + rng.normal(size=batch.y.shape).astype(np.float32)))

    pair = Pair(loss)
    for _ in range(3):
        pair.steps[0](data())
    assert "made by NumPy, and of other numbers" in pair.steps[0].refused


@pytest.mark.parametrize("kind", ["column", "network", "order"])
def test_other_arrays_of_the_same_shape_are_found(kind: str) -> None:
    turn = itertools.count()
    other = net_of(0)

    def loss(net: Any, batch: Batch) -> Any:
        odd = next(turn) % 2
        if kind == "column":
            error = net(batch.x if odd else batch.z) - batch.y
        elif kind == "network":  # with the same weights at first
            error = net(batch.x) - (pair.nets[1] if odd else other)(batch.x).detach()
        else:
            error = net(batch.x) - (batch.y if odd else batch.w)
        return (error * error).mean(), dict

    pair = Pair(loss)
    pair.steps[0].parameters = lambda: [*pair.nets[0].parameters(), *pair.nets[1].parameters(), *other.parameters()]
    given = data().add(z=data(seed=1).x, w=data(seed=1).y)
    pair.steps[0](given)
    pair.steps[0](given)
    assert "from one step to the next" in pair.steps[0].refused


@pytest.mark.parametrize(
    ("line", "loss"),
    [
        ("if", lambda net, batch: ((net(batch.x) if batch.x.sum() > 0 else net(-batch.x)).mean(), dict)),
        ("float", lambda net, batch: (net(batch.x).mean() * float(batch.x[0, 0]), dict)),
        ("item", lambda net, batch: (net(batch.x).mean(), lambda: {"x": batch.x.max().item()})),
        ("mask", lambda net, batch: (net(batch.x[batch.x[:, 0] > 0]).mean(), dict)),
        ("write", lambda net, batch: (net(np.multiply(batch.x, 2, out=batch.x)).mean(), dict)),
    ],
)
def test_what_cannot_be_recorded_runs_op_by_op_and_says_why(line: str, loss: Any) -> None:
    pair = Pair(loss)
    given = data()
    before = given.x.copy()
    for seed in range(3):
        metrics = [step(Batch(x=given.x.copy(), y=given.y)) for step in pair.steps]
        assert dict(metrics[0]) == dict(metrics[1])
        pair.check()
        del seed
    assert line and "test_step.py:" in pair.steps[0].refused
    assert pair.steps[0].explain() == f"runs op by op: {pair.steps[0].refused}"
    np.testing.assert_array_equal(given.x, before)


# ---- what changes between two steps ----


def freeze(pair: Pair) -> None:
    for net in pair.nets:
        net.parameters()[0].requires_grad = False


def newer_optimizer(pair: Pair) -> None:
    for step, net in zip(pair.steps, pair.nets, strict=True):
        step.optimizer = optim.Adam(net, 0.05)


def moved_by_another(pair: Pair) -> None:
    pair.kept = [optim.SGD(net.parameters()[::-1], 0.1) for net in pair.nets]  # type: ignore[attr-defined]


def another_rate(pair: Pair) -> None:
    for optimizer in pair.optimizers:
        optimizer.learning_rate = 0.1


def another_limit(pair: Pair) -> None:
    for step in pair.steps:
        step.max_grad_norm = 0.01


def loaded(pair: Pair) -> None:
    for net in pair.nets:
        net.load_state_dict(net_of(5).state_dict())


def optimizer_loaded(pair: Pair) -> None:
    for optimizer in pair.optimizers:
        optimizer.load_state_dict(optimizer.state_dict())


def layer_replaced(pair: Pair) -> None:
    for net in pair.nets:
        for name, value in vars(net).items():
            if isinstance(value, nn.Module):
                setattr(net, name, value)
        net.extra = nn.Parameter(np.zeros(1, np.float32))


def written(pair: Pair) -> None:
    for net in pair.nets:
        with dbrrl.no_grad():
            net.parameters()[0].array[...] *= 0.5


def loss_replaced(pair: Pair) -> None:
    for step, net in zip(pair.steps, pair.nets, strict=True):
        step.loss = lambda batch, net=net, **numbers: squared(net, Batch(x=batch.x, y=-batch.y), **numbers)


@pytest.mark.parametrize(
    "change",
    [freeze, newer_optimizer, moved_by_another, another_rate, another_limit, loaded, optimizer_loaded, layer_replaced,
     written, loss_replaced],
)  # fmt: skip
def test_after_a_change_no_number_is_stale(change: Callable[[Pair], None]) -> None:
    pair = Pair()
    for seed in range(4):
        pair.step(data(seed=seed), scale=1.0)
    assert pair.compiled
    change(pair)
    for seed in range(4, 8):
        pair.step(data(seed=seed), scale=2.0)
    if change in (freeze, moved_by_another):
        assert "frozen" in pair.steps[0].explain()


def test_dropout_that_is_turned_on_later_is_seen() -> None:
    net = nn.Sequential(nn.Linear(3, 64, rng=0), nn.Dropout(0.5, rng=1), nn.Linear(64, 2, rng=2))
    step = CompiledStep(lambda batch: squared(net, batch), optim.SGD(net, 0.0), None, parameters=net.parameters)
    dropout = next(module for module in net.modules() if isinstance(module, nn.Dropout))
    for mode in (False, True, False, True):
        dropout.training = mode
        losses = {float(step(data())["loss"]) for _ in range(4)}
        assert len(losses) == (4 if mode else 1)


def test_a_step_in_evaluation_is_not_that_of_training() -> None:
    pair = Pair()
    for seed in range(3):
        pair.step(data(seed=seed))
        with nn.evaluation():
            for step in pair.steps:
                with pytest.raises(dbrrl.errors.DbrrlError):
                    step(data(seed=seed))


# ---- batches ----


def test_batches_in_all_kinds_of_memory() -> None:
    pair, whole = Pair(), data(12)
    turned = Batch(x=np.asfortranarray(whole.x), y=whole.y[::-1])
    for k in range(4):
        pair.step(turned)
        turned.x[...] += 0.25  # in place: the same objects, other numbers
        pair.step(whole[np.arange(12)[::2]])
        pair.step(whole[np.array([3, 1, 2, 0, 5, 7], np.int32)])
        pair.step(whole[whole.x[:, 0] > -9])
        pair.step(whole[np.array([-1, -2, 0, 0, k, 3])])
    raw = bytearray(whole.x.nbytes + 1)
    unaligned = np.frombuffer(raw, np.float32, offset=1, count=36).reshape(12, 3)
    unaligned[...] = whole.x
    assert not unaligned.flags.aligned
    for _ in range(3):
        pair.step(Batch(x=unaligned, y=whole.y))
    other_order = Batch(x=whole.x.astype(">f4"), y=whole.y)
    metrics = [step(other_order) for step in pair.steps]
    pair.check()
    assert metrics[0].grad_norm == pytest.approx(metrics[1].grad_norm)


def test_a_row_out_of_range_is_an_error_and_no_step() -> None:
    pair = Pair()
    given = data()
    for _ in range(3):
        pair.step(given[np.array([0, 1, 2])])
    before = pair.steps[0].optimizer.flat.values.copy()
    for step in pair.steps:
        with pytest.raises(IndexError):
            step(given[np.array([0, 1, 6])])
    np.testing.assert_array_equal(pair.steps[0].optimizer.flat.values, before)
    pair.step(given[np.array([0, 1, 5])])


def test_an_index_out_of_range_in_the_loss_is_the_error_of_the_ops_and_no_step() -> None:
    def loss(net: Any, batch: Batch, **_: Any) -> Any:
        value = F.mean(F.pick(net(batch.x), batch.action))
        return value, lambda: {"loss": value.array}

    pair, given = Pair(loss), data()
    batch = Batch(x=given.x, action=np.array([0, 1, 1, 0, 1, 0]))
    for _ in range(3):
        pair.step(batch)
    assert pair.compiled
    before = pair.steps[0].optimizer.flat.values.copy()
    said = []
    for step in pair.steps:
        with pytest.raises(ShapeError, match="got 7 in row 2") as error:
            step(Batch(x=given.x, action=np.array([0, 1, 7, 0, 1, 0])))
        said.append(str(error.value))
    assert said[0] == said[1]
    np.testing.assert_array_equal(pair.steps[0].optimizer.flat.values, before)
    pair.step(batch)
    assert pair.compiled


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_the_same_error_and_no_step(bad: float) -> None:
    pair = Pair()
    for seed in range(3):
        pair.step(data(seed=seed))
    wrong = data()
    wrong.x[0, 0] = bad
    before = pair.steps[0].optimizer.flat.values.copy()
    messages = []
    for step in pair.steps:
        with np.errstate(all="ignore"), pytest.raises(AnomalyError) as error:
            step(wrong)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    np.testing.assert_array_equal(pair.steps[0].optimizer.flat.values, before)
    pair.step(data(seed=9))
    assert pair.compiled


# ---- tools and threads ----


def test_tools_that_look_on_see_every_op() -> None:
    pair = Pair()
    for seed in range(3):
        pair.step(data(seed=seed))
    with dbrrl.profile() as profile:
        pair.steps[0](data())
    assert "Linear" in str(profile)
    wrong = data()
    wrong.x[0, 0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(AnomalyError), dbrrl.detect_anomaly():
        pair.steps[0](wrong)


def test_another_thread_may_use_the_network_while_one_records() -> None:
    net = net_of(0)
    entered, left, faults = threading.Event(), threading.Event(), []
    given = data()
    right = net(given.x).array

    def loss(batch: Batch) -> Any:
        entered.set()
        left.wait(5)
        return squared(net, batch)

    def work() -> None:
        entered.wait(5)
        try:
            np.testing.assert_allclose(net(given.x).array, right, rtol=1e-6)
            weight = net.parameters()[0].array
            np.testing.assert_allclose(weight * 2, np.concatenate([weight, weight])[: len(weight)] + weight)
            assert type(net(given.x).array) is np.ndarray
        except BaseException as error:
            faults.append(error)
        left.set()

    thread = threading.Thread(target=work)
    thread.start()
    step = CompiledStep(loss, optim.SGD(net, 0.0), None, parameters=net.parameters)
    step(given)
    thread.join()
    assert not faults
    assert type(net.parameters()[0].array) is np.ndarray


def test_two_threads_record_at_once() -> None:
    pairs, faults = [Pair() for _ in range(2)], []
    shared = pairs[0].nets[0]

    def work(pair: Pair) -> None:
        try:
            for seed in range(20):
                pair.step(data(1 + seed % 5, seed))
                with nn.evaluation():
                    shared(data().x)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert all(type(p.array) is np.ndarray for pair in pairs for net in pair.nets for p in net.parameters())


# ---- DBRRL_CHECK ----


def test_a_program_that_computes_something_else_is_found_when_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "RUNS", 3)
    hidden = {"factor": 1.0}

    def loss(net: Any, batch: Batch) -> Any:
        found, metrics = squared(net, batch)
        return found * hidden["factor"], metrics

    pair = Pair(loss)
    pair.step(data())
    pair.step(data())
    hidden["factor"] = 2.0  # a program does not see it
    with pytest.raises(AnomalyError, match=r"norm of the gradient of .*: expected the program to compute what"):
        pair.steps[0](data())


def test_a_metric_of_the_weights_is_checked_with_those_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "RUNS", 3)

    def loss(net: Any, batch: Batch) -> Any:
        found, _ = squared(net, batch)
        return found, lambda: {"weight": net.parameters()[0].array.sum() * 100}

    pair = Pair(loss, rate=0.5)
    for seed in range(4):
        pair.steps[0](data(seed=seed))
