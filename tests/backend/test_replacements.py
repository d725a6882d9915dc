"""Replacements of functions and ops, by the kind of the first argument."""

from typing import Any

import numpy as np
import pytest

from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import add_kind, replaceable, replaces, to_device
from dbrrl.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("cuda")


@replaceable
def name_of_device(device: str) -> str:
    return "host"


@replaceable
def doubled(x: Any, times: int = 1) -> Any:
    return x * 2**times


@replaces(doubled, "cuda")
def _doubled(x: Any, times: int = 1) -> Any:
    return "replaced" if times < 3 else NotImplemented


replaces(name_of_device, "cuda")(lambda device: device)


class Square(Op):
    """y = x²; dx = 2 x g."""

    def forward(self, x: Any) -> Any:
        return x * x

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return 2 * x * g


@replaces(Square, "cuda")
class _Square(Square):
    """The same as `Square`, but with a gradient of arrays ten times as large, to tell them apart."""

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return super().backward(g, y, x) if isinstance(g, Tensor) else 20 * x * g


def test_a_function_is_replaced_for_the_kind_of_its_first_argument() -> None:
    x = np.ones(2)
    assert doubled(x).tolist() == doubled(x=x).tolist() == [2, 2] and doubled(1.5) == 3 and doubled(x[0]) == 2
    assert doubled(to_device(x, "cuda")) == doubled(x=to_device(x, "cuda")) == "replaced"
    assert name_of_device("cpu") == "host" and name_of_device("cuda:1") == "cuda:1"


def test_what_a_replacement_does_not_serve_is_computed_by_the_formula() -> None:
    assert doubled(to_device(np.ones(2), "cuda"), times=3).get().tolist() == [8, 8]


def test_an_op_is_replaced_when_it_is_called() -> None:
    for device, expected in (("cpu", 6), ("cuda", 60)):
        x = Tensor([3.0], requires_grad=True).to(device)
        assert grad(Square()(x).sum(), x).numpy().tolist() == [expected]
        assert grad(Square()(x).sum(), x, create_graph=True).numpy().tolist() == [6]


@replaceable
def halved(x: Any) -> Any:
    return x / 2


class Cube(Op):
    """y = x³; dx = 3 x² g."""

    def forward(self, x: Any) -> Any:
        return x**3

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return 3 * x * x * g


def test_a_kernel_for_the_cpu_is_asked_before_the_formula_and_costs_nothing_before() -> None:
    cell = halved.__closure__[halved.__code__.co_freevars.index("function")]
    assert cell.cell_contents is halved.__wrapped__
    replaces(halved, "cpu")(lambda x: "kernel" if isinstance(x, np.ndarray) and x.ndim else NotImplemented)
    try:
        assert halved(np.ones(2)) == "kernel"
        assert halved(np.float64(3)) == halved(3) == 1.5
        assert halved(to_device(np.ones(2), "cuda")).get().tolist() == [0.5, 0.5]
    finally:
        cell.cell_contents = halved.__wrapped__


def plain(x: Any) -> Any:
    return x


def test_a_closure_that_happens_to_have_a_variable_of_that_name_is_refused() -> None:
    function = plain

    def closure(x: Any) -> Any:
        return function(x)

    for kind in ("cuda", "cpu"):
        with pytest.raises(ArgumentError, match="expected a function with @replaceable"):
            replaces(closure, kind)(plain)


def test_a_kind_of_ones_own_may_be_replaced_for() -> None:
    class Mine:
        pass

    add_kind(Mine, "mine")
    replaces(doubled, "mine")(lambda x, times=1: "mine")
    assert doubled(Mine()) == "mine"


@pytest.mark.parametrize(
    ("original", "kind", "found", "line"),
    [
        (doubled, "gpu", plain, "expected one of the kinds cpu, cuda, .*program, got 'gpu'"),
        (plain, "cuda", plain, "expected a function with @replaceable, or an op, got plain"),
        (plain, "cpu", plain, "expected a function with @replaceable, or an op, got plain"),
        (np.tanh, "cpu", plain, "expected a function with @replaceable, or an op, got tanh"),
        (Square, "cuda", plain, "expected a subclass of it in place of Square, got <function plain"),
        (Square, "cuda", Op, "expected a subclass of it in place of Square, got <class"),
        (Square, "cpu", plain, "expected a class with some of its methods in place of Square, got <function"),
        (Square, "cpu", type("Wrong", (), {"forwards": plain}), "expected methods of Square, got forwards: check"),
    ],
)
def test_what_would_never_be_called_is_refused(original: Any, kind: str, found: Any, line: str) -> None:
    with pytest.raises(ArgumentError, match=f"^replaces: {line}"):
        replaces(original, kind)(found)


def test_methods_of_an_op_are_replaced_for_the_cpu() -> None:
    @replaces(Cube, "cpu")
    class _Cube:
        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return 30 * x * x * g if isinstance(x, np.ndarray) and x.size == 1 else NotImplemented

    for values, expected in (([2.0], [120]), ([2.0, 1.0], [12, 3])):
        x = Tensor(values, requires_grad=True)
        assert grad(Cube()(x).sum(), x).numpy().tolist() == expected
    assert grad(Cube()(x).sum(), x, create_graph=True).numpy().tolist() == [12, 3]
    assert Cube.forward.__name__ == "forward" and not hasattr(Cube.forward, "__wrapped__")
