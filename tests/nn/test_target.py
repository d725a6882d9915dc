"""Target networks: copies, and how `nn.polyak` moves them."""

import copy
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, optim
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError, GraphError

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def network(seed: int) -> nn.Sequential:
    return nn.mlp((3, 4, 2), rng=seed)


def flattened(module: nn.Module) -> Any:
    return np.concatenate([p.array.ravel() for p in module.parameters()])


def expected(target: Any, online: Any, tau: float) -> Any:
    """θ⁻ ← (1 - τ) θ⁻ + τ θ in NumPy, one float32 operation after the other."""
    return target * np.float32(1 - tau) + np.float32(tau) * online if tau < 1 else online.copy()


@pytest.mark.parametrize("tau", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("optimizers", ["none", "whole", "two", "both networks"])
def test_parameters_move_by_tau(tau: float, optimizers: str) -> None:
    online, target = network(0), network(1)
    if optimizers in ("whole", "both networks"):
        optim.Adam(online)
    if optimizers == "both networks":
        other = optim.Adam(target)
        values = other.flat.values
    if optimizers == "two":
        optim.Adam([online[0].weight, online[2].bias])  # type: ignore[list-item]
        optim.Adam([online[2].weight])  # type: ignore[list-item]
    for _ in range(3):
        before, theirs = flattened(target), flattened(online)
        nn.polyak(target, online, tau)
        np.testing.assert_array_equal(flattened(target), expected(before, theirs, tau))
        np.testing.assert_array_equal(flattened(online), theirs)
        online[0].weight.data = online[0].weight.array + 1  # type: ignore[union-attr, operator]
    if optimizers == "both networks":
        np.testing.assert_array_equal(values, flattened(target))  # still the other optimizer's vector


@pytest.mark.parametrize("trained", [False, True])
def test_a_copied_network_keeps_its_arrays_when_it_is_moved(trained: bool) -> None:
    """A recorded CUDA graph reads the arrays that the target had when it was recorded."""
    online = network(0)
    if trained:
        optim.Adam(online)
    target: Any = nn.target_copy(online)
    if not trained:
        optim.Adam(online)
    arrays = [p.array for p in target.parameters()]
    for tau in (1.0, 0.5):
        online[0].weight.data = online[0].weight.array + 1  # type: ignore[union-attr, operator]
        nn.polyak(target, online, tau)
    assert all(p.array is array for p, array in zip(target.parameters(), arrays, strict=True))


def test_a_whole_network_is_one_pair_of_vectors() -> None:
    online = network(0)
    target: Any = nn.target_copy(online)
    trained = optim.Adam(online)
    nn.polyak(target, online)
    ((ours, theirs, learned),) = vars(target)["_polyak_pair"].vectors
    assert learned and ours.size == theirs.size == trained.flat.values.size
    assert all(np.shares_memory(ours, p.array) for p in target.parameters())


def test_what_changed_between_two_calls_is_seen() -> None:
    online, target = network(0), network(1)
    nn.polyak(target, online)

    def followed() -> bool:
        nn.polyak(target, online)
        return np.array_equal(flattened(target), flattened(online))

    optim.Adam(online)  # moves the parameters to other arrays
    online[0].weight.data = np.ones((4, 3), np.float32)  # type: ignore[union-attr]
    assert followed()
    online[0].bias = nn.Parameter(np.full(4, 2, np.float32))  # type: ignore[assignment, union-attr]
    assert followed()
    online.layers[2] = nn.Linear(4, 2, rng=9)
    assert followed()
    for module in (online, target):
        module.layers.append(nn.Linear(2, 2, rng=id(module) % 100))
    assert followed() and len(target.parameters()) == 6
    for module in (online, target):
        module.astype(np.float64)
    assert followed() and target[0].weight.dtype == np.float64  # type: ignore[union-attr]
    twin = copy.deepcopy(target)
    online[0].weight.data = np.zeros((4, 3))  # type: ignore[union-attr]
    nn.polyak(twin, online)
    assert not twin[0].weight.array.any() and target[0].weight.array.any()  # type: ignore[union-attr]


def test_frozen_parameters_are_copied_and_do_not_drift() -> None:
    online = network(0)
    target: Any = nn.target_copy(online)
    online[0].weight.requires_grad_(False)  # type: ignore[union-attr]
    optim.Adam(online)
    for p in target.parameters():
        p.data = p.array + 1
    before, theirs = flattened(target), flattened(online)
    nn.polyak(target, online, 0.1)
    np.testing.assert_array_equal(target[0].weight.array, online[0].weight.array)  # type: ignore[union-attr]
    np.testing.assert_array_equal(flattened(target)[12:], expected(before, theirs, 0.1)[12:])
    online[0].weight.requires_grad_(True)  # type: ignore[union-attr]
    online[0].weight.data = np.zeros((4, 3), np.float32)  # type: ignore[union-attr]
    nn.polyak(target, online, 0.5)
    assert target[0].weight.array.any()


def test_a_graph_recorded_before_notices_the_move() -> None:
    online, target = network(0), network(1)
    loss: Tensor = target(X).sum()
    nn.polyak(target, online)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_buffers_are_copied_but_noise_is_not() -> None:
    class Counted(nn.Module):
        buffers = ("count", "mean")

        def __init__(self, seed: int) -> None:
            self.count, self.mean, self.noisy = np.zeros((), np.int64), np.zeros(2), nn.NoisyLinear(2, 2, rng=seed)

    one, other = nn.Sequential(Counted(0)), nn.Sequential(Counted(1))
    inner: Any = one[0]
    inner.count, inner.mean[:] = inner.count + 3, 7.0
    before = np.array(other[0].noisy.noise_in)  # type: ignore[attr-defined]
    nn.copy_buffers(one, other)
    target: Any = other[0]
    assert target.count == 3 and target.mean.tolist() == [7.0, 7.0] and target.mean is not inner.mean
    np.testing.assert_array_equal(target.noisy.noise_in, before)
    assert [name for name, _, _ in one.named_buffers()] == ["layers.0.count", "layers.0.mean"]
    copied = nn.target_copy(one.train())
    assert one.training and not copied.training and copied[0].noisy.training  # type: ignore[attr-defined, index]
    inner.count, inner.mean[:] = inner.count + 1, 5.0
    noise = np.array(copied[0].noisy.noise_in)  # type: ignore[attr-defined, index]
    nn.resample_noise(one)
    nn.polyak(copied, one, 0.5)
    assert copied[0].count == 4 and copied[0].mean.tolist() == [5.0, 5.0]  # type: ignore[attr-defined, index]
    np.testing.assert_array_equal(copied[0].noisy.noise_in, noise)  # type: ignore[attr-defined, index]


def test_networks_that_differ_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"parameters of the same shapes, got \(4, 3\), \(4,\).*nn.target_copy"):
        nn.polyak(network(0), nn.mlp((3, 5, 2), rng=0))
    with pytest.raises(ConfigError, match=r"expected tau in \[0, 1\], got 1.5"):
        nn.polyak(network(0), network(1), 1.5)

    class Counted(nn.Module):
        buffers = ("count",)

        def __init__(self) -> None:
            self.count = np.zeros(())

    with pytest.raises(ConfigError, match=r"the same buffers, got \['count'\] and \[\]"):
        nn.polyak(Counted(), nn.Tanh())
    nn.polyak(nn.Tanh(), nn.Tanh())
