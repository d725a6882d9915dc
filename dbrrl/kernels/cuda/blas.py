"""Matrix products on a GPU that may be recorded in a CUDA graph.

CuPy refuses to call cuBLAS while a graph is recorded, since a handle may then want memory of its own. This handle is
given its workspace beforehand, which is what cuBLAS asks for.
"""

import ctypes
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.backend import array_module
from dbrrl.backend.precision import tf32
from dbrrl.errors import ConfigError

WORKSPACE = 32 << 20  # bytes: what cuBLAS recommends for Hopper
_PLAIN, _TURNED = 0, 1
_TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH


class Blas:
    """cuBLAS on one device: a handle, its workspace, and the stream it was last told of."""

    def __init__(self, cupy: Any) -> None:
        self.cupy, self.library, self.stream = cupy, _library(cupy), -1
        self.handle = ctypes.c_void_p()
        self._ask("cublasCreate_v2", ctypes.byref(self.handle))
        self.workspace = cupy.cuda.alloc(WORKSPACE)
        self.tf32 = False

    def product(self, a: Any, b: Any, out: Any) -> None:
        """out (m, n) = a (m, k) b (k, n), both contiguous or the transpose of what is; `out` is C-contiguous."""
        self._prepare()
        # cuBLAS counts columns first: what it is told is outᵀ = bᵀ aᵀ.
        (left, ldl), (right, ldr) = _layout(b), _layout(a)
        n, m, k = b.shape[1], a.shape[0], a.shape[1]
        single = out.dtype == np.float32
        number = ctypes.c_float if single else ctypes.c_double
        self._ask(
            "cublasSgemm_v2" if single else "cublasDgemm_v2", self.handle, left, right, n, m, k,
            ctypes.byref(number(1)), ctypes.c_void_p(b.data.ptr), ldl, ctypes.c_void_p(a.data.ptr), ldr,
            ctypes.byref(number(0)), ctypes.c_void_p(out.data.ptr), n,
        )  # fmt: skip

    def _prepare(self) -> None:
        stream = self.cupy.cuda.get_current_stream().ptr
        if stream != self.stream:
            self._ask("cublasSetStream_v2", self.handle, ctypes.c_void_p(stream))
            self._ask(
                "cublasSetWorkspace_v2", self.handle, ctypes.c_void_p(self.workspace.ptr), ctypes.c_size_t(WORKSPACE)
            )
            self.stream = stream
        if self.tf32 != tf32.on:
            self._ask("cublasSetMathMode", self.handle, _TF32 if tf32.on else 0)
            self.tf32 = tf32.on

    def _ask(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: expected status 0, got {status}: see cublasStatus_t in cuBLAS's documentation")


_handles: dict[tuple[int, int], Blas] = {}  # by device and thread


def product(a: Any, b: Any, out: Any = None) -> Any:
    """The matrix product a (m, k) b (k, n) of two arrays on one GPU, in `out` if given.

    Raises:
        TypeError: one of them is on another device.
        ValueError: the shapes do not fit.
    """
    cupy = array_module(a)
    if isinstance(b, np.ndarray) or isinstance(a, np.ndarray):
        raise TypeError("Unsupported type: expected two arrays on a GPU, got one of NumPy's")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} not aligned")
    whole = a.size and b.size and a.dtype == b.dtype and a.dtype.char in "fd"
    if not hasattr(cupy.cuda, "get_cublas_handle") or not whole:  # a stand-in has none
        if out is None:
            return a.dot(b)
        out[...] = a.dot(b)
        return out
    a, b = _dense(cupy, a), _dense(cupy, b)
    if out is None:
        out = cupy.empty((a.shape[0], b.shape[1]), a.dtype)
    place = a.device.id, threading.get_ident()
    if place not in _handles:
        with a.device:
            _handles[place] = Blas(cupy)
    _handles[place].product(a, b, out)
    return out


def _dense(cupy: Any, x: Any) -> Any:
    return x if x.flags.c_contiguous or x.flags.f_contiguous else cupy.ascontiguousarray(x)


def _layout(x: Any) -> tuple[int, int]:
    """The transpose flag with which cuBLAS, which counts columns first, reads xᵀ, and the length of a line."""
    if x.flags.c_contiguous:
        return _PLAIN, x.shape[1]
    return _TURNED, x.shape[0]


def _library(cupy: Any) -> Any:
    """The cuBLAS that CuPy itself loaded."""
    x = cupy.ones((2, 2), np.float32)
    x.dot(x)  # CuPy loads it with the first product
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    maps = Path("/proc/self/maps")
    lines = maps.read_text(errors="replace").splitlines() if maps.exists() else []
    found = sorted({line.split(maxsplit=5)[5] for line in lines if "/libcublas.so" in line})
    plain = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    for name in [*sorted(found, key=lambda path: not path.endswith(f".{major}")), plain]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ConfigError(f"device: expected cuBLAS with CuPy, got none ({plain}): pip install nvidia-cublas")
