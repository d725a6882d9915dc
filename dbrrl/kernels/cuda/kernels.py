"""Several launches on a GPU as one kernel each, with its formula in NumPy's functions.

A launch costs ten microseconds from Python and one in a CUDA graph, whatever it computes on arrays of a small network's
size. A kernel is compiled on its first call; without a compiler (NumPy, a stand-in for CuPy) its formula serves.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dbrrl.backend import array_module


class Kernel:
    """An elementwise kernel of CuPy's, and its formula in NumPy's functions.

    Args:
        name: of the kernel, for profilers.
        inputs, outputs: their declarations in CuPy's form, such as "T x, raw T y".
        source: what happens to one element, in CUDA C.
        formula: the same on whole arrays; takes what the kernel takes, returns the outputs that were not given.
        preamble: CUDA C before the kernel.
    """

    def __init__(
        self, name: str, inputs: str, outputs: str, source: str, formula: Callable[..., Any], preamble: str = ""
    ) -> None:
        self.declaration = (inputs, outputs, source, name)
        self.formula, self.preamble = formula, preamble
        self._compiled: dict[Any, Callable[..., Any]] = {}  # by what compiled it

    def __call__(self, *arrays: Any, size: int | None = None) -> Any:
        """Compute on arrays of one device; `size` is the number of elements where all inputs are raw."""
        module = array_module(arrays[-1] if isinstance(arrays[0], np.generic) else arrays[0])
        make = getattr(module, "ElementwiseKernel", None)
        call = self._compiled.get(make)
        if call is None:
            call = self._compiled[make] = self._compile(make)
        return call(*arrays) if size is None else call(*arrays, size=size)

    def _compile(self, make: Any) -> Callable[..., Any]:
        if make is not None:
            return make(*self.declaration, preamble=self.preamble)  # type: ignore[no-any-return]
        return lambda *arrays, size=None: self.formula(*arrays)


def _tanh_bias(b: Any, y: Any) -> None:
    y += b
    np.tanh(y, out=y)


def _relu_bias(b: Any, y: Any) -> None:
    y += b
    np.maximum(y, 0, out=y)


def _add(b: Any, y: Any) -> None:
    y += b


# In place in y, by the name of the activation that follows.
bias: dict[str | None, Kernel] = {
    None: Kernel("bias", "T b", "T y", "y += b", _add),
    "tanh": Kernel("bias_tanh", "T b", "T y", "y = tanh(y + b)", _tanh_bias),
    "relu": Kernel("bias_relu", "T b", "T y", "T z = y + b; y = z > 0 ? z : (z == z ? T(0) : z)", _relu_bias),
}
# The gradient before an activation, from g and the output y.
before: dict[str | None, Kernel] = {
    "tanh": Kernel("tanh_back", "T g, T y", "T x", "x = g * (1 - y * y)", lambda g, y: g * (1 - y * y)),
    "relu": Kernel("relu_back", "T g, T y", "T x", "x = y > 0 ? g : T(0)", lambda g, y: g * np.greater(y, 0)),
}


def _clip(squares: Any, limit: float, g: Any) -> None:
    g *= np.minimum(limit / np.sqrt(squares), 1)


clip = Kernel(
    "clip_norm", "S squares, float64 limit", "T g",
    "double norm = sqrt((double)squares); if (norm > limit) g *= T(limit / norm)", _clip,
)  # fmt: skip


def _adam(
    g: Any, rate: Any, steps: Any, beta1: float, beta2: float, log_beta1: float, log_beta2: float, eps: float,
    first: Any, second: Any, values: Any,
) -> None:  # fmt: skip
    first *= beta1
    first += g
    second *= beta2
    second += g * g
    root = np.sqrt((1 - beta2) / (1 - beta2**steps))
    size = rate * (1 - beta1) / (1 - beta1**steps)
    values -= (first / (np.sqrt(second) + eps / root) * (size / root)).astype(values.dtype)


adam = Kernel(
    "adam",
    "T g, float64 rate, float64 steps, float64 beta1, float64 beta2, float64 log_beta1, float64 log_beta2, float64 eps",
    "T first, T second, T values",
    """
    first = first * T(beta1) + g;
    second = second * T(beta2) + g * g;
    // 1 - β^t = -expm1(t ln β): exact in float32 too
    T root = sqrt(T(1 - beta2) / -expm1(T(steps * log_beta2)));
    T size = T(rate * (1 - beta1)) / -expm1(T(steps * log_beta1));
    values -= first / (sqrt(second) + T(eps) / root) * (size / root);
    """,
    _adam,
)  # fmt: skip


scaled = Kernel("scaled", "T x, T g, float64 factor", "T y", "y = x * T(g * factor)", lambda x, g, f: x * (g * f))


@cache
def compiled(module: Any, device: int, source: str, name: str) -> Callable[..., None]:
    """The kernel `name` of CUDA C `source`, compiled once for each device by `module`, CuPy."""
    return _library(module, device, source).get_function(name)  # type: ignore[no-any-return]


@cache
def _library(module: Any, device: int, source: str) -> Any:
    return module.RawModule(code=source, options=("--std=c++17",))
