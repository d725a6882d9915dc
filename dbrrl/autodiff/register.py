"""How an op's function becomes what NumPy and Tensor's own operators call."""

from collections.abc import Callable
from typing import Any, TypeVar

from dbrrl.autodiff.tensor import FUNCTIONS, UFUNCS, Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def implements(*numpy_functions: Any) -> Callable[[Function], Function]:
    """Make `numpy_function(tensor)` call the decorated function."""

    def register(function: Function) -> Function:
        for numpy_function in numpy_functions:
            table = UFUNCS if hasattr(numpy_function, "nin") else FUNCTIONS
            table[numpy_function] = function
        return function

    return register


def method(*names: str) -> Callable[[Function], Function]:
    """Make `tensor.name(...)` call the decorated function with the tensor first."""

    def attach(function: Function) -> Function:
        for name in names:
            setattr(Tensor, name, function)
        return function

    return attach


def reflected(name: str) -> Callable[[Function], Function]:
    """Make `array <op> tensor` call the decorated function with its two arguments exchanged."""

    def attach(function: Function) -> Function:
        setattr(Tensor, name, lambda self, other: function(other, self))
        return function

    return attach
