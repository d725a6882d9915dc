"""NCCL through CuPy: sums over threads that stand for processes, with the stand-in."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dbrrl.backend import nccl
from dbrrl.errors import ConfigError
from tests import standin


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_all_get_the_sum_and_keep_what_they_gave(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = standin.install(monkeypatch)
    identifier, found = nccl.identifier(), {}
    assert identifier != nccl.identifier()

    def one(index: int) -> None:
        own = cupy.asarray(np.arange(6, dtype=dtype).reshape(2, 3) * (index + 1))
        total = nccl.Communicator(index, 3, identifier).sum(own)
        found[index] = own.get(), total.get()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(3):
        own, total = found[index]
        np.testing.assert_array_equal(own, np.arange(6).reshape(2, 3) * (index + 1))
        np.testing.assert_array_equal(total, np.arange(6).reshape(2, 3) * 6)
        assert total.dtype == dtype


def test_without_the_library_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = standin.install(monkeypatch)
    monkeypatch.setattr(cupy.cuda, "nccl", SimpleNamespace(available=False))
    with pytest.raises(ConfigError, match="need NCCL, which CuPy does not find: install NVIDIA's library"):
        nccl.identifier()
