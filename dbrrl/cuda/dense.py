"""Dense layers on a GPU: product, bias and activation in one kernel, and two kernels back.

A small network's layer is all launch: these kernels leave out the launches for bias, activation and its derivative, and
for summing the bias's gradient. Large products go to cuBLAS, whose own kernels are several times as fast there.
"""

from functools import cache
from typing import Any

import numpy as np

from dbrrl.backend import array_module

from . import blas, kernels

TILE, DEPTH = 32, 64  # a block computes TILE x TILE outputs, DEPTH products at a time
SPLIT = 256  # rows whose products one block adds up for a weight's gradient
LARGE = 2**26  # multiply-adds from which cuBLAS is called
_ACTIVATIONS = {None: 0, "tanh": 1, "relu": 2}

SOURCE = """
#define TILE 32
#define DEPTH 64
#define HALF 16

__device__ __forceinline__ float activate(float x, int f) {
    return f == 1 ? tanhf(x) : f == 2 ? (x > 0.0f ? x : (x == x ? 0.0f : x)) : x;
}

__device__ __forceinline__ float slope(float g, const float* y, long long at, int f) {
    if (f == 1) return g * (1.0f - y[at] * y[at]);
    if (f == 2) return y[at] > 0.0f ? g : 0.0f;
    return g;
}

// y (m, n) = f(x (m, k) w (n, k)' + b)
extern "C" __global__ void layer(const float* x, const float* w, const float* b, float* y, int m, int n, int k, int f) {
    __shared__ float xs[TILE][DEPTH + 1], ws[TILE][DEPTH + 1];
    const int tx = threadIdx.x, ty = threadIdx.y, t = ty * HALF + tx, row = blockIdx.y * TILE, col = blockIdx.x * TILE;
    float sum[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
    for (int from = 0; from < k; from += DEPTH) {
        const int depth = min(DEPTH, k - from);
        for (int e = t; e < TILE * DEPTH; e += HALF * HALF) {
            const int r = e / DEPTH, c = e % DEPTH;
            xs[r][c] = row + r < m && c < depth ? x[(long long)(row + r) * k + from + c] : 0.0f;
            ws[r][c] = col + r < n && c < depth ? w[(long long)(col + r) * k + from + c] : 0.0f;
        }
        __syncthreads();
        for (int c = 0; c < depth; ++c)
            for (int i = 0; i < 2; ++i)
                for (int j = 0; j < 2; ++j) sum[i][j] += xs[ty + HALF * i][c] * ws[tx + HALF * j][c];
        __syncthreads();
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            const int r = row + ty + HALF * i, c = col + tx + HALF * j;
            if (r < m && c < n) y[(long long)r * n + c] = activate(sum[i][j] + (b ? b[c] : 0.0f), f);
        }
}

// gx (m, k) = g' (m, n) w (n, k), g' = g f'(y)
extern "C" __global__ void to_input(const float* g, const float* y, const float* w, float* gx, int m, int n, int k,
                                    int f) {
    __shared__ float gs[TILE][DEPTH + 1], ws[DEPTH][TILE + 1];
    const int tx = threadIdx.x, ty = threadIdx.y, t = ty * HALF + tx, row = blockIdx.y * TILE, col = blockIdx.x * TILE;
    float sum[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
    for (int from = 0; from < n; from += DEPTH) {
        const int depth = min(DEPTH, n - from);
        for (int e = t; e < TILE * DEPTH; e += HALF * HALF) {
            const int r = e / DEPTH, c = e % DEPTH;
            const long long at = (long long)(row + r) * n + from + c;
            gs[r][c] = row + r < m && c < depth ? slope(g[at], y, at, f) : 0.0f;
            const int d = e / TILE, j = e % TILE;
            ws[d][j] = d < depth && col + j < k ? w[(long long)(from + d) * k + col + j] : 0.0f;
        }
        __syncthreads();
        for (int c = 0; c < depth; ++c)
            for (int i = 0; i < 2; ++i)
                for (int j = 0; j < 2; ++j) sum[i][j] += gs[ty + HALF * i][c] * ws[c][tx + HALF * j];
        __syncthreads();
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            const int r = row + ty + HALF * i, c = col + tx + HALF * j;
            if (r < m && c < k) gx[(long long)r * k + c] = sum[i][j];
        }
}

// Of the rows of one part (blockIdx.z): gw (n, k) = g'' x, gb (n) = sum of g', one after the other for each part
extern "C" __global__ void to_weight(const float* g, const float* y, const float* x, float* gw, float* gb, int m, int n,
                                     int k, int f, int rows) {
    __shared__ float gs[DEPTH][TILE + 1], xs[DEPTH][TILE + 1];
    const int tx = threadIdx.x, ty = threadIdx.y, t = ty * HALF + tx, row = blockIdx.y * TILE, col = blockIdx.x * TILE;
    const int first = blockIdx.z * rows, last = min(m, first + rows);
    float sum[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}}, bias = 0.0f;
    for (int from = first; from < last; from += DEPTH) {
        const int depth = min(DEPTH, last - from);
        for (int e = t; e < TILE * DEPTH; e += HALF * HALF) {
            const int d = e / TILE, j = e % TILE;
            const long long at = (long long)(from + d) * n + row + j;
            gs[d][j] = d < depth && row + j < n ? slope(g[at], y, at, f) : 0.0f;
            xs[d][j] = d < depth && col + j < k ? x[(long long)(from + d) * k + col + j] : 0.0f;
        }
        __syncthreads();
        for (int c = 0; c < depth; ++c)
            for (int i = 0; i < 2; ++i)
                for (int j = 0; j < 2; ++j) sum[i][j] += gs[c][ty + HALF * i] * xs[c][tx + HALF * j];
        if (blockIdx.x == 0 && t < TILE)
            for (int c = 0; c < depth; ++c) bias += gs[c][t];
        __syncthreads();
    }
    gw += (long long)blockIdx.z * n * k;
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            const int r = row + ty + HALF * i, c = col + tx + HALF * j;
            if (r < n && c < k) gw[(long long)r * k + c] = sum[i][j];
        }
    if (gb && blockIdx.x == 0 && t < TILE && row + t < n) gb[(long long)blockIdx.z * n + row + t] = bias;
}

// Adds up the parts, in their order
extern "C" __global__ void add_up(const float* parts, float* total, int n, int count) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float sum = 0.0f;
    for (int p = 0; p < count; ++p) sum += parts[(long long)p * n + i];
    total[i] = sum;
}
"""


@cache
def _kernel(name: str, device: int) -> Any:
    return _module(device).get_function(name)


@cache
def _module(device: int) -> Any:
    return _compilers[device].RawModule(code=SOURCE, options=("--std=c++17",))


_compilers: dict[int, Any] = {}


def _launch(name: str, grid: tuple[int, ...], block: tuple[int, ...], array: Any, arguments: tuple[Any, ...]) -> None:
    device = array.device.id
    if device not in _compilers:
        _compilers[device] = array_module(array)
    _kernel(name, device)(grid, block, arguments)


def _tiles(n: int) -> int:
    return -(-n // TILE)


def _small(m: int, *matrices: Any) -> bool:
    """Whether our own kernels serve: float32, contiguous, compiled, and not large."""
    module = array_module(matrices[0])
    return (
        hasattr(module, "RawModule")
        and m * matrices[-1].size < LARGE
        and all(x is None or (x.dtype == np.float32 and x.size > 0 and x.flags.c_contiguous) for x in matrices)
    )


def forward(x: Any, w: Any, b: Any, activation: str | None) -> Any:
    """f(x Wᵀ + b) for matrices x (m, k) and w (n, k), b (n,) or None, on a GPU: (m, n).

    Raises:
        TypeError: one of them lies elsewhere.
        ValueError: the shapes do not fit.
    """
    if isinstance(w, np.ndarray) or isinstance(b, np.ndarray):
        raise TypeError("Unsupported type: expected arrays on a GPU, got one of NumPy's")
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1] or (b is not None and b.shape != w.shape[:1]):
        raise ValueError(f"shapes {x.shape}, {w.shape} do not fit")
    if b is not None and _small(len(x), x, b, w):
        (m, k), n = x.shape, len(w)
        y = array_module(x).empty((m, n), x.dtype)
        arguments = (x, w, b, y, np.int32(m), np.int32(n), np.int32(k), np.int32(_ACTIVATIONS[activation]))
        _launch("layer", (_tiles(n), _tiles(m)), (16, 16), x, arguments)
        return y
    y = blas.product(x, w.T)
    if b is not None:
        kernels.bias[activation](b, y)
    elif activation is not None:
        kernels.bias[activation](y.dtype.type(0), y)
    return y


def backward(
    g: Any, y: Any, x: Any, w: Any, activation: str | None, biased: bool, further: bool
) -> tuple[Any, Any, Any]:
    """Gradients of x (None unless `further`), w and b (None unless `biased`), from g (m, n), that of the output y."""
    (m, k), n = x.shape, len(w)
    cupy = array_module(x)
    if _small(m, g, y, x, w):
        f, sizes = np.int32(_ACTIVATIONS[activation]), (np.int32(m), np.int32(n), np.int32(k))
        gx = None
        if further:
            gx = cupy.empty((m, k), x.dtype)
            _launch("to_input", (_tiles(k), _tiles(m)), (16, 16), x, (g, y, w, gx, *sizes, f))
        parts = -(-m // SPLIT)
        gw, gb = cupy.empty((parts, n, k), x.dtype), cupy.empty((parts, n), x.dtype)
        grid = (_tiles(k), _tiles(n), parts)
        _launch("to_weight", grid, (16, 16), x, (g, y, x, gw, gb, *sizes, f, np.int32(SPLIT)))
        if parts == 1:
            return gx, gw[0], gb[0] if biased else None
        return gx, _added_up(cupy, gw), _added_up(cupy, gb) if biased else None
    if activation is not None:
        g = kernels.before[activation](g, y)
    gx = blas.product(g, w) if further else None
    return gx, blas.product(g.T, x), np.sum(g, axis=0) if biased else None


def _added_up(cupy: Any, parts: Any) -> Any:
    total = cupy.empty(parts.shape[1:], parts.dtype)
    n = total.size
    _launch("add_up", (-(-n // 256),), (256,), parts, (parts, total, np.int32(n), np.int32(len(parts))))
    return total
