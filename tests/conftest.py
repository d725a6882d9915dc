"""Set-up of all tests: one BLAS thread, also in processes they start, figures without a window, kernels and devices."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest

from dbrrl import backend
from dbrrl.errors import ConfigError
from tests import standin

backend.load_kernels("cpu")  # those of DBRRL_KERNELS, for all tests: the ones that make no optimizer too


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.slow)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a test computes: on the CPU, then on a strict stand-in for CuPy, which is "cuda" until the test ends.

    The second time is a slow test; tests/backend/test_device.py covers the same by default.
    """
    if request.param == "cuda":
        standin.install(monkeypatch)
    return str(request.param)


@pytest.fixture(params=["stand-in", pytest.param("cupy", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give "cuda" a meaning in a test: the stand-in, then the GPU if there is one."""
    if request.param == "stand-in":
        standin.install(monkeypatch)
    try:
        backend.require("cuda")
    except ConfigError as error:
        pytest.skip(str(error))
