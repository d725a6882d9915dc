"""Which device, driver and libraries a report was made with."""

import importlib.metadata
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.measure import Machine

PACKAGES = (
    "cupy", "cupy-cuda12x", "cupy-cuda13x", "torch", "triton", "jax", "jaxlib", "gymnasium", "nvidia-cublas",
    "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cudnn-frontend",
)  # fmt: skip


def cublas(cuda: Any) -> int:
    """CuPy's cuBLAS."""
    return int(cuda.cublas.getVersion(cuda.device.get_cublas_handle()))


def commit() -> str:
    """The checkout's, with a mark if it was changed."""
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def versions(machine: Machine) -> dict[str, Any]:
    """All that can be told of them; what cannot is left out."""
    cuda = machine.xp.cuda

    def properties() -> dict[str, Any]:
        told = cuda.runtime.getDeviceProperties(0)
        return {
            "compute_capability": f"{told['major']}.{told['minor']}",
            "multiprocessors": told["multiProcessorCount"],
            "memory_gib": round(told["totalGlobalMem"] / 2**30, 1),
        }

    questions: dict[str, Callable[[], Any]] = {
        "driver_cuda": lambda: cuda.runtime.driverGetVersion(),
        "runtime_cuda": lambda: cuda.runtime.runtimeGetVersion(),
        "cublas": lambda: cublas(cuda),
        "commit": commit,
    }
    found: dict[str, Any] = {}
    for name, ask in [("properties", properties), *questions.items()]:
        try:
            answer = ask()
        except Exception:  # a version that cannot be told is no reason to stop
            continue
        found.update(answer if isinstance(answer, dict) else {name: answer})
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
