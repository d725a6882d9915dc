"""Nothing grows, nothing leaks, nothing recurses."""

import sys
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff import tensor as engine
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.debugging.debug import detect_anomaly, profile
from dbrrl.errors import GraphError
from dbrrl.nn import Linear, Sequential, Tanh
from dbrrl.optim import Adam
from tests.cycles import leaving_no_cycles


def loss_of(w: Any, x: Any) -> Any:
    log_probs = F.log_softmax(F.linear(np.tanh(x @ w), w, None))
    return F.mse_loss(log_probs, np.zeros(log_probs.shape)) - F.entropy(log_probs).mean() + (w[0] * w[:, 0]).sum()


def leaf() -> Tensor:
    return Tensor(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), requires_grad=True)


def test_10000_training_steps_do_not_grow_the_process() -> None:
    net = Sequential(Linear(4, 8, rng=np.random.default_rng(0)), Tanh(), Linear(8, 2, rng=np.random.default_rng(1)))
    optimizer = Adam(net, learning_rate=1e-3)
    x = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)

    def steps(n: int) -> None:
        for _ in range(n):
            optimizer.zero_grad()
            log_probs = F.log_softmax(net(x))
            (F.entropy(log_probs).mean() + F.mse_loss(log_probs, np.zeros((16, 2), np.float32))).backward()
            optimizer.step()

    steps(200)
    tracemalloc.start()
    try:
        steps(200)
        before = tracemalloc.get_traced_memory()[0]
        steps(600)
        traced = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    resident = memory_in_use()
    steps(10_000)
    assert traced < 10_000
    assert memory_in_use() - resident < 1 << 20


def memory_in_use() -> int:
    """Blocks of Python's own allocator, in bytes of at least 16 each: what 10,000 leaked objects would add to."""
    return sys.getallocatedblocks() * 16


@pytest.mark.parametrize("walked", ["not walked", "walked", "walked twice", "recorded", "failed"])
def test_a_forgotten_loss_frees_its_graph_at_once(walked: str) -> None:
    with leaving_no_cycles():
        w = leaf()
        loss = loss_of(w, np.ones((3, 4), np.float32))
        if walked == "walked":
            loss.backward()
        elif walked == "walked twice":
            loss.backward(retain_graph=True)
            loss.backward(retain_graph=True)
        elif walked == "recorded":
            g = grad(loss, w, create_graph=True)
            second = grad((g * g).sum(), w, create_graph=True)
            del g, second
        elif walked == "failed":
            with no_grad():
                w[0] = 1.0
            with pytest.raises(GraphError):
                loss.backward()
        gone = weakref.ref(loss.op), weakref.ref(loss)
        del loss
        assert [r() for r in gone] == [None, None]


@pytest.mark.parametrize("watch", [detect_anomaly, profile])
def test_debugging_leaves_no_cycles(watch: Any) -> None:
    with leaving_no_cycles():
        w = leaf()
        with watch():
            loss_of(w, np.ones((3, 4), np.float32)).backward()
        assert engine.observing == [] and engine.state.observer is None


def test_backward_frees_the_graph_as_it_walks() -> None:
    with leaving_no_cycles():
        x = leaf()
        h = np.tanh(x)
        y = (h * h).sum()
        middle = weakref.ref(y.op.inputs[0].op)
        del h
        y.backward()
        assert middle() is None and y.op.inputs is None


def chain(length: int) -> tuple[Tensor, Any]:
    x = Tensor(np.array([1.0]), requires_grad=True)
    y: Any = x
    for _ in range(length):
        y = y + 1.0
    return x, y


def test_a_chain_of_100000_ops_goes_backward_without_recursion() -> None:
    x, y = chain(100_000)
    y.backward()
    assert x.grad.tolist() == [1.0]


@pytest.mark.slow
def test_a_chain_of_100000_ops_is_freed_without_recursion_on_a_small_stack() -> None:
    done = []

    def work() -> None:
        x, y = chain(100_000)
        del y
        x, y = chain(100_000)
        g = grad(y, x, create_graph=True)
        done.append(g.item())
        del y, g

    before = threading.stack_size(4 * 2**20)  # recursion 100,000 deep would need ten times as much
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert done == [1.0]
