"""`dbrrl.compile`: functions and gradient steps of one's own as programs of compiled kernels."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dbrrl.autodiff.recording import no_grad, observing
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import load_kernels
from dbrrl.compiled.evaluated import code_of
from dbrrl.compiled.programs import Programs
from dbrrl.compiled.step import CompiledStep
from dbrrl.nn.mode import state as mode
from dbrrl.nn.module import Module, structure
from dbrrl.optim import Optimizer

Parameters = Module | Tensor | Iterable[Module | Tensor]


def compile(
    function: Callable[..., Any],
    optimizer: Optimizer | None = None,
    max_grad_norm: float | None = None,
    *,
    parameters: Parameters = (),
) -> Any:
    """Return a function of arrays, or the gradient step of a loss, that runs as one program of compiled kernels.

    It is recorded at its first call with arrays of some shapes and types, once more at the second, and run in one call
    from then on. So it must read no numbers that change from call to call but its arguments and the parameters. What
    cannot be recorded runs op by op, with the same numbers to rounding; `explain()` says which line is the reason.

    Args:
        function: a function of NumPy's arrays, which returns an array, a tensor, or a tuple of these; or, with an
            optimizer, a loss, as `GradientStep` takes it.
        optimizer: what takes the steps of the loss.
        max_grad_norm: the gradient is scaled down to this global norm; None: never.
        parameters: networks and tensors that are read, beside those of the optimizer.

    Example:
        values = dbrrl.compile(lambda x: critic(x)[:, 0], parameters=critic)
        step = dbrrl.compile(loss, Adam(network), max_grad_norm=0.5)
        metrics = step(Batch(observation=observation, target=target))
    """
    load_kernels("cpu")

    def tensors() -> list[Tensor]:
        return tensors_of(parameters)

    if optimizer is None:
        return CompiledFunction(function, tensors)
    return CompiledStep(function, optimizer, max_grad_norm, parameters=tensors)


class CompiledFunction:
    """A function of arrays that runs as a program; made by `dbrrl.compile`.

    Attributes:
        compiled: set it to False to run it op by op.
    """

    compiled = True

    def __init__(self, function: Callable[..., Any], parameters: Callable[[], Iterable[Tensor]]) -> None:
        self.function, self.parameters = function, parameters
        self.programs = Programs()
        self._version = -1
        self._single, self._shapes = True, [()]

    def explain(self) -> str:
        """Say how it runs: as a program of how many steps, or op by op, and because of which line."""
        return self.programs.explain() if self.compiled else "runs op by op: compiled is False"

    def __call__(self, *arrays: np.ndarray, rng: np.random.Generator | None = None) -> Any:
        """Return `function(*arrays)`, or `function(*arrays, rng)`, without a graph: an array, or a tuple of arrays."""
        if self.compiled and not (self.programs.refused or observing):
            if structure.version != self._version:
                self._version = structure.version
                self.programs.forget()
            key = (mode.allowed, *((x.shape, x.dtype) for x in arrays))
            program = self.programs.get(key)
            program = program or self.programs.record(key, self._recorded, arrays, (), self.parameters, rng)
            results = None if program is None else program.evaluate(arrays, rng)
            if results is not None:
                return self._packed(results)
        with no_grad():
            return self._packed(self._results(self.function(*arrays, *(() if rng is None else (rng,)))))

    def _recorded(self, *given: Any) -> dict[str, Any]:
        draws, arrays = ([], list(given)) if not hasattr(given[0], "calls") else ([given[0]], list(given[1:]))
        with no_grad():
            found = self._results(self.function(*arrays, *draws))
        return {str(i): x for i, x in enumerate(found)}

    def _results(self, found: Any) -> list[Any]:
        """Return what the function returned as arrays with axes."""
        self._single = not isinstance(found, tuple)
        arrays = [getattr(x, "array", x) for x in ((found,) if self._single else found)]
        self._shapes = [np.shape(x) for x in arrays]
        return [x.reshape(1) if np.ndim(x) == 0 else x for x in arrays]

    def _packed(self, found: list[np.ndarray]) -> Any:
        results = [x.reshape(()) if shape == () else x for x, shape in zip(found, self._shapes, strict=True)]
        return results[0] if self._single else tuple(results)

    def __repr__(self) -> str:
        return f"CompiledFunction of {code_of(self.function)}: {self.explain()}"


def tensors_of(parameters: Parameters) -> list[Tensor]:
    """Return the tensors of networks, and those that are given themselves."""
    if isinstance(parameters, Module):
        return list(parameters.parameters())
    if isinstance(parameters, Tensor):
        return [parameters]
    return [tensor for one in parameters for tensor in tensors_of(one)]
