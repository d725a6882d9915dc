"""LSTM and GRU by kernels against the ops' own formulas, in float64 where nothing rounds."""

from typing import Any

import numpy as np
import pytest

from dbrrl.autodiff.lstm import lstm
from dbrrl.autodiff.recurrent import gru
from dbrrl.autodiff.tensor import Tensor

CELLS = {"lstm": (lstm, 4, 2), "gru": (gru, 3, 1)}


def inputs(name: str, steps: int, batch: int, n: int, size: int, dtype: Any, biased: bool = True) -> list[Any]:
    """x, both weights, the state and both biases."""
    _, gates, parts = CELLS[name]
    rng = np.random.default_rng(0)
    shapes = [(steps, batch, n), (gates * size, n), (gates * size, size), *[(batch, size)] * parts]
    shapes += [(gates * size,)] * (2 * biased)
    return [Tensor(rng.normal(0, 0.3, shape).astype(dtype), requires_grad=True) for shape in shapes]


def gradients(name: str, given: list[Any], **ends: Any) -> list[np.ndarray]:
    """The outputs, and the gradient of a sum of them all for each input."""
    outputs = CELLS[name][0](*given, **ends)
    total: Any = 0.0
    for k, y in enumerate(outputs):
        total = total + (y * np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) * (k + 1)).sum()
    total.backward()
    return [y.numpy() for y in outputs] + [x.grad for x in given]


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 5, 7), (7, 2, 4, 16), (33, 8, 3, 37)])
@pytest.mark.parametrize("ends", ["none", "reset", "lengths", "both"])
def test_outputs_and_gradients_are_those_of_float64(c: Any, name: str, sizes: tuple[int, ...], ends: str) -> None:
    rng = np.random.default_rng(1)
    given: dict[str, Any] = {}
    if ends in ("reset", "both"):
        given["reset"] = rng.random(sizes[:2]) < 0.3
    if ends in ("lengths", "both"):
        given["lengths"] = rng.integers(0, sizes[0] + 1, sizes[1])
    for biased in (True, False):
        ours = gradients(name, inputs(name, *sizes, np.float32, biased), **given)
        right = gradients(name, inputs(name, *sizes, np.float64, biased), **given)
        for a, b in zip(ours, right, strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", list(CELLS))
def test_a_kernel_runs_and_leaves_the_rest_to_numpy(c: Any, name: str) -> None:
    kernel = c.lstm_forward if name == "lstm" else c.gru_forward
    arrays = [x.numpy() for x in inputs(name, 3, 2, 4, 5, np.float32)]
    arrays.insert(4, None) if name == "gru" else None
    assert kernel(*arrays, None, None)[0].shape == (3 + CELLS[name][2], 2, 5)
    for position, array in enumerate(arrays):
        for wrong in (None if array is None else array.astype(np.float64), None, np.zeros((9, 9), np.float32), 1.0):
            if (position == 4 and name == "gru") or (wrong is None and position > 4):
                continue
            changed = [*arrays[:position], wrong, *arrays[position + 1 :]]
            assert kernel(*changed, None, None) is NotImplemented
    assert kernel(*arrays, np.ones((3, 3), bool), None) is kernel(*arrays, None, np.ones((3, 2))) is NotImplemented
    assert kernel(np.zeros((0, 2, 4), np.float32), *arrays[1:], None, None) is NotImplemented
    back = c.lstm_backward if name == "lstm" else c.gru_backward
    y, gates, cells = kernel(*arrays, None, None)
    given = [*arrays, None, None, y, np.zeros((3, 2, 5), np.float32), gates, cells, np.empty((3, 2, 20), np.float32)]
    assert isinstance(back(*given), tuple)
    for position in (9, 10, 11, 13):
        for wrong in (np.zeros(3, np.float32), None, given[position].astype(np.float64)):
            assert back(*given[:position], wrong, *given[position + 1 :]) is NotImplemented


@pytest.mark.parametrize("name", list(CELLS))
def test_what_is_not_finite_spreads_to_its_own_sequence_alone(c: Any, name: str) -> None:
    given = inputs(name, 4, 3, 2, 5, np.float32)
    array = given[0].numpy().copy()
    array[1, 1] = np.nan
    y = CELLS[name][0](Tensor(array), *given[1:])[0].numpy()
    assert np.isnan(y[1:, 1]).all() and np.isfinite(y[:, [0, 2]]).all() and np.isfinite(y[0]).all()
