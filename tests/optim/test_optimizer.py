"""Optimizers against the few lines of their papers, on parabolas and valleys, and stopped and resumed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, optim
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import beside
from dbrrl.errors import CheckpointError, ConfigError
from tests import standin
from tests.standin import host, put

Make = Callable[[Any], optim.Optimizer]
A, G, STEPS = 0.05, 0.9, 15


def sgd(x: Any, gs: Any, momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> Any:
    v = 0
    for gradient in gs:
        g = gradient(x) + decay * x
        v = momentum * v + g
        x = x - A * (g + momentum * v if nesterov else v)
    return x


def adam(
    x: Any, gs: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, l2: float = 0.0, decay: float = 0.0
) -> Any:
    m = v = 0
    for t, gradient in enumerate(gs, 1):
        g = gradient(x) + l2 * x
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        step = A * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        x = x - A * decay * x - step
    return x


def rmsprop(
    x: Any,
    gs: Any,
    eps: float = 1e-8,
    inside: bool = False,
    centered: bool = False,
    momentum: float = 0.0,
    start: float = 0.0,
) -> Any:
    v, mean, u = start, 0, 0
    for gradient in gs:
        g = gradient(x)
        v, mean = G * v + (1 - G) * g**2, G * mean + (1 - G) * g
        d = v - mean**2 if centered else v
        u = momentum * u + g / (np.sqrt(d + eps) if inside else np.sqrt(d) + eps)
        x = x - A * u
    return x


CASES: list[Any] = [
    (lambda p: optim.SGD(p, A), sgd, {}),
    (lambda p: optim.SGD(p, A, momentum=0.8), sgd, {"momentum": 0.8}),
    (lambda p: optim.SGD(p, A, 0.8, nesterov=True), sgd, {"momentum": 0.8, "nesterov": True}),
    (lambda p: optim.SGD(p, A, 0.5, weight_decay=0.3), sgd, {"momentum": 0.5, "decay": 0.3}),
    (lambda p: optim.Adam(p, A), adam, {}),
    (lambda p: optim.Adam(p, A, (0.5, 0.7), 0.1), adam, {"b1": 0.5, "b2": 0.7, "eps": 0.1}),
    (lambda p: optim.Adam(p, A, (0.0, 0.0)), adam, {"b1": 0.0, "b2": 0.0}),
    (lambda p: optim.Adam(p, A, weight_decay=0.3), adam, {"l2": 0.3}),
    (lambda p: optim.AdamW(p, A, weight_decay=0.3), adam, {"decay": 0.3}),
    (lambda p: optim.AdamW(p, A, eps=1e-2), adam, {"decay": 0.01, "eps": 1e-2}),
    (lambda p: optim.RMSprop(p, A, G), rmsprop, {}),
    (lambda p: optim.RMSprop(p, A, G, 0.1), rmsprop, {"eps": 0.1}),
    (lambda p: optim.RMSprop(p, A, G, 0.1, eps_inside_root=True), rmsprop, {"eps": 0.1, "inside": True}),
    (lambda p: optim.RMSprop(p, A, G, 0.1, centered=True), rmsprop, {"eps": 0.1, "centered": True}),
    (
        lambda p: optim.RMSprop(p, A, G, 0.1, centered=True, eps_inside_root=True),  # of the DQN paper
        rmsprop,
        {"eps": 0.1, "centered": True, "inside": True},
    ),
    (lambda p: optim.RMSprop(p, A, G, 0.1, momentum=0.7), rmsprop, {"eps": 0.1, "momentum": 0.7}),
    (
        lambda p: optim.RMSprop(p, A, G, 0.1, eps_inside_root=True, initial_mean_square=1.0),  # of TensorFlow
        rmsprop,
        {"eps": 0.1, "inside": True, "start": 1.0},
    ),
]
cases = pytest.mark.parametrize(("make", "paper", "settings"), CASES)
START = np.array([1.0, -2.0, 0.5, 3.0])


def parameters(dtype: Any = np.float64, device: str = "cpu") -> list[nn.Parameter]:
    return [nn.Parameter(put(x.astype(dtype), device)) for x in (START[:1], START[1:].reshape(3, 1))]


def gradients(seed: int = 0) -> list[Any]:
    """Gradients that change with the step and the place."""
    shifts = np.random.default_rng(seed).normal(size=(STEPS, 4))
    return [lambda x, s=s: s + np.sin(x) for s in shifts]


def run(optimizer: optim.Optimizer, gs: Any) -> np.ndarray:
    for gradient in gs:
        optimizer.zero_grad()
        values = optimizer.flat.values
        optimizer.flat.grads += beside(values, gradient(host(values)).astype(values.dtype))
        optimizer.step()
    return np.array(host(optimizer.flat.values))


@cases
def test_steps_are_those_of_the_paper(make: Make, paper: Any, settings: Any, device: str) -> None:
    got = run(make(parameters(device=device)), gradients())
    np.testing.assert_allclose(got, paper(START, gradients(), **settings), rtol=1e-10)
    narrow = run(make(parameters(np.float32, device)), gradients())
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, got, rtol=2e-3, atol=1e-4)


@cases
def test_parameters_show_the_step(make: Make, paper: Any, settings: Any, device: str) -> None:
    own = parameters(device=device)
    optimizer = make(own)
    (own[0].sum() * own[1].sum()).backward()
    np.testing.assert_allclose(host(optimizer.flat.grads, device), [1.5, 1, 1, 1])
    optimizer.step()
    expected = paper(START, [lambda x: np.array([1.5, 1, 1, 1])], **settings)
    np.testing.assert_allclose(np.concatenate([host(p, device).ravel() for p in own]), expected, rtol=1e-10)


@cases
def test_a_step_stays_where_its_parameters_are(make: Make, paper: Any, settings: Any) -> None:
    with standin.installed():
        own = parameters(np.float32, "cuda")
        optimizer = make(own)
        with standin.copies() as count:
            for _ in range(3):
                optimizer.zero_grad()
                (own[0].sum() * own[1].sum()).backward()
                optimizer.step()
        assert count == standin.Copies()


@cases
def test_a_resumed_optimizer_goes_on_bit_for_bit(make: Make, paper: Any, settings: Any, device: str) -> None:
    first = make(parameters(np.float32, device))
    run(first, gradients(1))
    state = first.state_dict()
    second = make([nn.Parameter(p.array) for p in first.flat.parameters])
    second.learning_rate = 7.0
    run_on = run(first, gradients(2))
    second.load_state_dict(state)
    np.testing.assert_array_equal(run(second, gradients(2)), run_on)
    np.testing.assert_equal(second.state_dict(), first.state_dict())
    assert all(v.dtype == np.float32 for v in state.values() if isinstance(v, np.ndarray))


@cases
def test_a_parabola_is_minimized(make: Make, paper: Any, settings: Any) -> None:
    optimizer = make(parameters())
    center = np.array([0.3, 0.1, -0.2, 0.4])
    decay = settings.get("decay", 0.0) or settings.get("l2", 0.0)
    for k in range(600):
        optimizer.learning_rate = A * (1 - k / 600)
        run(optimizer, [lambda x: x - center])
    bar = 0.3 if decay else 0.01
    assert np.abs(optimizer.flat.values - center).max() < bar


@pytest.mark.parametrize(
    "make",
    [lambda p: optim.Adam(p, 0.02), lambda p: optim.RMSprop(p, 3e-3), lambda p: optim.SGD(p, 5e-4, 0.9)],
)
def test_rosenbrock(make: Make) -> None:
    p = nn.Parameter(np.array([-1.2, 1.0]))
    optimizer = make([p])
    for _ in range(4000):
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(p.array, [1, 1], atol=0.05)


def test_plain_leaf_tensors_are_parameters_too() -> None:
    x = Tensor(START, requires_grad=True)
    optimizer = optim.SGD([x], 0.5)  # type: ignore[list-item]
    (x * x).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(x.array, START * 0)


def test_the_first_step_of_adam_is_the_learning_rate() -> None:
    optimizer = optim.Adam(parameters(), 0.01)
    optimizer.flat.grads[:] = [1e-3, -5, 1e4, 1]
    optimizer.step()
    np.testing.assert_allclose(START - optimizer.flat.values, [0.01, -0.01, 0.01, 0.01], rtol=1e-4)


def test_clipping_by_the_global_norm(device: str) -> None:
    optimizer = optim.SGD(parameters(device=device), 1.0)
    g = np.array([3.0, 0.0, 4.0, 12.0])
    optimizer.flat.grads[:] = put(g, device)
    assert optimizer.clip_grad_norm(20) == 13
    np.testing.assert_array_equal(host(optimizer.flat.grads, device), g)
    assert optimizer.clip_grad_norm(6.5) == 13
    np.testing.assert_allclose(host(optimizer.flat.grads), g / 2)
    assert math.sqrt(sum(float(np.sum(p.grad**2)) for p in optimizer.flat.parameters)) == pytest.approx(6.5)
    optimizer.step()
    np.testing.assert_allclose(host(optimizer.flat.values, device), START - g / 2)
    optimizer.zero_grad()
    assert optimizer.clip_grad_norm(1) == 0 and not optimizer.flat.grads.any()
    optimizer.flat.grads[0] = np.nan
    assert math.isnan(optimizer.clip_grad_norm(1))
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="max_norm: expected a number above 0"):
            optimizer.clip_grad_norm(wrong)


def test_clipping_takes_in_gradients_set_from_outside(device: str) -> None:
    own = parameters(device=device)
    optimizer = optim.SGD(own, 1.0)
    own[0].grad, own[1].grad = np.array([3.0]), None
    assert optimizer.clip_grad_norm(1) == 3
    optimizer.step()
    np.testing.assert_allclose(host(optimizer.flat.values, device), START - [1, 0, 0, 0])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: optim.SGD(p, -1), "learning_rate"),
        (lambda p: optim.SGD(p, float("nan")), "learning_rate"),
        (lambda p: optim.SGD(p, 1, momentum=1), "momentum"),
        (lambda p: optim.SGD(p, 1, weight_decay=-1), "weight_decay"),
        (lambda p: optim.Adam(p, betas=(0.9, 1)), r"betas\[1\]"),
        (lambda p: optim.Adam(p, eps=0), "eps"),
        (lambda p: optim.AdamW(p, weight_decay=-1), "weight_decay"),
        (lambda p: optim.RMSprop(p, alpha=1), "alpha"),
        (lambda p: optim.RMSprop(p, eps=float("inf")), "eps"),
        (lambda p: optim.RMSprop(p, momentum=-0.1), "momentum"),
        (lambda p: optim.RMSprop(p, initial_mean_square=-1.0), "initial_mean_square"),
    ],
)
def test_settings_out_of_range(make: Make, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected a number"):
        make(parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("second"), "expected .*'second'"),
        (lambda s: s.update(velocity=s["first"]), "got .*'velocity'"),
        (lambda s: s.update(second=np.ones(3)), r"second: expected shape \(4,\), got \(3,\)"),
        (lambda s: s.pop("steps"), "expected .*'steps'"),
    ],
)
def test_a_wrong_state_changes_nothing(change: Any, message: str) -> None:
    optimizer = optim.Adam(parameters())
    run(optimizer, gradients())
    before = optimizer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(CheckpointError, match=message):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)


def test_moments_are_vectors_of_the_size_of_the_values() -> None:
    model = nn.mlp((3, 8, 2), rng=0)
    optimizer = optim.Adam(model)
    for moment in (optimizer.first, optimizer.second):
        assert moment.shape == optimizer.flat.values.shape and moment.dtype == np.float32 and moment.flags.c_contiguous
    assert all(p.array.base is optimizer.flat.values for p in model.parameters())


def test_centered_rmsprop_survives_a_gradient_that_never_changes() -> None:
    # The mean square minus the squared mean is 0 then, and rounding can take it below.
    parameters = [nn.Parameter(np.zeros(64, np.float32))]
    optimizer = optim.RMSprop(parameters, 1e-3, alpha=0.5, centered=True)
    gradient = np.random.default_rng(0).normal(size=64).astype(np.float32)
    for _ in range(100):
        optimizer.flat.grads[:] = gradient
        optimizer.step()
        assert np.isfinite(optimizer.flat.values).all()


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda p: optim.SGD(p, A, momentum=0.9), np.float32),
        (optim.Adam, np.float32),
        (optim.Adam, np.float64),
        (optim.AdamW, np.float32),
        (lambda p: optim.RMSprop(p, A, 0.9, centered=True, momentum=0.9), np.float32),
        (lambda p: optim.RMSprop(p, A, 0.9, eps_inside_root=True), np.float32),
    ],
)
def test_moments_of_a_dead_unit_become_zero_and_no_subnormal_numbers_which_cost_time(make: Make, dtype: Any) -> None:
    optimizer = make([nn.Parameter(np.ones(6, dtype))])
    tiny, subnormal = np.finfo(dtype).tiny, 0
    for step in range(7200 if dtype == np.float64 else 1100):
        optimizer.flat.grads[:] = [1, 1e-3, 1e-6, 0, 0, 0] if step < 9 else 0
        optimizer.step()
        if step % 32 == 0:
            moments = np.abs([getattr(optimizer, name) for name in optimizer.moments])
            subnormal += np.count_nonzero((moments != 0) & (moments < tiny))
    assert subnormal == 0


def test_clearing_tiny_moments_leaves_the_weights_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(sweep: int) -> tuple[np.ndarray, int]:
        monkeypatch.setattr("dbrrl.optim.optimizer.SWEEP_INTERVAL", sweep)
        optimizer = optim.Adam([nn.Parameter(np.linspace(-1, 1, 60).astype(np.float32))])
        rng = np.random.default_rng(0)
        for _ in range(2500):  # most gradients are 0 for long: a unit that dies, or is rarely active
            optimizer.flat.grads[:] = rng.normal(size=60) * (rng.random(60) < np.linspace(0, 0.05, 60) ** 2)
            optimizer.step()
        return np.array(optimizer.flat.values), np.count_nonzero(optimizer.first == 0)

    (cleared, zeros), (left, before) = trained(128), trained(10**9)
    np.testing.assert_array_equal(cleared, left)
    assert zeros > before
