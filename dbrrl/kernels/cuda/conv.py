"""Convolutions on a GPU: one kernel gathers patches, one matrix product, and on the way back one kernel adds up.

Images may have channels first or last in memory; results have them last, with the shape (batch, channels, h, w).
"""

from typing import Any

import numpy as np

from dbrrl.autodiff import conv as plain
from dbrrl.autodiff.conv import Pair
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import array_module, replaces

from . import blas, dense, kernels

SOURCE = """
#define ROWS 16

// patches (n oh ow, size): one column per element of the kernel, in the order of `inner`: 1, (c, kh, kw);
// 0, (kh, kw, c). sn, sc, sh, sw: strides of x in elements.
template <typename T>
__device__ void gather(const T* __restrict__ x, float* __restrict__ patches, int total, int size, int c, int h, int w,
                       int kh, int kw, int oh, int ow, int sth, int stw, int ph, int pw, int inner, long long sn,
                       long long sc, long long sh, long long sw) {
    __shared__ long long base[ROWS];
    __shared__ int top[ROWS], left[ROWS];
    const int first = blockIdx.x * ROWS;
    if (threadIdx.x < ROWS && first + threadIdx.x < total) {
        const int row = first + threadIdx.x, n = row / (oh * ow), place = row % (oh * ow);
        top[threadIdx.x] = place / ow * sth - ph;
        left[threadIdx.x] = place % ow * stw - pw;
        base[threadIdx.x] = n * sn + top[threadIdx.x] * sh + left[threadIdx.x] * sw;
    }
    __syncthreads();
    const int rows = min(ROWS, total - first);
    for (int col = threadIdx.x; col < size; col += blockDim.x) {
        const int channel = inner ? col / (kh * kw) : col % c, place = inner ? col % (kh * kw) : col / c;
        const int i = place / kw, j = place % kw;
        const long long offset = channel * sc + i * sh + j * sw;
#pragma unroll 4
        for (int r = 0; r < rows; ++r) {
            const bool inside = top[r] + i >= 0 && top[r] + i < h && left[r] + j >= 0 && left[r] + j < w;
            patches[(long long)(first + r) * size + col] = inside ? (float)x[base[r] + offset] : 0.0f;
        }
    }
}

#define GATHER(name, T)                                                                                              \\
    extern "C" __global__ void name(const T* x, float* patches, int total, int size, int c, int h, int w, int kh,    \\
                                    int kw, int oh, int ow, int sth, int stw, int ph, int pw, int inner,             \\
                                    long long sn, long long sc, long long sh, long long sw) {                        \\
        gather<T>(x, patches, total, size, c, h, w, kh, kw, oh, ow, sth, stw, ph, pw, inner, sn, sc, sh, sw);        \\
    }
GATHER(gather_float, float)
GATHER(gather_byte, unsigned char)

// image (n, h, w, c): each element adds up what the patches (n oh ow, kh kw c) hold of it; a block takes a line
extern "C" __global__ void add_up(const float* __restrict__ patches, float* __restrict__ image, int c, int h, int w,
                                  int kh, int kw, int oh, int ow, int sth, int stw, int ph, int pw) {
    const int n = blockIdx.x / h, y = blockIdx.x % h + ph;
    const int top = y < kh ? 0 : (y - kh) / sth + 1, bottom = min(oh - 1, y / sth);
    const long long size = (long long)kh * kw * c;
    for (int at = threadIdx.x; at < w * c; at += blockDim.x) {
        const int channel = at % c, x = at / c + pw;
        const int left = x < kw ? 0 : (x - kw) / stw + 1, right = min(ow - 1, x / stw);
        float sum = 0.0f;
        for (int down = top; down <= bottom; ++down)
            for (int across = left; across <= right; ++across)
                sum += patches[((long long)(n * oh + down) * ow + across) * size +
                               ((y - down * sth) * kw + x - across * stw) * c + channel];
        image[(long long)blockIdx.x * w * c + at] = sum;
    }
}
"""


@replaces(plain.Conv2d, "cuda")
class Conv2d(plain.Conv2d):
    """Images of float32 or bytes, where CuPy has a compiler; all others by the formula."""

    def forward(self, x: Any, w: Any, *b: Any) -> Any:
        if not serves(x, w):
            return super().forward(x, w, *b)
        places = plain.places(x.shape, w.shape[2:], self.stride, self.padding, "conv2d")
        y, self.patches = forward(x, w, b, places, self.stride, self.padding, self.activation)
        return y

    def backward(self, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        if isinstance(g, Tensor) or not serves(x, w):
            return super().backward(g, y, x, w, *b)
        g = before(g, y, self.activation)
        gx = to_input(g, w, x.shape, self.stride, self.padding) if self.needs(0) else None
        gw = to_weight(g, self.patches, w.shape) if self.needs(1) else None
        if not b:
            return gx, gw
        return gx, gw, to_bias(g) if self.needs(2) else None


def serves(x: Any, w: Any) -> bool:
    """Whether there is a compiler, and images and weights are of types that the kernels take."""
    known = type(x) is type(w) and hasattr(array_module(w), "RawModule")
    return known and w.dtype == np.float32 and x.dtype in (np.float32, np.uint8) and x.size > 0


def patches(x: Any, kernel: Pair, places: Pair, stride: Pair, padding: Pair) -> tuple[Any, bool]:
    """The matrix (n oh ow, size of the kernel) of images x (n, c, h, w), and whether its columns are (c, kh, kw)."""
    (n, c, h, w), (kh, kw), (oh, ow), cupy = x.shape, kernel, places, array_module(x)
    channels_inside = x.strides[1] != x.itemsize or c == 1  # else channels are last, also in the columns
    total, size = n * oh * ow, c * kh * kw
    y = cupy.empty((total, size), np.float32)
    numbers = (total, size, c, h, w, kh, kw, oh, ow, *stride, *padding, int(channels_inside))
    strides = [np.int64(s // x.itemsize) for s in x.strides]
    name = "gather_float" if x.dtype == np.float32 else "gather_byte"
    kernel_ = kernels.compiled(cupy, x.device.id, SOURCE, name)
    kernel_((-(-total // 16),), (min(256, -(-size // 32) * 32),), (x, y, *map(np.int32, numbers), *strides))
    return y, channels_inside


def forward(
    x: Any, w: Any, b: tuple[Any, ...], places: Pair, stride: Pair, padding: Pair, activation: str | None
) -> tuple[Any, Any]:
    """f(x * w + b), (n, out, oh, ow), of images x (n, c, h, w), kernels w (out, c, kh, kw) and b, which holds a bias or
    nothing; and what `to_weight` wants.
    """
    matrix, inside = patches(x, w.shape[2:], places, stride, padding)
    flat = w.reshape(len(w), -1) if inside else _channels_last(w)
    y = blas.product(matrix, flat.T)
    if b or activation is not None:
        kernels.bias[activation](b[0] if b else y.dtype.type(0), y)
    return np.transpose(y.reshape(len(x), *places, len(w)), (0, 3, 1, 2)), (matrix, inside)


def before(g: Any, y: Any, activation: str | None) -> Any:
    """The gradient before the activation, from that of the result y; channels last in memory."""
    if activation is None:
        return g
    n, out, oh, ow = y.shape
    rows = kernels.before[activation](_rows(g), _rows(y))
    return np.transpose(rows.reshape(n, oh, ow, out), (0, 3, 1, 2))


def to_weight(g: Any, kept: tuple[Any, bool], shape: tuple[int, ...]) -> Any:
    """The gradient of the kernels (out, c, kh, kw), from that of the result."""
    (out, c, kh, kw), (matrix, inside) = shape, kept
    gw = blas.product(_rows(g).T, matrix)
    return gw.reshape(shape) if inside else np.transpose(gw.reshape(out, kh, kw, c), (0, 3, 1, 2))


def to_input(g: Any, w: Any, shape: tuple[int, ...], stride: Pair, padding: Pair) -> Any:
    """The gradient of the images (n, c, h, w), from that of the result."""
    (n, c, h, width), (_, _, kh, kw), (_, _, oh, ow), cupy = shape, w.shape, g.shape, array_module(g)
    spread = blas.product(_rows(g), _channels_last(w))
    image = cupy.empty((n, h, width, c), np.float32)
    numbers = (c, h, width, kh, kw, oh, ow, *stride, *padding)
    threads = min(512, -(-width * c // 32) * 32)
    kernel = kernels.compiled(cupy, g.device.id, SOURCE, "add_up")
    kernel((n * h,), (threads,), (spread, image, *map(np.int32, numbers)))
    return np.transpose(image, (0, 3, 1, 2))


def to_bias(g: Any) -> Any:
    """The sum of g (n, out, oh, ow) over all but its channels."""
    return dense.sum_columns(_rows(g))


def _rows(g: Any) -> Any:
    """(n, out, oh, ow) as a matrix (n oh ow, out): without a copy where channels are last in memory."""
    last = np.transpose(g, (0, 2, 3, 1))
    return (last if last.flags.c_contiguous else last.copy(order="C")).reshape(-1, g.shape[1])


def _channels_last(w: Any) -> Any:
    """Kernels (out, c, kh, kw) as a matrix (out, kh kw c)."""
    return np.transpose(w, (0, 2, 3, 1)).copy(order="C").reshape(len(w), -1)
