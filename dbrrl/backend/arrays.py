"""The machine under the arrays: NumPy or CuPy by device name, and a record of it."""

import ctypes
import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.backend.threads import auto_blas_threads as auto_blas_threads
from dbrrl.backend.threads import blas_threads as blas_threads
from dbrrl.backend.threads import cpu_count as cpu_count
from dbrrl.backend.threads import openblas_config
from dbrrl.backend.threads import set_blas_threads as set_blas_threads
from dbrrl.backend.threads import using_blas_threads as using_blas_threads
from dbrrl.errors import ConfigError

namespaces: dict[type, Any] = {np.ndarray: np}  # by type of array, what has the functions that make others like it


def array_module(x: Any) -> Any:
    """The module whose functions take `x`: `cupy` for an array on a GPU, `numpy` for all else."""
    if type(x) in namespaces:
        return namespaces[type(x)]
    if type(x).__module__.partition(".")[0] == "cupy":
        return _cupy("cuda")
    return np


def to_device(x: Any, device: str) -> Any:
    """`x` as an array on `device`, with dtype and shape kept; no copy where it is on it already.

    A GPU named here becomes this thread's current one, on which CuPy makes its new arrays.

    Args:
        x: a NumPy or CuPy array, or anything `numpy.asarray` takes.
        device: "cpu", "cuda" (the first GPU) or "cuda:1" (the second).

    Raises:
        ConfigError: the device is unknown, or CuPy or that GPU is missing.
    """
    cupy = module_on(device)
    if cupy is np:
        return to_numpy(x)
    if _state.recording and array_module(x) is np:
        raise RuntimeError("a copy from the host while a graph is recorded: it would be the same at each replay")
    return cupy.asarray(x)


class _State(threading.local):
    recording = False


_state = _State()


@contextmanager
def recording() -> Iterator[None]:
    """Refuse copies from the host inside a `with` block: a CUDA graph recorded in it must not hold them."""
    _state.recording = True
    try:
        yield
    finally:
        _state.recording = False


def nccl_of(cupy: Any) -> Any:
    """CuPy's module for NCCL, which releases keep in different places; None where there is none."""
    found = getattr(cupy.cuda, "nccl", None)
    if found is None:
        with suppress(ImportError):
            from cupy.cuda import nccl

            found = nccl
    return found


def module_on(device: str) -> Any:
    """The module that makes arrays on `device`, which becomes this thread's current one; errors as `to_device`."""
    kind, index = parse_device(device)
    if kind == "cpu":
        return np
    require(device)
    cupy = _cupy(device)
    cupy.cuda.Device(index).use()
    return cupy


def require(device: str) -> None:
    """Check that `device` exists, before anything is made for it.

    Raises:
        ConfigError: the name is unknown, or CuPy, the driver or that GPU is missing; the message names the cure.
    """
    kind, index = parse_device(device)
    if kind == "cpu":
        return
    count = _cupy(device).cuda.runtime.getDeviceCount()
    if index >= count:
        names = "cuda" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError(
            f"device: expected {names}, as there {'is 1 GPU' if count == 1 else f'are {count} GPUs'}, got {device!r}: "
            "choose a lower index"
        )


def to_device_of(array: Any, x: Any) -> Any:
    """Move NumPy arrays in `x`, alone or in a tuple, to the device of `array`; anything else is returned as it is."""
    if isinstance(array, np.ndarray) or array_module(array) is np:
        return x
    if isinstance(x, tuple):
        return tuple(to_device_of(array, part) for part in x)
    return to_device(x, device_name(array)) if isinstance(x, np.ndarray) else x


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a NumPy array in the computer's own memory; no copy where it is one."""
    if isinstance(x, np.ndarray):
        return x
    return np.asarray(x.get() if array_module(x) is not np else x)


def device_name(x: Any) -> str:
    """The device of the array `x`: "cpu", "cuda:0", "cuda:1", ..."""
    return "cpu" if array_module(x) is np or type(x) in namespaces else f"cuda:{x.device.id}"


def parse_device(device: str) -> tuple[str, int]:
    """Kind and index of a device name: "cuda:1" gives `("cuda", 1)`, "cpu" gives `("cpu", 0)`.

    Raises:
        ConfigError: the name is neither "cpu", "cuda" nor "cuda:" and a number.
    """
    kind, colon, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if (kind in ("cpu", "cuda") and not colon) or (kind == "cuda" and index.isdecimal()):
        return kind, int(index or 0)
    raise ConfigError(f'device: expected "cpu", "cuda" or "cuda:1", got {device!r}: correct the name')


def machine_record(device: str = "cpu") -> dict[str, str | int]:
    """A record of what decides the last bits of a run's numbers: CPU, cores, NumPy and its BLAS, threads, GPU."""
    record: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas_name(),
        "blas_threads": blas_threads(),
    }
    kind, index = parse_device(device)
    if kind == "cuda":
        cupy = _cupy(device)
        record["cupy"] = cupy.__version__
        record["gpu"] = cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
    return record


@functools.cache
def _cupy(device: str) -> Any:
    """The module CuPy; ConfigError names what is missing and how to get it."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "cupy"):
            said = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
            raise ConfigError(
                f"device: {device!r} needs CuPy, which is installed but does not load "
                f'("{said[-1] if said else error}"): install it anew; {_EXTRAS}'
            ) from error
        driver = _driver_version()
        extra = "gpu13" if driver is not None and driver >= 13 else "gpu"
        cure = f'pip install "dbrrl[{extra}]", as its driver serves CUDA {driver}'
        if driver is None:
            cure = f'nor is a driver of an NVIDIA GPU found here: use "cpu", or install both; {_EXTRAS}'
        raise ConfigError(f"device: {device!r} needs CuPy, which is not installed: {cure}") from error
    except cupy.cuda.runtime.CUDARuntimeError as error:
        cause, driver = " ".join(str(error).split()), _driver_version()
        cure = "install NVIDIA's driver" if driver is None else f"its driver serves CUDA {driver}; {_EXTRAS}"
        raise ConfigError(
            f'device: {device!r} needs a GPU and its driver, CuPy is installed and finds none ("{cause}"): use '
            f'"cpu", or {cure}'
        ) from error
    return cupy


_EXTRAS = 'pip install "dbrrl[gpu]" brings CuPy for CUDA 12, "dbrrl[gpu13]" for CUDA 13 (nvidia-smi names the version)'


@functools.cache
def _driver_version() -> int | None:
    """The major version of CUDA that the driver here serves; None where there is no driver, or no GPU."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver, version = ctypes.CDLL(name), ctypes.c_int()
            if driver.cuInit(0) == 0 and driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
                return version.value // 1000
        except (OSError, AttributeError):
            continue
    return None


def _blas_name() -> str:
    """The BLAS's own description of itself, its kernels included, or NumPy's record of its build."""
    if said := openblas_config():
        return said
    build: Any = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"]
    return f"{blas.get('name')} {blas.get('version')}"


def _cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
