"""Replacements: a faster version of a function or an op for one kind of array, chosen by the first argument.

Code that is written in NumPy's functions also runs on CuPy's arrays. Where one kernel would be quicker, a module of
`dbrrl.kernels` registers it here, and the code that it replaces does not know of it:

    @replaceable                      # in the module of the formula
    def squared_distance(a, b):
        return np.sum((a - b) ** 2)

    @replaces(squared_distance, "cuda")      # in dbrrl/kernels/cuda, which imports that module
    def _squared_distance(a, b):
        if a.dtype != b.dtype:
            return NotImplemented     # not served: the formula is computed
        return kernel(a, b)

`autodiff.Op` classes are replaceable as they are; their replacement is a subclass. The modules of a kind are imported
when the first array of that kind (or the name of such a device) is met.

NumPy's own arrays are of the kind "cpu". Nothing is looked up for them: a function registered for "cpu" is put before
the formula inside the wrapper, once, and the methods of a class before those of the op. Each returns NotImplemented for
arguments that it does not serve, whatever they are: arrays of other kinds and numbers reach it, too. The modules of
"cpu" are imported by `load_kernels`, and those of environments, which stand above this library's core, apart.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from dbrrl.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")
Replacement = TypeVar("Replacement", bound=Callable[..., Any])

_KERNELS = {  # the module that is imported for a kind, or for those above the floor of a kind
    "cuda": "dbrrl.kernels.cuda",
    "cpu": "dbrrl.kernels.cpu",
    "environments": "dbrrl.kernels.environments",
    "checks": "dbrrl.kernels.checks",
}
_replacements: dict[tuple[Any, str], Any] = {}
_kinds: dict[Any, str] = {np.ndarray: "", float: "", int: ""}  # by type of array; "" where nothing is replaced


def replaceable(function: Callable[P, R]) -> Callable[P, R]:
    """Let kernels replace `function` for the kind of its first argument: an array, or the name of a device.

    Every kind for which nothing is registered gets `function` itself. A function of one to three arguments without
    defaults is called by position.
    """
    arity = function.__code__.co_argcount if function.__defaults__ is None else 0
    call: Any = functools.wraps(function)(_WRAPPERS.get(arity, _any_arguments)(function))
    call.replaceable = True
    return call  # type: ignore[no-any-return]


# A call with the parameters written out takes a fifth of the time of one with *args and **named.
def _one_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any) -> Any:
        if type(x) is not _ndarray and (result := _replaced(call, x)) is not NotImplemented:
            return result
        return function(x)

    return call


def _two_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, a: Any) -> Any:
        if type(x) is not _ndarray and (result := _replaced(call, x, a)) is not NotImplemented:
            return result
        return function(x, a)

    return call


def _three_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, a: Any, b: Any) -> Any:
        if type(x) is not _ndarray and (result := _replaced(call, x, a, b)) is not NotImplemented:
            return result
        return function(x, a, b)

    return call


def _any_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    first = function.__code__.co_varnames[0]

    def call(*args: Any, **named: Any) -> Any:
        x = args[0] if args else named.get(first)
        if type(x) is not _ndarray and (found := replacement(call, x)) is not None:
            result = found(*args, **named)
            if result is not NotImplemented:
                return result
        return function(*args, **named)

    return call


_WRAPPERS = {1: _one_argument, 2: _two_arguments, 3: _three_arguments}
_ndarray = np.ndarray


def _replaced(original: Any, *args: Any) -> Any:
    """Return the result of the replacement of `original`; NotImplemented if none takes these arguments."""
    found = replacement(original, args[0])
    return NotImplemented if found is None else found(*args)


def replaces(original: Any, kind: str) -> Callable[[Replacement], Replacement]:
    """Register the decorated function, or class, in place of `original` for arrays of `kind` ("cuda" or "cpu").

    A function may return NotImplemented for arguments that it does not serve: then the original is called. For "cuda"
    a class is a subclass of the op; for "cpu" its methods are such functions, asked before those of the op.

    Raises:
        ArgumentError: there is no such kind, or `original` can have no replacement, or this one cannot take its place.
    """

    def register(found: Replacement) -> Replacement:
        _check_replacement(original, found, kind)
        if kind != "cpu":
            _replacements[original, kind] = found
        elif isinstance(original, type):
            methods = {name: method for name, method in vars(found).items() if inspect.isfunction(method)}
            for name, method in methods.items():
                setattr(original, name, _asked_first(method, getattr(original, name)))
        else:
            wrapped = original.__closure__[original.__code__.co_freevars.index("function")]
            wrapped.cell_contents = _asked_first(found, wrapped.cell_contents)
        return found

    return register


def _check_replacement(original: Any, found: Any, kind: str) -> None:
    """Raise an ArgumentError where `found` would never be called in place of `original`."""
    kinds = sorted({"cuda", "cpu", "program", *_kinds.values()} - {""})
    if kind not in kinds:
        raise ArgumentError(f"replaces: expected one of the kinds {', '.join(kinds)}, got {kind!r}: see add_kind()")
    name = getattr(original, "__qualname__", repr(original))
    if not isinstance(original, type):
        if not getattr(original, "replaceable", False):
            raise ArgumentError(f"replaces: expected a function with @replaceable, or an op, got {name}: decorate it")
    elif not isinstance(found, type) or (kind != "cpu" and not issubclass(found, original)):
        what = "a class with some of its methods" if kind == "cpu" else "a subclass of it"
        raise ArgumentError(f"replaces: expected {what} in place of {name}, got {found!r}")
    elif kind == "cpu":
        absent = [key for key, value in vars(found).items() if inspect.isfunction(value) and not hasattr(original, key)]
        if absent:
            raise ArgumentError(f"replaces: expected methods of {name}, got {', '.join(absent)}: check the spelling")


def _asked_first(kernel: Callable[..., Any], formula: Any) -> Any:
    """`formula`, but `kernel` where that does not return NotImplemented."""
    plain = formula.__defaults__ is None and not formula.__code__.co_flags & inspect.CO_VARARGS
    arity = formula.__code__.co_argcount if plain else 0
    return functools.wraps(formula)(_FIRST.get(arity, _any_first)(kernel, formula))


def _one_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any) -> Any:
        return result if (result := kernel(x)) is not NotImplemented else formula(x)

    return first


def _two_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any, a: Any) -> Any:
        return result if (result := kernel(x, a)) is not NotImplemented else formula(x, a)

    return first


def _three_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any, a: Any, b: Any) -> Any:
        return result if (result := kernel(x, a, b)) is not NotImplemented else formula(x, a, b)

    return first


def _four_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any, a: Any, b: Any, c: Any) -> Any:
        return result if (result := kernel(x, a, b, c)) is not NotImplemented else formula(x, a, b, c)

    return first


def _five_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return result if (result := kernel(x, a, b, c, d)) is not NotImplemented else formula(x, a, b, c, d)

    return first


def _six_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        return result if (result := kernel(x, a, b, c, d, e)) is not NotImplemented else formula(x, a, b, c, d, e)

    return first


def _any_first(kernel: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    def first(*args: Any, **named: Any) -> Any:
        return result if (result := kernel(*args, **named)) is not NotImplemented else formula(*args, **named)

    return first


_FIRST = {1: _one_first, 2: _two_first, 3: _three_first, 4: _four_first, 5: _five_first, 6: _six_first}


def add_kind(array: type, kind: str) -> None:
    """Let arrays of a type be of a kind of their own, for which ops and functions are replaced."""
    _kinds[array] = kind


@functools.cache
def load_kernels(kind: str) -> Any:
    """Import the kernels of a kind, or other ones by name, once: each registers what it replaces; return the module."""
    return importlib.import_module(_KERNELS[kind])


def replacement(original: Any, x: Any) -> Any:
    """The replacement of `original` for the kind of `x`, an array or the name of a device; None if there is none."""
    kind = _kinds.get(type(x))
    if kind is None:
        kind = _kind(x)
    return _replacements.get((original, kind)) if kind else None


def _kind(x: Any) -> str:
    """The kind of an array whose type was not met before, or of a device, with its kernels imported."""
    if isinstance(x, str):
        kind = "" if x == "cpu" else x.partition(":")[0]
    else:
        kind = "cuda" if type(x).__module__.partition(".")[0] == "cupy" else ""
    if kind in _KERNELS:
        load_kernels(kind)
    if not isinstance(x, str):
        _kinds[type(x)] = kind
    return kind
