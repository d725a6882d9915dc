"""Convolution by kernels against a plain sum over windows in float64."""

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import dbrrl.functional as F
from dbrrl.autodiff.tensor import Tensor

SHAPES = [
    # images, kernels, stride, padding
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0)),
    ((2, 3, 7, 9), (5, 3, 3, 2), (1, 1), (0, 0)),
    ((3, 4, 20, 20), (8, 4, 8, 8), (4, 4), (0, 0)),
    ((2, 4, 9, 8), (6, 4, 3, 3), (2, 3), (1, 2)),
    ((2, 32, 6, 5), (7, 32, 4, 4), (2, 1), (0, 1)),
    ((70, 2, 30, 31), (3, 2, 5, 5), (3, 3), (2, 0)),
]


def arrays(images: Any, kernels: Any) -> list[np.ndarray]:
    """Images, kernels and biases."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype(np.float32) for s in (images, kernels, kernels[0])]


def windows(x: np.ndarray, kernel: Any, stride: Any, padding: Any) -> np.ndarray:
    """(n, channels, down, across, kh, kw) in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    return sliding_window_view(padded, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]


LAYOUTS = {
    "as it is": lambda x: x,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "a view": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "turned": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
}


@pytest.mark.parametrize(("images", "kernels", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_convolution_and_its_gradients_are_sums_over_windows(
    c: Any, images: Any, kernels: Any, stride: Any, padding: Any, layout: str
) -> None:
    x, w, b = arrays(images, kernels)
    x = LAYOUTS[layout](x)
    seen = windows(x, kernels[2:], stride, padding)
    right = np.einsum("ncijuv,ocuv->noij", seen, w, optimize=True)
    y = c.conv_forward(x, w, None, stride, padding, None).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-4)
    after = c.conv_forward(x, w, b, stride, padding, "relu").transpose(0, 3, 1, 2)
    np.testing.assert_allclose(after, np.maximum(right + b[:, None, None], 0), rtol=1e-4, atol=1e-4)
    g = LAYOUTS[layout](np.random.default_rng(1).normal(size=right.shape).astype(np.float32))
    dw = c.conv_weight(x, g, kernels, stride, padding)
    np.testing.assert_allclose(dw, np.einsum("ncijuv,noij->ocuv", seen, g, optimize=True), rtol=1e-3, atol=1e-3)
    dx = c.conv_input(g, w, images, stride, padding)
    # The gradient for x, taken from its definition: <dx, v> = <g, conv(v)> for any v.
    v = np.random.default_rng(2).normal(size=images)
    inside = dx[:, padding[0] : padding[0] + images[2], padding[1] : padding[1] + images[3]].transpose(0, 3, 1, 2)
    moved = np.einsum("ncijuv,ocuv->noij", windows(v, kernels[2:], stride, padding), w, optimize=True)
    assert (inside.astype(np.float64) * v).sum() == pytest.approx((g * moved).sum(), rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_the_gradient_before_an_activation(c: Any, activation: str | None, layout: str) -> None:
    rng = np.random.default_rng(3)
    g, y = (rng.normal(size=(3, 5, 4, 6)).astype(np.float32) for _ in range(2))
    slope = {None: np.ones_like(y), "relu": y > 0, "tanh": 1 - y * y}[activation]
    found, sums = c.conv_gradient(LAYOUTS[layout](g), LAYOUTS["channels last"](y), activation)
    np.testing.assert_allclose(found, (g * slope).transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sums, (g * slope).sum((0, 2, 3)), rtol=1e-4, atol=1e-4)
    assert c.conv_gradient(Tensor(g), y, activation) is NotImplemented


def test_bytes_are_taken_as_numbers(c: Any) -> None:
    x = np.random.default_rng(4).integers(0, 256, (2, 4, 12, 12), dtype=np.uint8)
    _, w, b = arrays((1, 1, 1, 1), (3, 4, 4, 4))
    for layout in LAYOUTS.values():
        y = c.conv_forward(layout(x), w, b, (2, 2), (1, 1), None)
        np.testing.assert_array_equal(y, c.conv_forward(x.astype(np.float32), w, b, (2, 2), (1, 1), None))
    dw = c.conv_weight(x, y.transpose(0, 3, 1, 2), w.shape, (2, 2), (1, 1))
    assert np.isfinite(dw).all() and dw.any()


def test_what_is_not_finite_stays_in_its_image(c: Any) -> None:
    x, w, b = arrays((3, 2, 6, 6), (4, 2, 3, 3))
    x[1, 0, 2, 2] = np.nan
    y = c.conv_forward(x, w, b, (1, 1), (0, 0), "relu")
    assert np.isnan(y[1]).any() and np.isfinite(y[[0, 2]]).all()


def test_other_arguments_are_left_to_numpy(c: Any) -> None:
    x, w, b = arrays((2, 3, 6, 6), (4, 3, 3, 3))
    plain: list[Any] = [x, w, b, (1, 1), (0, 0), None]
    wrong: dict[int, list[Any]] = {
        0: [x.astype(np.float64), x[0], x[:, :2], x[:, :, :2], x.astype(">f4"), None, x[:0], x.astype(np.int32)],
        1: [w.astype(np.float64), w[0], w[..., ::2], w[:0], None],
        2: [b[:2], b.astype(np.float64), 1.0],
        3: [(0, 1), (1,), 1, None, (1.5, 1)],
        4: [(-1, 0), 0, (0,)],
        5: ["sigmoid", 1],
    }
    for position, values in wrong.items():
        for value in values:
            assert c.conv_forward(*plain[:position], value, *plain[position + 1 :]) is NotImplemented
    g = c.conv_forward(*plain).transpose(0, 3, 1, 2)
    for bad in (g[:1], g[:, :2], g.astype(np.float64), None):
        assert c.conv_weight(x, bad, w.shape, (1, 1), (0, 0)) is NotImplemented
        assert c.conv_input(bad, w, x.shape, (1, 1), (0, 0)) is NotImplemented
    assert c.conv_weight(x, g, [4, 3, 3, 3], (1, 1), (0, 0)) is NotImplemented
    for shape in ((2, 3, 6), (2, 3, 7, 6), (2, 3, 6, 0), [2, 3, 6, 6]):
        assert c.conv_input(g, w, shape, (1, 1), (0, 0)) is NotImplemented


def test_the_op_takes_the_kernels_and_gives_their_gradients(c: Any) -> None:
    results = []
    for dtype in (np.float32, np.float64):
        tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in arrays((2, 4, 9, 8), (6, 4, 3, 3))]
        y = F.conv2d(*tensors, (2, 3), (1, 2), "relu")
        (y * y).sum().backward()
        results.append([y.numpy(), *(t.grad for t in tensors)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
