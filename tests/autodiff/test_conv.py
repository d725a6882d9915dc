"""Convolution and pooling beyond the table: layouts, integers, chunks, sizes."""

from typing import Any

import numpy as np
import pytest

import dbrrl.functional as F
from dbrrl.autodiff import conv
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor
from dbrrl.debugging.gradcheck import check_gradients
from tests.autodiff.reference import conv2d, pooled


@pytest.mark.parametrize("seed", range(30))
def test_random_sizes(seed: int) -> None:
    r = np.random.default_rng(seed)
    n, c, o, kh, kw = (int(k) for k in r.integers(1, 4, 5))
    stride = tuple(int(k) for k in r.integers(1, 4, 2))
    padding = tuple(int(k) for k in r.integers(0, 3, 2))
    x, w, b = (
        r.normal(size=(n, c, kh + r.integers(0, 6), kw + r.integers(0, 6))),
        r.normal(size=(o, c, kh, kw)),
        r.normal(size=o),
    )
    np.testing.assert_allclose(
        F.conv2d(x, w, b, stride, padding), conv2d(x, w, b, stride, padding), rtol=1e-10, atol=1e-12
    )
    check_gradients(lambda *a: F.conv2d(*a, stride=stride, padding=padding), x, w, b, order=1, directions=2)
    half = (min(padding[0], kh // 2), min(padding[1], kw // 2))
    for f, how, fill in ((F.max_pool2d, np.max, -np.inf), (F.avg_pool2d, np.mean, 0.0)):
        expected = pooled(how, fill, (kh, kw), stride, half)(x)
        np.testing.assert_allclose(f(x, (kh, kw), stride, half), expected, rtol=1e-10, atol=1e-12)
        check_gradients(lambda a, f=f: f(a, (kh, kw), stride, half), x, order=1, directions=2)


def test_large_batches_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    r = np.random.default_rng(0)
    x, w = r.normal(size=(7, 2, 9, 9)), r.normal(size=(3, 2, 3, 3))

    def results() -> list[Any]:
        leaves = [Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)]
        y = F.conv2d(*leaves, stride=2, padding=1)
        return [y.array, *(g.array for g in grad((y * y).sum(), leaves))]

    whole = results()
    for bytes_at_once in (1, 10_000, 1 << 30):
        monkeypatch.setattr(conv, "CHUNK", bytes_at_once)
        for a, b in zip(whole, results(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_integer_images_are_taken_in_the_type_of_the_weight() -> None:
    r = np.random.default_rng(0)
    frames = r.integers(0, 256, (2, 4, 6, 6), dtype=np.uint8)
    w = Tensor(r.normal(size=(3, 4, 3, 3)).astype(np.float32), requires_grad=True)
    for images in (frames, Tensor(frames), frames.astype(np.float64)):
        y = F.conv2d(images, w)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.array, conv2d(frames.astype(np.float64), w.array), rtol=1e-4, atol=1e-2)
        assert grad(y.sum(), w).dtype == np.float32
    assert F.max_pool2d(frames, 2, padding=1).dtype == np.uint8


def test_images_with_channels_last_in_memory_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    last = np.random.default_rng(0).normal(size=(2, 6, 6, 4))
    x = last.transpose(0, 3, 1, 2)
    assert np.shares_memory(conv._channels_last(x, (0, 0), x.dtype), last)
    y = F.conv2d(x, np.ones((3, 4, 2, 2)))
    assert np.shares_memory(conv._channels_last(y, (0, 0), y.dtype), y)  # nor what one layer hands to the next


def test_equal_maxima_give_the_gradient_to_the_first() -> None:
    x = Tensor(np.zeros((1, 1, 2, 2)), requires_grad=True)
    g = grad(F.max_pool2d(x, 2).sum(), x)
    np.testing.assert_array_equal(g.array, [[[[1, 0], [0, 0]]]])


def test_the_nature_cnn_runs_and_learns_its_shapes() -> None:
    r = np.random.default_rng(0)
    frames = r.integers(0, 256, (2, 4, 84, 84), dtype=np.uint8)
    x: Any = frames.astype(np.float32) / np.float32(255)
    leaves = []
    for (o, i, k), stride in (((32, 4, 8), 4), ((64, 32, 4), 2), ((64, 64, 3), 1)):
        leaves.append(Tensor((r.normal(size=(o, i, k, k)) / 20).astype(np.float32), requires_grad=True))
        x = F.relu(F.conv2d(x, leaves[-1], stride=stride))
    assert x.shape == (2, 64, 7, 7) and x.reshape(2, -1).shape == (2, 3136)
    for g, w in zip(grad(x.sum(), leaves), leaves, strict=True):
        assert g.shape == w.shape and np.isfinite(g.array).all() and g.dtype == np.float32
