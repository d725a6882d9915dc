"""Registers an op's function with NumPy's dispatch, and as an operator or a method of Tensor."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from dbrrl.autodiff.dispatch import FUNCTIONS, UFUNCS
from dbrrl.autodiff.tensor import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def implements(*numpy_functions: Any) -> Callable[[Function], Function]:
    """Make `numpy_function(tensor)` call the decorated function."""

    def register(function: Function) -> Function:
        for numpy_function in numpy_functions:
            if hasattr(numpy_function, "nin"):
                UFUNCS[numpy_function] = function
            else:
                FUNCTIONS[numpy_function] = functools.partial(_call, numpy_function, function)
        return function

    return register


@functools.cache
def _parameters(numpy_function: Any, function: Any) -> tuple[inspect.Signature, int, set[str], set[str]]:
    """NumPy's signature, how many arguments it requires; the names of `function`: all, and its `*name`."""
    try:
        signature = inspect.signature(numpy_function)
    except ValueError:  # NumPy below 2.4 does not tell that of its functions written in C
        signature = inspect.signature(function)
    required = sum(p.default is p.empty for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD)
    own = inspect.signature(function).parameters
    return signature, required, set(own), {n for n, p in own.items() if p.kind is p.VAR_POSITIONAL}


def _call(numpy_function: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    """`function` with the arguments of a call of `numpy_function`, whose order and further names differ."""
    signature, required, own, star = _parameters(numpy_function, function)
    if len(args) <= required and kwargs.keys() <= own - star:
        return function(*args, **kwargs)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"numpy.{numpy_function.__name__}: expected the arguments {signature}: {error}") from None
    positional, named = [], {}
    for name, value in given.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named.update({key: _known(numpy_function, own, key, given) for key, given in value.items()})
        elif parameter.default is parameter.empty or parameter.kind is parameter.POSITIONAL_ONLY or name in star:
            positional.append(value)
        elif name in own:
            named[name] = value
        elif value is not None and value is not parameter.default:
            _known(numpy_function, own, name, value)
    return function(*positional, **named)


def _known(numpy_function: Any, own: set[str], name: str, value: Any) -> Any:
    """`value` for an argument called `name`; TypeError if the function has none of that name."""
    if name not in own:
        raise TypeError(
            f"numpy.{numpy_function.__name__}({name}=...) is not recorded for a Tensor: expected a call "
            f"without {name}; do that step on its own, or compute on tensor.data"
        )
    return value


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
