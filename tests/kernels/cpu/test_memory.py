"""The pool of memory for large arrays: what is kept, what is handed out again, and that numbers are the same."""

import threading
from typing import Any

import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.kernels.cpu import extension

if extension.module is None:
    pytest.skip("the extension module is not compiled", allow_module_level=True)

from dbrrl.kernels.cpu import _c

MEGABYTE = 1 << 20
ALL = 64 * MEGABYTE  # that the pool keeps at most


@pytest.fixture(autouse=True)
def emptied() -> None:
    _c.empty_pool()
    assert _c.pool() == (0, 0)


def address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def test_memory_of_a_large_array_serves_the_next_one() -> None:
    x = _c.pooled(np.empty, MEGABYTE, np.float32)
    x[:] = 7
    place, before = address(x), _c.pool()
    assert place % 64 == 0 and x.flags.owndata and x.base is None
    del x
    assert _c.pool() == (before[0] + 1, before[1] + 4 * MEGABYTE)
    y = _c.pooled(np.zeros, MEGABYTE - 5, np.float32)
    assert address(y) == place and not y.any() and _c.pool() == before
    del y
    z = np.empty(MEGABYTE, np.float32)  # NumPy's own arrays are as they were
    assert address(z) != place


def test_a_block_serves_nothing_smaller_than_half_of_it() -> None:
    x = _c.pooled(np.empty, 4 * MEGABYTE, np.uint8)
    place = address(x)
    del x
    small = _c.pooled(np.empty, 2 * MEGABYTE - 1, np.uint8)
    assert address(small) != place and _c.pool() == (1, 4 * MEGABYTE)
    assert address(_c.pooled(np.empty, 2 * MEGABYTE, np.uint8)) == place


def test_small_arrays_and_more_than_64_megabytes_are_not_kept() -> None:
    before = _c.pool()
    for size in (0, 1, 1000, 2**17 - 1, ALL + 1):
        x = _c.pooled(np.ones, size, np.uint8)
        assert x.sum() == size
        del x
    assert _c.pool() == before
    many = [_c.pooled(np.empty, 3 * MEGABYTE, np.uint8) for _ in range(40)]
    del many
    count, size = _c.pool()
    assert count <= 32 and ALL - 3 * MEGABYTE < size <= ALL


def test_an_array_may_grow_and_shrink() -> None:
    x = _c.pooled(np.arange, 100_000)
    x.resize(300_000, refcheck=False)
    assert (x[:100_000] == np.arange(100_000)).all() and not x[100_000:].any()
    x.resize(50, refcheck=False)
    assert (x == np.arange(50)).all()


def test_an_error_comes_through_and_numpys_memory_is_back() -> None:
    def wrong() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        _c.pooled(wrong)
    before = _c.pool()
    del (x := [np.empty(MEGABYTE, np.uint8)])[:]
    assert not x and _c.pool() == before
    assert _c.pooled() is NotImplemented  # type: ignore[call-arg]


def test_another_thread_may_free_what_one_has_made() -> None:
    arrays = [_c.pooled(np.ones, MEGABYTE, np.uint8) for _ in range(4)]
    before = _c.pool()[0]
    thread = threading.Thread(target=arrays.clear)
    thread.start()
    thread.join()
    assert _c.pool()[0] == before + 4


def test_arrays_that_are_in_use_never_share_memory() -> None:
    rng, alive = np.random.default_rng(0), {}
    for step in range(300):
        if alive and rng.random() < 0.5:
            key = rng.choice(list(alive))
            assert (alive.pop(key) == key % 251).all()
        size = int(rng.integers(1, 600_000))
        alive[step] = _c.pooled(np.full, size, step % 251, np.uint8)
    assert all((x == key % 251).all() for key, x in alive.items())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "conv", "linear"])
def test_a_step_of_a_large_network_takes_no_new_memory_for_what_it_took_before(kind: str) -> None:
    rng = np.random.default_rng(0)
    if kind in ("LSTM", "GRU"):
        model, x = getattr(nn, kind)(8, 64, rng=0), rng.normal(size=(128, 32, 8)).astype(np.float32)
        run = lambda: model(x)[0].sum()  # noqa: E731
    else:
        shape = (64, 32, 4, 4) if kind == "conv" else (512, 3136)
        w = Tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True)
        x = rng.normal(size=(32, 32, 20, 20) if kind == "conv" else (32, 3136)).astype(np.float32)
        run = lambda: (F.conv2d(x, w, None, 2) if kind == "conv" else F.linear(x, w)).sum()  # noqa: E731
    pools = []
    for _ in range(4):
        run().backward()
        pools.append(_c.pool())
    assert pools[0][0] > 0 and pools[1] == pools[2] == pools[3]
