"""Functions of networks, evaluated without a graph: op by op, or on the CPU by a program that was recorded once."""

from collections.abc import Callable, Hashable, Iterable
from types import MethodType
from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.autodiff.recording import observing
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import to_numpy
from dbrrl.backend.trees import leaves, to_device_tree, tree_of
from dbrrl.compiled import check
from dbrrl.compiled.programs import Programs
from dbrrl.nn.module import structure
from dbrrl.types import Observation


class Evaluated:
    """Functions of a batch of observations that are evaluated often, such as those that choose actions.

    On the CPU each is recorded as a program for every shape of its observations. So it must not read numbers that
    change from call to call, beside the parameters, and draw none but by the generator that it is given.

    Args:
        device: where the networks are.
        settings: returns what else the functions depend on; another object, other records.
        parameters: returns the tensors that they may read.

    Attributes:
        compiled: set it to False to run each op by op.
    """

    compiled = True

    def __init__(
        self, device: str, settings: Callable[[], Hashable], parameters: Callable[[], Iterable[Tensor]] = tuple
    ) -> None:
        self.device, self.settings, self.parameters = device, settings, parameters
        self.programs = Programs()
        self._settings: Hashable = None
        self._version = -1

    def __call__(
        self,
        function: Callable[..., Any],
        observation: Observation,
        rng: np.random.Generator | None = None,
        noise: bool = False,
    ) -> np.ndarray:
        """Return `function(observation)`, or `function(observation, rng)`, as a NumPy array.

        Args:
            function: returns an array or a tensor; one made anew by the same code, of the same objects, is the same.
            observation: as `Preprocessor` returns it.
            rng: what the function draws from.
            noise: whether layers with exploration noise have it.
        """
        programs = self.programs
        known = rng is None or type(rng) is np.random.Generator
        if self.compiled and self.device == "cpu" and known and not (programs.refused or observing):
            settings, version = self.settings(), structure.version
            if settings is not self._settings or version != self._version:
                self._settings, self._version = settings, version
                programs.forget()
            known = type(function) is MethodType and getattr(function, "__closure__", ()) is None
            if known and type(observation) is np.ndarray:
                arrays, key = [observation], (function, noise, observation.shape, observation.dtype)
            else:
                arrays, key = _arrays_and_key(function, observation, noise)
            try:
                program = programs.get(key)
            except (TypeError, ValueError):
                programs.refused = f"{code_of(function)} refers to something whose numbers may change, such as an array"
                return self._op_by_op(function, observation, rng, noise)
            program = program or self._record(key, function, observation, arrays, noise, rng)
            if program is not None:
                results: list[np.ndarray] | None = program.evaluate(arrays, rng)
                if results is not None:
                    if program.runs < check.RUNS:
                        self._check(program, results[0], (function, observation, rng, noise))
                    return results[0]
        return self._op_by_op(function, observation, rng, noise)

    def _op_by_op(self, function: Any, observation: Any, rng: Any, noise: bool) -> np.ndarray:
        with nn.evaluation(noise=noise):
            observation = to_device_tree(observation, self.device)
            found = function(observation) if rng is None else function(observation, rng)
            return to_numpy(getattr(found, "array", found))

    def _check(self, program: Any, result: np.ndarray, given: Any) -> None:
        """Compare the result of a program with that of the ops, as DBRRL_CHECK=1 asks for."""
        program.runs += 1
        function, observation, rng, noise = given
        right = self._op_by_op(function, observation, None if rng is None else Again(program.latest_draws), noise)
        check.compare(code_of(function), result, right)

    def _record(
        self, key: Any, function: Any, observation: Any, arrays: list[np.ndarray], noise: bool, rng: Any
    ) -> Any:
        names = tuple(observation) if isinstance(observation, dict) else ()

        def recorded(*given: Any) -> dict[str, Any]:
            draws, given = (given[:1], given[1:]) if rng is not None else ((), given)
            with nn.evaluation(noise=noise):
                found = function(tree_of(names, given), *draws)
            return {"": getattr(found, "array", found)}

        return self.programs.record(key, recorded, arrays, (), self.parameters, rng)


class Again:
    """A generator that gives what another one drew, in its order."""

    def __init__(self, drawn: list[np.ndarray]) -> None:
        self._left = iter(drawn)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: next(self._left).copy()


def code_of(function: Any) -> str:
    """Return the name of a function and its line."""
    code = getattr(function, "__code__", None)
    return type(function).__qualname__ if code is None else f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})"


def _arrays_and_key(function: Any, observation: Observation, noise: bool) -> tuple[list[np.ndarray], tuple[Any, ...]]:
    """Return the arrays of an observation, and what says whether another call is of the same function and shapes.

    A function is the same if its code is, and the objects that it refers to.
    """
    code = getattr(function, "__code__", None)
    key: tuple[Any, ...] = (function, noise)
    if code is not None:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        key = code, getattr(function, "__self__", None), *cells, *(function.__defaults__ or ()), noise
    arrays = [observation] if type(observation) is np.ndarray else leaves(observation)
    if type(observation) is dict:
        key += tuple(observation)
    for x in arrays:
        key += x.shape, x.dtype
    return arrays, key
