"""The draws of `CounterGenerator` as kernels."""

from typing import Any

import numpy as np

from dbrrl.backend import CounterGenerator as CounterGenerator
from dbrrl.backend import array_module, replaces
from dbrrl.backend.counter_generator import draw

from .kernels import Kernel

PREAMBLE = """
__device__ inline void philox(unsigned long long counter, unsigned long long key, unsigned int* out) {
    unsigned int c0 = (unsigned int)counter, c1 = (unsigned int)(counter >> 32), c2 = 0, c3 = 0;
    unsigned int k0 = (unsigned int)key, k1 = (unsigned int)(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned long long a = 0xD2511F53ULL * c0, b = 0xCD9E8D57ULL * c2;
        const unsigned int n0 = (unsigned int)(b >> 32) ^ c1 ^ k0, n2 = (unsigned int)(a >> 32) ^ c3 ^ k1;
        c1 = (unsigned int)b; c3 = (unsigned int)a; c0 = n0; c2 = n2;
        k0 += 0x9E3779B9U; k1 += 0xBB67AE85U;
    }
    out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}
"""


def _kernel(name: str, kind: str, source: str) -> Kernel:
    head = "unsigned int w[4]; philox(position[0] + i, key, w);"
    return Kernel(name, "raw uint64 position, uint64 key", f"{kind} y", f"{head} {source}", _unused, PREAMBLE)


def _unused(*_: Any) -> None:
    raise AssertionError("the formula is that of backend.counter_generator.draw")


# Floats in [0, 1) from 24 and 53 bits, as NumPy takes them.
_kernels = {
    ("uniform", "float32"): _kernel("philox_f", "float32", "y = (w[0] >> 8) * 5.9604644775390625e-8f;"),
    ("uniform", "float64"): _kernel(
        "philox_d", "float64", "y = ((w[0] >> 5) * 67108864.0 + (w[1] >> 6)) * 1.1102230246251565e-16;"
    ),
    ("exponential", "float32"): _kernel(
        "exponential_f", "float32", "y = -logf(((w[0] >> 8) + 1) * 5.9604644775390625e-8f);"
    ),
    ("normal", "float32"): _kernel(
        "normal_f", "float32",
        "float radius = sqrtf(-2.0f * logf(((w[0] >> 8) + 1) * 5.9604644775390625e-8f));"
        " y = radius * cospif((w[1] >> 8) * 1.1920928955078125e-7f);",
    ),
    ("bits", "uint64"): _kernel("philox_bits", "uint64", "y = ((unsigned long long)w[1] << 32) | w[0];"),
}  # fmt: skip
_advance = Kernel("philox_advance", "uint64 n", "uint64 position", "position += n", lambda n, position: None)


@replaces(draw, "cuda")
def _draw(position: Any, key: int, kind: str, n: int, dtype: np.dtype[Any]) -> Any:
    cupy = array_module(position)
    if not hasattr(cupy, "ElementwiseKernel"):
        return NotImplemented
    y = cupy.empty(n, dtype)
    _kernels[kind, dtype.name](position, np.uint64(key), y)
    _advance(np.uint64(n), position)
    return y
