"""Every op of the table against an independent reference and central differences."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dbrrl.autodiff
import dbrrl.functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, no_grad, observing, state
from dbrrl.debugging.gradcheck import check_gradients
from tests.autodiff.table import CASES, MIXED, WITHOUT_GRADIENT, Case
from tests.standin import host, put

POINTS = [pytest.param(case, make, id=f"{case.name} {k}") for case in CASES for k, make in enumerate(case.points)]
over_points = pytest.mark.parametrize(("case", "make"), POINTS)
FIRST_POINTS = 2  # of a case, by default in a test that takes long
MANY_POINTS = [
    pytest.param(case, make, id=f"{case.name} {k}", marks=[pytest.mark.slow] * (k >= FIRST_POINTS))
    for case in CASES
    for k, make in enumerate(case.points)
]


def arrays_of(make: Any) -> tuple[Any, ...]:
    return tuple(np.asarray(a) for a in make(np.random.default_rng(7)))


def scattered(x: Any) -> Any:
    """The same values, every axis strided and the order of axes reversed in memory."""
    room = np.zeros(tuple(2 * n for n in x.shape[::-1]), x.dtype)
    view = room.T[(..., *(slice(None, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def op_classes(base: type[Op] = Op) -> Iterator[type[Op]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("dbrrl.autodiff.") and not inspect.isabstract(kind):
            yield kind
        yield from op_classes(kind)


class Seen:
    """An observer that notes which ops ran."""

    def __init__(self) -> None:
        self.ops: set[type[Op]] = set()

    def forward(self, op: Op, arrays: Any) -> Any:
        self.ops.add(type(op))
        return op.forward(*arrays)

    def backward(self, op: Op, g: Any, y: Any, values: Any) -> Any:
        return op.backward(g, y, *values)

    def __enter__(self) -> "Seen":
        observing.append(self)
        state.observer = self
        return self

    def __exit__(self, *_: object) -> None:
        observing.remove(self)
        state.observer = None


def test_the_table_lists_every_op_and_every_function() -> None:
    for module in pkgutil.iter_modules(dbrrl.autodiff.__path__):
        importlib.import_module(f"dbrrl.autodiff.{module.name}")
    listed = {op for case in CASES for op in case.ops}
    on_a_gpu = {"ToDevice"}
    assert {op.__name__ for op in op_classes()} == {op.__name__ for op in listed} | on_a_gpu
    assert set(F.__all__) == {case.function for case in CASES} | WITHOUT_GRADIENT
    assert all(hasattr(F, name) for name in F.__all__)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_runs_the_ops_that_it_is_listed_for(case: Case) -> None:
    inputs = [Tensor(a, requires_grad=True) for a in arrays_of(case.points[0])]
    with Seen() as seen:
        grad(case.call(*inputs).sum(), inputs)
    unseen = {type(case.call(*inputs).op)}  # one that stands for several, which run one by one while observed
    assert set(case.ops) <= seen.ops | unseen


@over_points
def test_values_match_the_reference(case: Case, make: Any, device: str) -> None:
    expected = np.asarray(case.reference(*arrays_of(make)))
    arrays = put(arrays_of(make), device)
    recorded = case.call(*(Tensor(a, requires_grad=True) for a in arrays))
    assert isinstance(recorded, Tensor) and recorded.op is not None
    assert recorded.shape == expected.shape and recorded.dtype == np.float64
    np.testing.assert_allclose(host(recorded, device), expected, rtol=1e-12, atol=1e-12)
    computed = case.call(*arrays)
    assert not isinstance(computed, Tensor)
    np.testing.assert_allclose(host(computed, device), expected, rtol=1e-12, atol=1e-12)
    with no_grad():
        assert case.call(*(Tensor(a, requires_grad=True) for a in arrays)).op is None


@over_points
def test_first_and_second_gradients_match_central_differences(case: Case, make: Any, device: str) -> None:
    check_gradients(case.call, *put(arrays_of(make), device), order=2, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "make"), MANY_POINTS)
def test_second_gradients_inside_a_curved_function(case: Case, make: Any) -> None:
    # A linear op has a second derivative of its own only where what comes after it is curved.
    check_gradients(lambda *xs: np.sin(case.call(*xs)), *arrays_of(make), order=2, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("seed", range(12))
def test_gradients_of_random_broadcasts(seed: int, device: str) -> None:
    r = np.random.default_rng(seed)
    full = [int(n) for n in r.integers(0, 4, r.integers(0, 5))]
    shapes = [[n if r.random() < 0.6 else 1 for n in full][int(r.integers(0, len(full) + 1)) :] for _ in range(3)]
    a, b, c = (r.uniform(0.5, 1.5, s) for s in shapes)

    def f(a: Any, b: Any, c: Any) -> Any:
        return np.maximum(a * b - c, a / c) + np.where(a.data > b.data, b**c, c)

    tensors = [Tensor(x, requires_grad=True) for x in (a, b, c)]
    expected = np.maximum(a * b - c, a / c) + np.where(a > b, b**c, c)
    np.testing.assert_allclose(f(*tensors).array, expected, rtol=1e-12)
    check_gradients(f, *put((a, b, c), device), order=2, atol=1e-6)


@over_points
def test_memory_order_does_not_matter(case: Case, make: Any) -> None:
    arrays = arrays_of(make)
    results = []
    for form in (np.ascontiguousarray, scattered):
        inputs = [Tensor(a, requires_grad=True) for a in arrays]
        for tensor, a in zip(inputs, arrays, strict=True):
            tensor.array = form(a).reshape(a.shape)
        y = case.call(*inputs)
        results.append([y.array, *(g.array for g in grad((y * np.cos(y)).sum(), inputs))])
    for straight, strided in zip(*results, strict=True):
        np.testing.assert_allclose(strided, straight, rtol=1e-12, atol=1e-13)


@over_points
def test_float32_stays_float32(case: Case, make: Any, device: str) -> None:
    arrays = put([a.astype(np.float32) for a in arrays_of(make)], device)
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    plain = case.call(*arrays)
    assert plain.dtype == (np.float64 if case.name in MIXED else np.float32)  # plain arrays follow NumPy
    y = case.call(*inputs)
    assert y.dtype == np.float32
    np.testing.assert_allclose(host(y, device), case.reference(*arrays_of(make)), rtol=2e-4, atol=2e-5)
    gradients = grad((y * y).sum(), inputs, create_graph=True)
    assert {g.dtype for g in gradients} <= {np.dtype(np.float32)}
    again = grad(sum((g * g).sum() for g in gradients), inputs, allow_unused=True) if gradients else []
    assert {g.dtype for g in again if g is not None} <= {np.dtype(np.float32)}
    for x in inputs:
        case.call(*inputs).sum().backward()
        assert x.grad.dtype == np.float32


def test_one_hot() -> None:
    y = F.one_hot(np.array([[1, 0], [2, 2]]), 3)
    assert type(y) is np.ndarray and y.dtype == np.float32
    np.testing.assert_array_equal(y, np.eye(3)[[[1, 0], [2, 2]]])


def test_logsumexp_of_what_is_excluded() -> None:
    inf = np.inf
    x = Tensor(np.array([[-inf, -inf], [-inf, 1.0]]), requires_grad=True)
    y = F.logsumexp(x, -1)
    np.testing.assert_array_equal(y.array, [-inf, 1])
    np.testing.assert_array_equal(F.logsumexp(np.array([inf, 0.0])), inf)
    np.testing.assert_array_equal(grad(y[:2].sum(), x).array[:2], [[0, 0], [0, 1]])


@pytest.mark.parametrize("rows", [1, 2, 30, 200])
def test_linear_is_the_same_whichever_operand_is_turned(rows: int) -> None:
    generator = np.random.default_rng(rows)
    x, w, b = (generator.standard_normal(shape).astype(np.float32) for shape in ((rows, 300), (280, 300), (280,)))
    y = F.linear(x, w, b, "relu")
    assert y.flags.c_contiguous
    np.testing.assert_allclose(y, np.maximum(np.einsum("ni,oi->no", x, w, dtype=np.float64) + b, 0), atol=2e-4)


@pytest.mark.parametrize("size", [1, 3, 2**19, 2**19 + 1])
def test_relu_of_any_size_keeps_what_is_not_a_number(size: int) -> None:
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    x[-1] = np.nan
    np.testing.assert_array_equal(F.relu(x), np.where(x < 0, 0, x))
