"""Dense layers on a GPU: product, bias and activation in one kernel, and two kernels back.

A small network's layer is all launch: these kernels leave out the launches for bias, activation and its derivative, and
for summing the bias's gradient. Large products go to cuBLAS, whose own kernels are several times as fast.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend import array_module

from . import blas, kernels

TILE = 16  # a block of 256 threads computes TILE x TILE outputs
SPLIT = 256  # rows whose products one block adds up for a weight's gradient
SUMMED = 512  # rows that one block adds up
LARGE = 2**25  # multiply-adds from which cuBLAS is called
_ACTIVATIONS = {None: 0, "tanh": 1, "relu": 2}

SOURCE = """
#define TILE 16
#define DEPTH 64
#define ROWS 128
#define THREADS 256

__device__ __forceinline__ float activate(float x, int f) {
    return f == 1 ? tanhf(x) : f == 2 ? (x > 0.0f ? x : (x == x ? 0.0f : x)) : x;
}

// g' = g f'(y), from the output y
__device__ __forceinline__ float slope(float g, float y, int f) {
    return f == 1 ? g * (1.0f - y * y) : f == 2 ? (y > 0.0f ? g : 0.0f) : g;
}

// y (m, n) = f(x (m, k) w (n, k)' + b); rows along x of the grid, which may be long
extern "C" __global__ void layer(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b,
                                 float* __restrict__ y, int m, int n, int k, int f) {
    __shared__ float xs[TILE][DEPTH + 1], ws[TILE][DEPTH + 1];
    const int t = threadIdx.x, tx = t % TILE, ty = t / TILE, row = blockIdx.x * TILE, col = blockIdx.y * TILE;
    float sum = 0.0f;
    for (int from = 0; from < k; from += DEPTH) {
        const int depth = min(DEPTH, k - from);
        float xr[TILE * DEPTH / THREADS], wr[TILE * DEPTH / THREADS];
#pragma unroll
        for (int u = 0; u < TILE * DEPTH / THREADS; ++u) {
            const int e = t + u * THREADS, r = e / DEPTH, c = e % DEPTH;
            xr[u] = row + r < m && c < depth ? x[(long long)(row + r) * k + from + c] : 0.0f;
            wr[u] = col + r < n && c < depth ? w[(long long)(col + r) * k + from + c] : 0.0f;
        }
#pragma unroll
        for (int u = 0; u < TILE * DEPTH / THREADS; ++u) {
            const int e = t + u * THREADS, r = e / DEPTH, c = e % DEPTH;
            xs[r][c] = xr[u];
            ws[r][c] = wr[u];
        }
        __syncthreads();
#pragma unroll 8
        for (int c = 0; c < depth; ++c) sum += xs[ty][c] * ws[tx][c];
        __syncthreads();
    }
    if (row + ty < m && col + tx < n) y[(long long)(row + ty) * n + col + tx] = activate(sum + b[col + tx], f);
}

// One tile of gx (m, k) = g' (m, n) w (n, k)
__device__ void to_input(float* shared, const float* __restrict__ g, const float* __restrict__ y,
                         const float* __restrict__ w, float* __restrict__ gx, int m, int n, int k, int f, int row,
                         int col) {
    float (*gs)[DEPTH + 1] = (float (*)[DEPTH + 1])shared;
    float (*ws)[TILE + 1] = (float (*)[TILE + 1])(shared + TILE * (DEPTH + 1));
    const int t = threadIdx.x, tx = t % TILE, ty = t / TILE;
    float sum = 0.0f;
    for (int from = 0; from < n; from += DEPTH) {
        const int depth = min(DEPTH, n - from);
        float gr[TILE * DEPTH / THREADS], yr[TILE * DEPTH / THREADS], wr[TILE * DEPTH / THREADS];
#pragma unroll
        for (int u = 0; u < TILE * DEPTH / THREADS; ++u) {
            const int e = t + u * THREADS, r = e / DEPTH, c = e % DEPTH, d = e / TILE, j = e % TILE;
            const bool inside = row + r < m && c < depth;
            const long long at = (long long)(row + r) * n + from + c;
            gr[u] = inside ? g[at] : 0.0f;
            yr[u] = inside && f ? y[at] : 0.0f;
            wr[u] = d < depth && col + j < k ? w[(long long)(from + d) * k + col + j] : 0.0f;
        }
#pragma unroll
        for (int u = 0; u < TILE * DEPTH / THREADS; ++u) {
            const int e = t + u * THREADS;
            gs[e / DEPTH][e % DEPTH] = slope(gr[u], yr[u], f);
            ws[e / TILE][e % TILE] = wr[u];
        }
        __syncthreads();
#pragma unroll 8
        for (int c = 0; c < depth; ++c) sum += gs[ty][c] * ws[c][tx];
        __syncthreads();
    }
    if (row + ty < m && col + tx < k) gx[(long long)(row + ty) * k + col + tx] = sum;
}

// One tile of gw (n, k) = g'' x, and of gb (n), the sum of g', as its column k, over the rows from first to last - 1
__device__ void to_weight(float* shared, const float* __restrict__ g, const float* __restrict__ y,
                          const float* __restrict__ x, float* __restrict__ gw, float* __restrict__ gb, int n, int k,
                          int f, int row, int col, int first, int last) {
    float (*gs)[TILE + 1] = (float (*)[TILE + 1])shared;
    float (*xs)[TILE + 1] = (float (*)[TILE + 1])(shared + ROWS * (TILE + 1));
    const int t = threadIdx.x, tx = t % TILE, ty = t / TILE;
    float sum = 0.0f;
    for (int from = first; from < last; from += ROWS) {
        const int depth = min(ROWS, last - from);
        float gr[TILE * ROWS / THREADS], yr[TILE * ROWS / THREADS], xr[TILE * ROWS / THREADS];
#pragma unroll
        for (int u = 0; u < TILE * ROWS / THREADS; ++u) {
            const int e = t + u * THREADS, d = e / TILE, j = e % TILE;
            const bool inside = d < depth && row + j < n;
            const long long at = (long long)(from + d) * n + row + j;
            gr[u] = inside ? g[at] : 0.0f;
            yr[u] = inside && f ? y[at] : 0.0f;
            xr[u] = d >= depth || col + j > k ? 0.0f : col + j == k ? 1.0f : x[(long long)(from + d) * k + col + j];
        }
#pragma unroll
        for (int u = 0; u < TILE * ROWS / THREADS; ++u) {
            const int e = t + u * THREADS;
            gs[e / TILE][e % TILE] = slope(gr[u], yr[u], f);
            xs[e / TILE][e % TILE] = xr[u];
        }
        __syncthreads();
#pragma unroll 8
        for (int c = 0; c < depth; ++c) sum += gs[c][ty] * xs[c][tx];
        __syncthreads();
    }
    if (row + ty < n && col + tx < k) gw[(long long)(row + ty) * k + col + tx] = sum;
    if (row + ty < n && col + tx == k) gb[row + ty] = sum;
}

// Both: the first blocks take the tiles of gx (none where `inputs` is 0), the others those of gw and gb, in parts of
// `rows` consecutive rows.
extern "C" __global__ void back(const float* g, const float* y, const float* x, const float* w, float* gx, float* gw,
                                float* gb, int m, int n, int k, int f, int inputs, int rows) {
    __shared__ float shared[2 * ROWS * (TILE + 1)];
    const int wide = (k + TILE - 1) / TILE, wider = (k + TILE) / TILE, high = (n + TILE - 1) / TILE;
    if ((int)blockIdx.x < inputs) {
        to_input(shared, g, y, w, gx, m, n, k, f, blockIdx.x / wide * TILE, blockIdx.x % wide * TILE);
        return;
    }
    const int block = blockIdx.x - inputs, part = block / (wider * high), tile = block % (wider * high);
    const int first = part * rows, last = min(m, first + rows);
    to_weight(shared, g, y, x, gw + (long long)part * n * k, gb + (long long)part * n, n, k, f, tile / wider * TILE,
              tile % wider * TILE, first, last);
}

// Sums of the columns of x (m, n), of `rows` rows each: (parts, n)
extern "C" __global__ void columns(const float* __restrict__ x, float* __restrict__ y, int m, int n, int rows) {
    __shared__ float part[8][33];
    const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, col = blockIdx.x * 32 + tx;
    const int first = blockIdx.y * rows, last = min(m, first + rows);
    float sum = 0.0f;
    if (col < n) {
#pragma unroll 4
        for (int r = first + ty; r < last; r += 8) sum += x[(long long)r * n + col];
    }
    part[ty][tx] = sum;
    __syncthreads();
    if (ty == 0 && col < n) {
        for (int i = 1; i < 8; ++i) sum += part[i][tx];
        y[(long long)blockIdx.y * n + col] = sum;
    }
}
"""


def _launch(name: str, grid: tuple[int, ...], block: tuple[int, ...], array: Any, arguments: tuple[Any, ...]) -> None:
    kernels.compiled(array_module(array), array.device.id, SOURCE, name)(grid, block, arguments)


def _tiles(n: int) -> int:
    return -(-n // TILE)


def _small(m: int, *matrices: Any) -> bool:
    """Whether our own kernels serve: float32, contiguous, compiled, and not large."""
    module = array_module(matrices[0])
    return (
        hasattr(module, "RawModule")
        and m * matrices[-1].size < LARGE
        and all(x.dtype == np.float32 and x.size > 0 and x.flags.c_contiguous for x in matrices)
    )


def forward(x: Any, w: Any, b: Any, activation: str | None) -> Any:
    """f(x Wᵀ + b) for matrices x (m, k) and w (n, k), b (n,) or None, on a GPU: (m, n).

    Raises:
        TypeError: one of them is on another device.
        ValueError: the shapes do not fit.
    """
    if isinstance(w, np.ndarray) or isinstance(b, np.ndarray):
        raise TypeError("Unsupported type: expected arrays on a GPU, got one of NumPy's")
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1] or (b is not None and b.shape != w.shape[:1]):
        raise ValueError(f"shapes {x.shape}, {w.shape} do not fit")
    if b is not None and _small(len(x), x, b, w):
        (m, k), n = x.shape, len(w)
        y = array_module(x).empty((m, n), x.dtype)
        sizes = np.int32(m), np.int32(n), np.int32(k), np.int32(_ACTIVATIONS[activation])
        _launch("layer", (_tiles(m), _tiles(n)), (256,), x, (x, w, b, y, *sizes))
        return y
    y = blas.product(x, w.T)
    if b is not None or activation is not None:
        kernels.bias[activation](y.dtype.type(0) if b is None else b.astype(y.dtype, copy=False), y)
    return y


def backward(
    g: Any, y: Any, x: Any, w: Any, activation: str | None, needs: Sequence[bool] = (True, True, True)
) -> tuple[Any, Any, Any]:
    """The gradients of x, w and b, each None unless it is needed, from g (m, n), that of the output y."""
    to_x, to_w, to_b = needs
    if _small(len(x), g, y, x, w):
        (m, k), n, cupy = x.shape, len(w), array_module(x)
        parts = -(-m // SPLIT) if to_w or to_b else 0
        inputs = _tiles(m) * _tiles(k) if to_x else 0
        gx = cupy.empty((m, k), x.dtype) if to_x else x
        gw, gb = (cupy.empty((parts, n, k), x.dtype), cupy.empty((parts, n), x.dtype)) if parts else (x, x)
        sizes = m, n, k, _ACTIVATIONS[activation], inputs, SPLIT
        grid = (inputs + parts * _tiles(n) * _tiles(k + 1),)
        if grid[0]:
            _launch("back", grid, (256,), x, (g, y, x, w, gx, gw, gb, *map(np.int32, sizes)))
        if parts > 1:
            gw, gb = sum_columns(gw.reshape(parts, -1)).reshape(n, k), sum_columns(gb)
        elif parts:
            gw, gb = gw[0], gb[0]
        return gx if to_x else None, gw if to_w else None, gb if to_b else None
    if activation is not None:
        g = kernels.before[activation](g, y)
    gx = blas.product(g, w) if to_x else None
    return gx, blas.product(g.T, x) if to_w else None, sum_columns(g) if to_b else None


def sum_columns(x: Any) -> Any:
    """Σ x[i] of a matrix (m, n) on a GPU, (n,): CuPy's own sum takes a hundred times as long where m is large."""
    cupy = array_module(x)
    if not (hasattr(cupy, "RawModule") and x.dtype == np.float32 and x.size and x.flags.c_contiguous):
        half = x.dtype == np.float16
        return np.sum(x, axis=0, dtype=np.float32).astype(x.dtype) if half else np.sum(x, axis=0)
    while True:
        m, n = x.shape
        parts = -(-m // SUMMED)
        y = cupy.empty((parts, n), x.dtype)
        _launch("columns", (-(-n // 32), parts), (256,), x, (x, y, np.int32(m), np.int32(n), np.int32(SUMMED)))
        if parts == 1:
            return y[0]
        x = y
