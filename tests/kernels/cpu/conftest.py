"""Tests of compiled kernels: each level of this processor in turn, and NumPy's formulas to compare with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dbrrl.backend import load_kernels
from dbrrl.kernels.cpu import extension

load_kernels("cpu")


@contextmanager
def using(level: str) -> Iterator[Any]:
    """The extension module at `level` inside a `with` block; "numpy": its kernels refuse."""
    module = extension.module
    before = module.level()
    module.use_level(level)
    try:
        yield module
    finally:
        module.use_level(before)


@pytest.fixture(params=["plain", "avx2", "avx512"])
def c(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The extension module at each level that this processor has."""
    if extension.module is None:
        pytest.skip(f"no compiled kernels: {extension.reason}")
    if request.param not in extension.module.levels():
        pytest.skip(f"this processor has no {request.param}")
    with using(request.param) as module:
        yield module
