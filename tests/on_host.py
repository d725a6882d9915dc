"""The stand-in's CUDA: kernels are compiled as C++ and run on the host, each CUDA thread a thread, block after block.

So the very source that runs on a GPU is compared with NumPy where there is none. Slow: for small arrays.
"""

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.standin import Array, inside, outside
from tests.tape import recorded

COMPILER = shutil.which("g++") or shutil.which("clang++")
FOLDER = tempfile.TemporaryDirectory(prefix="dbrrl-kernels-")
NAMES = {
    "float32": "float", "float64": "double", "int64": "long long", "uint64": "unsigned long long", "int32": "int",
    "bool": "bool", "uint8": "unsigned char",
}  # fmt: skip
HEAD = """
#include <algorithm>
#include <cmath>
#include <cstddef>
using namespace std;
#define __device__
#define __forceinline__ inline
static inline float cospif(float x) { return (float)std::cos(3.14159265358979323846 * (double)x); }
"""
BLOCKS = """
#include <barrier>
#include <thread>
#include <vector>
struct Place { unsigned x, y, z; };
static thread_local Place threadIdx;
static Place blockIdx, blockDim;
static std::barrier<>* together;
#define __global__
#define __restrict__
#define __shared__ static
#define __syncthreads() together->arrive_and_wait()
template <class... A, class... B> static void launch(void (*kernel)(A...), int gx, int gy, int threads, B... given) {
    blockDim = {(unsigned)threads, 1, 1};
    for (int y = 0; y < gy; ++y)
        for (int x = 0; x < gx; ++x) {
            blockIdx = {(unsigned)x, (unsigned)y, 0};
            std::barrier<> barrier(threads);
            together = &barrier;
            std::vector<std::thread> all;
            for (int t = 0; t < threads; ++t)
                all.emplace_back([=] { threadIdx = {(unsigned)t, 0, 0}; kernel(given...); });
            for (auto& one : all) one.join();
        }
}
"""


@functools.cache
def build(source: str) -> ctypes.CDLL:
    """The library of a C++ source."""
    path = Path(FOLDER.name) / f"{len(list(Path(FOLDER.name).iterdir()))}.cpp"
    path.write_text(source)
    command = [str(COMPILER), "-std=c++20", "-O1", "-w", "-fPIC", "-shared", "-pthread", str(path), "-o"]
    subprocess.run([*command, str(path.with_suffix(".so"))], check=True)
    return ctypes.CDLL(str(path.with_suffix(".so")))


class RawModule:
    """`cupy.RawModule`."""

    def __init__(self, code: str, options: Any = ()) -> None:
        names = dict(re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', code))
        names.pop("name", None)  # within a macro
        macros = re.findall(r"^(\w+)\((\w+), ([\w ]+)\)$", code, re.MULTILINE)  # a kernel for a type
        for macro, name, kind in macros:
            found = re.search(rf"define {macro}\(name, T\).*?void name\(([^)]*)\)", code, re.DOTALL)
            assert found is not None
            names[name] = re.sub(r"\bT\b", kind, found[1]).replace("\\\n", "\n")
        runs = []
        for name, arguments in names.items():
            given = ", ".join(a.split()[-1].lstrip("*") for a in arguments.split(","))
            plain = arguments.replace("__restrict__", "")
            runs.append(
                f'extern "C" void run_{name}(int grid_x, int grid_y, int threads_, {plain}) '
                f"{{ launch({name}, grid_x, grid_y, threads_, {given}); }}"
            )
        self.library = build(HEAD + BLOCKS + code + "\n".join(runs))

    def get_function(self, name: str) -> Any:
        """A callable of (grid, block, arguments)."""
        run = getattr(self.library, f"run_{name}")

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert len(block) == 1
            gx, gy = (*grid, 1)[:2]
            arrays = tuple(inside(a) for a in arguments if isinstance(a, Array))
            passed = [_passed(inside(a)) for a in arguments]
            recorded(lambda: run(gx, gy, block[0], *passed) and None, arrays)

        return kernel


def _passed(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return ctypes.c_void_p(x.ctypes.data)
    return {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong}[type(x)](int(x))


class ElementwiseKernel:
    """`cupy.ElementwiseKernel`."""

    def __init__(self, inputs: str, outputs: str, source: str, name: str, preamble: str = "") -> None:
        self.inputs, self.outputs = (
            [("raw" in p.split(), *p.split()[-2:]) for p in side.split(",")] for side in (inputs, outputs)
        )
        self.source, self.preamble = source, preamble

    def __call__(self, *arguments: Any, size: int | None = None) -> Any:
        parameters = self.inputs + self.outputs
        values = [inside(a) for a in arguments] + [None] * (len(parameters) - len(arguments))
        types: dict[str, str] = {}
        for (_, kind, _), v in zip(parameters, values, strict=True):
            if len(kind) == 1 and isinstance(v, np.ndarray | np.generic):
                found = types.setdefault(kind, v.dtype.name)
                if found != v.dtype.name:
                    raise TypeError(f"Type is mismatched. {kind} {found} {v.dtype.name}")
        real = [types.get(kind, kind) for _, kind, _ in parameters]
        whole = [v for (raw, *_), v in zip(parameters, values, strict=True) if not raw and v is not None]
        shape = np.broadcast_shapes(*(np.shape(v) for v in whole)) if whole else ()
        made = [i for i, v in enumerate(values) if v is None]
        for i in made:
            values[i] = np.empty(shape, real[i])
        n = size if size is not None else int(np.prod(shape))
        # One number is passed once, as CuPy does, and read by all elements.
        spread = [raw or np.size(v) > 1 for (raw, *_), v in zip(parameters, values, strict=True)]
        run = build(self._code(real, spread)).run

        def launch() -> Any:
            passed, back = [], []
            for i, ((raw, _, _), kind, v) in enumerate(zip(parameters, real, values, strict=True)):
                out = i >= len(self.inputs)
                full = np.asarray(v, kind) if raw else np.broadcast_to(np.asarray(v, kind), shape)
                assert not raw or full.flags.c_contiguous
                here = full if raw or (out and full.flags.c_contiguous) else np.array(full, order="C")
                if out and here is not v and not np.may_share_memory(here, v):
                    back.append((v, here))
                passed.append(here)
            run(ctypes.c_longlong(n), *(ctypes.c_void_p(a.ctypes.data) for a in passed))
            for target, here in back:
                target[...] = here
            return tuple(values[i] for i in made)

        changed = tuple(v for v in values[len(self.inputs) :] if isinstance(v, np.ndarray))
        results = recorded(launch, changed)
        return outside(results[0] if len(results) == 1 else results) if made else None

    def _code(self, real: list[str], spread: list[bool]) -> str:
        pairs = zip(self.inputs + self.outputs, real, strict=True)
        letters = {kind: NAMES[r] for (_, kind, _), r in pairs if len(kind) == 1}
        lines = [f"typedef {r} {kind};" for kind, r in letters.items()]
        heads, binds = [], []
        for k, ((raw, _, name), kind) in enumerate(zip(self.inputs + self.outputs, real, strict=True)):
            const = "const " if k < len(self.inputs) else ""
            heads.append(f"{const}{NAMES[kind]}* {name if raw else name + '_all'}")
            if not raw:
                binds.append(f"{const}{NAMES[kind]}& {name} = {name}_all[{'i' if spread[k] else '0'}];")
        loop = f"for (ptrdiff_t i = 0; i < count_; ++i) {{ {' '.join(binds)} {self.source}; }}"
        function = f'extern "C" void run(long long count_, {", ".join(heads)}) {{ {loop} }}'
        return HEAD + self.preamble + "\n".join([*lines, function])


def add_compiler(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in module compile kernels while a test runs."""
    for kind in (RawModule, ElementwiseKernel):
        monkeypatch.setattr(cupy, kind.__name__, kind, raising=False)
