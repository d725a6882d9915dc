"""`dbrrl.compile` on functions and losses of one's own."""

from typing import Any

import numpy as np
import pytest

import dbrrl
from dbrrl import functional as F
from dbrrl import nn, optim
from dbrrl.buffers import Batch
from dbrrl.distributions import Categorical
from dbrrl.errors import DbrrlError
from dbrrl.kernels.cpu import extension

pytestmark = pytest.mark.skipif(extension.module is None, reason=f"no compiled kernels: {extension.reason}")
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))


def test_a_function_of_arrays() -> None:
    net = network()
    function = lambda x, y: (F.softmax(net(x), axis=1), (x * y).sum(), x.max(axis=0))  # noqa: E731
    compiled = dbrrl.compile(function, parameters=net)
    assert compiled.explain() == "has not run yet"
    for k in range(4):
        found, right = compiled(X * k, X + k), function(X * k, X + k)
        assert type(found) is tuple and [type(x) for x in found] == [np.ndarray] * 3
        np.testing.assert_allclose(found[0], right[0].array, rtol=1e-5)
        np.testing.assert_allclose(found[1], right[1], rtol=1e-5)
        assert found[1].shape == () and found[1].dtype == np.float32
        net.parameters()[0].array[...] *= 1.1  # the weights are read where they are
    assert compiled.explain().startswith("runs as a program of") and "test_public.py" in repr(compiled)
    assert compiled(X[:2], X[:2])[0].shape == (2, 2)
    compiled.compiled = False
    assert compiled.explain() == "runs op by op: compiled is False"
    np.testing.assert_allclose(compiled(X, X)[2], X.max(axis=0))


def test_a_function_that_draws() -> None:
    compiled = dbrrl.compile(lambda x, rng: x + rng.normal(size=x.shape).astype(np.float32))
    rngs = [np.random.default_rng(0) for _ in range(2)]
    for _ in range(4):
        right = X + rngs[1].normal(size=X.shape).astype(np.float32)
        np.testing.assert_allclose(compiled(X, rng=rngs[0]), right, rtol=1e-6)
    assert compiled.explain().startswith("runs as")


CHECKED = {
    "pick": (lambda net, index: F.pick(net(X), index), ([0, 1, 1, -1, 1], [0, 7, 1, 1, 1])),
    "one_hot": (lambda net, index: net(X) * F.one_hot(index, 2), ([0, 1, 1, -1, 1], [0, 1, 2, 1, 1])),
    "embedding": (lambda net, index: F.embedding(index, net(X)[:2]), ([0, 1, 1, -1, 1], [0, 1, 2, 1, 1])),
    "log_prob": (lambda net, index: Categorical(net(X)).log_prob(index), ([0, 1, 1, -1, 1], [0, 1, 1, 1, 2])),
    "mode": (
        lambda net, index: Categorical(F.where(index[:, None] != 1, net(X), -np.inf)).mode(),
        ([0, 0, 0, 1, 0],),  # no choice is left in a row
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_what_the_ops_refuse_is_their_error_in_a_program_too(name: str) -> None:
    net, (function, wrong) = network(), CHECKED[name]
    compiled = dbrrl.compile(lambda index: function(net, index), parameters=net)
    good = np.zeros(5, np.int64)
    right = compiled(good)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(good), right)
    assert compiled.explain().startswith("runs as a program of")
    for numbers in wrong:
        errors = []
        for call in (compiled, lambda index: function(net, index)):
            with pytest.raises(DbrrlError) as error:
                call(np.array(numbers))
            errors.append((type(error.value), str(error.value)))
        assert errors[0] == errors[1]
    np.testing.assert_array_equal(compiled(good), right)


def test_what_cannot_be_recorded_runs_op_by_op() -> None:
    compiled = dbrrl.compile(lambda x: x if x.sum() > 0 else -x)
    for x in (X, -X, X):
        np.testing.assert_array_equal(compiled(x), x if x.sum() > 0 else -x)
    assert "test_public.py" in compiled.explain() and "Python reads a number" in compiled.explain()


def test_a_loss_and_an_optimizer() -> None:
    nets = [network() for _ in range(2)]

    def loss_of(net: Any) -> Any:
        def loss(batch: Batch, scale: Any = 1.0) -> Any:
            error = net(batch.x) - batch.y
            mean = (error * error).mean() * scale
            return mean, lambda: {"loss": mean.array}

        return loss

    steps = [dbrrl.compile(loss_of(net), optim.Adam(net, 0.01), max_grad_norm=0.5) for net in nets]
    steps[1].compiled = False
    for k in range(6):
        batch = Batch(x=X + k, y=X[:, :2])
        losses = [float(step(batch, scale=1.0 + k)["loss"]) for step in steps]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert steps[0].explain().startswith("runs as a program of")
    for one, two in zip(*(net.parameters() for net in nets), strict=True):
        np.testing.assert_allclose(one.array, two.array, rtol=1e-5, atol=1e-6)
