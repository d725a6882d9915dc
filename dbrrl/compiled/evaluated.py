"""Functions of networks, evaluated without a graph: op by op, or on the CPU by a program that was recorded once."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.autodiff.recording import observing
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import to_numpy
from dbrrl.backend.trees import leaves, to_device_tree, tree_of
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
            arrays = [observation] if type(observation) is np.ndarray else leaves(observation)
            key: tuple[Any, ...] = (function.__code__, noise)
            if function.__closure__ is not None:
                key += tuple([cell.cell_contents for cell in function.__closure__])
            for x in arrays:
                key += x.shape, x.dtype
            program = programs.get(key)
            if program is not None:
                drawn = program.draw(rng)
            else:
                program = self._record(key, function, observation, arrays, rng)
                drawn = program.drawn if program is not None else []
            if program is not None and self._run(program, arrays, drawn):
                result: np.ndarray = program.results[0].copy()
                return result
        with nn.evaluation(noise=noise):
            observation = to_device_tree(observation, self.device)
            found = function(observation) if rng is None else function(observation, rng)
            return to_numpy(getattr(found, "array", found))

    def _record(self, key: Any, function: Any, observation: Any, arrays: list[np.ndarray], rng: Any) -> Any:
        names = tuple(observation) if isinstance(observation, dict) else ()

        def recorded(*given: Any) -> dict[str, Any]:
            draws, given = (given[:1], given[1:]) if rng is not None else ((), given)
            with nn.evaluation(noise=key[1]):
                found = function(tree_of(names, given), *draws)
            return {"": getattr(found, "array", found)}

        return self.programs.record(key, recorded, arrays, (), self.parameters, rng)

    @staticmethod
    def _run(program: Any, arrays: list[np.ndarray], drawn: list[np.ndarray]) -> bool:
        """Run a program on observations and what was drawn; False where another thread runs it."""
        try:
            return program.run(*arrays, *drawn)  # type: ignore[no-any-return]
        except BufferError:  # an array that is not in one piece
            return program.run(*map(np.ascontiguousarray, arrays), *drawn)  # type: ignore[no-any-return]
