"""Devices by name, and the record of the machine."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dbrrl import backend
from dbrrl.backend import arrays as device_arrays
from dbrrl.errors import ConfigError


def test_numpy_stays_where_it_is() -> None:
    x = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert backend.array_module(x) is np
    assert backend.to_device(x, "cpu") is x
    assert backend.to_numpy(x) is x
    assert backend.device_name(x) == "cpu"
    assert backend.to_numpy([1.0, 2.0]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:0", ("cuda", 0)), ("cuda:12", ("cuda", 12))],
)
def test_device_names(name: str, expected: tuple[str, int]) -> None:
    assert backend.parse_device(name) == expected


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "CUDA", 0, None])
def test_unknown_devices_are_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match='expected "cpu", "cuda" or "cuda:1"'):
        backend.to_device(np.zeros(1), name)


@pytest.mark.parametrize(
    ("driver", "cure"),
    [
        (12, r'pip install "dbrrl\[gpu\]", as its driver serves CUDA 12'),
        (13, r'pip install "dbrrl\[gpu13\]", as its driver serves CUDA 13'),
        (None, r'nor is a driver .* found here: use "cpu", or install both; .*dbrrl\[gpu\].*dbrrl\[gpu13\]'),
    ],
)
def test_without_cupy_the_cure_is_named(driver: int | None, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(device_arrays, "_driver_version", lambda: driver)
    device_arrays._cupy.cache_clear()
    for refused in (lambda: backend.to_device(np.zeros(1), "cuda"), lambda: backend.require("cuda:1")):
        with pytest.raises(ConfigError, match=f"needs CuPy, which is not installed: {cure}") as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_a_cupy_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('=====\\nlibnvrtc.so.12 is not there\\n=====\\n')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    device_arrays._cupy.cache_clear()
    with pytest.raises(ConfigError, match=r'does not load \("libnvrtc.so.12 is not there"\): install it anew; pip'):
        backend.require("cuda")


class FakeRuntimeError(Exception):
    """Stands for CUDA's own error."""


def fake_cupy(count: int | None) -> Any:
    """A stand-in with as much of CuPy as is asked for here, and `count` GPUs; None: no driver."""

    def device_count() -> int:
        if count is None:
            raise FakeRuntimeError("cudaErrorInsufficientDriver:\n driver too old")
        return count

    cupy: Any = ModuleType("cupy")
    runtime: Any = ModuleType("cupy.cuda.runtime")
    runtime.getDeviceCount, runtime.CUDARuntimeError = device_count, FakeRuntimeError
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.runtime = runtime
    return cupy


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    backend.require("cpu")
    for count, names in ((1, "cuda, as there is 1 GPU"), (2, "cuda:0 to cuda:1, as there are 2 GPUs")):
        monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
        device_arrays._cupy.cache_clear()
        for refused in (lambda: backend.to_device(np.zeros(1), "cuda:3"), lambda: backend.require("cuda:3")):
            with pytest.raises(ConfigError, match=f"expected {names}, got 'cuda:3'"):
                refused()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(None))
    for driver, cure in ((None, "install NVIDIA's driver"), (12, r"its driver serves CUDA 12; pip .*gpu13\]")):
        device_arrays._cupy.cache_clear()
        monkeypatch.setattr(device_arrays, "_driver_version", lambda version=driver: version)
        said = rf'CuPy is installed and finds none \("cudaErrorInsufficientDriver: driver too old"\): .*, or {cure}'
        with pytest.raises(ConfigError, match=said) as caught:
            backend.to_device(np.zeros(1), "cuda")
        assert "\n" not in str(caught.value)
    device_arrays._cupy.cache_clear()


@pytest.mark.gpu
def test_there_and_back_on_a_gpu() -> None:
    pytest.importorskip("cupy", reason="CuPy is not installed")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    try:
        there = backend.to_device(x, "cuda")
    except ConfigError as error:
        pytest.skip(str(error))
    assert backend.device_name(there) == "cuda:0"
    assert backend.array_module(there).__name__ == "cupy"
    assert backend.to_device(there, "cuda:0") is there
    np.testing.assert_array_equal(backend.to_numpy(there), x)


def test_the_record_says_what_decides_the_last_bits() -> None:
    record = backend.machine_record()
    assert record["numpy"] == np.__version__
    assert record["blas_threads"] == backend.blas_threads()
    assert isinstance(record["cores"], int) and record["cores"] >= 1
    assert json.loads(json.dumps(record)) == record
