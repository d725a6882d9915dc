"""Every function of NumPy's that a trace takes, products, sums and indices, for arrays in all kinds of memory."""

from typing import Any

import numpy as np
import pytest

from dbrrl.kernels.cpu import extension
from tests.kernels.cpu.programs import agree, recorded, refused, run

SHAPES = [(7,), (1,), (40,), (3, 5), (5, 1), (33, 2), (2, 3, 4), (4, 1, 9), (3, 2, 4, 5)]


def numbers(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(dtype)


def with_nan(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    x = numbers(shape, 3, dtype)
    x.reshape(-1)[::5] = np.nan
    return x


def axes_of(ndim: int) -> list[Any]:
    pairs = [(a, b) for a in range(ndim) for b in range(a)]
    return [None, -1, *range(ndim), *pairs, tuple(range(ndim)), ()]


REDUCTIONS = ["sum", "mean", "max", "min", "prod", "var", "std"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_reduction_over_any_axes(name: str, dtype: Any) -> None:
    f = getattr(np, name)
    for shape in ((7,), (40,), (3, 5), (5, 1), (33, 2), (2, 3, 4), (3, 2, 4, 5)):
        x = numbers(shape, 0, dtype) / 2
        for axis in axes_of(x.ndim):
            if axis == () and name in ("var", "std", "mean"):
                continue

            def function(x: Any, axis: Any = axis) -> Any:
                found = f(x, axis=axis), f(x, axis=axis, keepdims=True), f(x[::-1], axis=axis)
                return found if isinstance(axis, tuple) else (*found, f(x.T, axis=axis), f(x[..., ::2], axis=axis))

            agree(function, x, others=[x[::-1]], scale=20)


def test_reductions_of_integers_and_booleans() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (5, 8))
    for axis in (None, 0, 1):
        agree(
            lambda x, axis=axis: (x.sum(axis), x.mean(axis), x.max(axis), x.min(axis), x.argmax(axis), x.argmin(axis)),
            x, others=[-x],
        )  # fmt: skip
        agree(lambda x, axis=axis: (x.sum(axis), x.mean(axis), x.any(axis), x.all(axis)), x > 0, others=[x > -99])
        agree(lambda x, axis=axis: (np.any(x, axis), np.all(x, axis), np.count_nonzero(x, axis)), x, others=[x * 0])
        agree(lambda x, axis=axis: np.count_nonzero(x > 0, axis=axis, keepdims=True), x, others=[-x])
    agree(lambda x: (x.mean(), x.mean(axis=0)), x.astype(np.int8))
    agree(lambda x: (x.sum(dtype=np.float64), x.sum(axis=0, dtype=np.float64)), numbers((9, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_is_handed_on(dtype: Any) -> None:
    for shape in ((11,), (40,), (5, 8), (40, 3), (3, 40)):
        x = with_nan(shape, dtype)
        for axis in (None, 0, -1):
            agree(
                lambda x, a=axis: (x.sum(a), x.max(a), x.min(a), x.argmax(a), x.argmin(a), x.mean(a)),
                x, others=[x[::-1]], scale=10,
            )  # fmt: skip


def test_places_of_extremes() -> None:
    for shape in SHAPES:
        x = np.round(numbers(shape))  # with equal ones
        for axis in (None, *range(x.ndim)):
            agree(lambda x, axis=axis: (np.argmax(x, axis), np.argmin(x, axis)), x, others=[x[::-1]])
            agree(lambda x, axis=axis: (np.argmax(x.T, axis), np.argmin(x[..., ::-1], axis)), x, others=[x[::-1]])
        agree(lambda x: np.argmax(x, axis=-1, keepdims=True), x, others=[x[::-1]])


def test_the_deviation_with_other_degrees_of_freedom() -> None:
    agree(lambda x: (x.std(ddof=1), x.var(axis=0, ddof=1), np.std(x, axis=1, keepdims=True)), numbers((6, 5)), scale=4)


# ---- order ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorting(dtype: Any) -> None:
    for shape in [*SHAPES, (2, 2000), (600,)]:
        for x in (numbers(shape, 0, dtype), np.round(numbers(shape, 1, dtype)), with_nan(shape, dtype)):
            agree(lambda x: (np.sort(x), np.sort(x, axis=-1), np.sort(x.T), np.sort(x[..., ::-1])), x, others=[x[::-1]])
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, np.nan, -1], dtype)
    agree(lambda x: (np.sort(x), np.argsort(x, kind="stable")), x, others=[x[::-1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_places_in_order(dtype: Any) -> None:
    for shape in SHAPES:
        for x in (numbers(shape, 0, dtype), np.round(numbers(shape, 1, dtype)), with_nan(shape, dtype)):
            agree(lambda x: (np.argsort(x, kind="stable"), x.T.argsort(kind="stable")), x, others=[x[::-1]])
    assert "argsort" in refused(lambda x: np.argsort(x, axis=0), numbers((3, 4)))
    assert "sort" in refused(lambda x: np.sort(x, axis=0), numbers((3, 4)))


# ---- indices ----

X = numbers((5, 4, 3))
PLACES = np.array([0, -1, 3, 3, 1, -5, 4])


def test_rows_and_elements_by_their_numbers() -> None:
    def function(x: Any, i: Any) -> Any:
        inner = np.array([1, 0, -2, 3, 3, 2, 0])
        return (
            x[i], x[i[:, None]], x[i, inner], x[i, inner, inner * 0], x[i, 2], x[i, inner, -1], x[::-1][i],
            x[:, ::2][i], x.T[np.array([0, 2, -1])], x[:, 1][i], x[..., 0][i, inner], x[i[::2]], x[[0, 2]],
            x[np.array(1)], x[:, :, 1].T[np.array([0, 3])], x.take(i, axis=0), x[i[0]],
        )  # fmt: skip

    agree(function, X, PLACES, others=[-X, PLACES[::-1]])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8])
def test_numbers_of_rows_may_be_of_any_integer_type(dtype: Any) -> None:
    i = np.array([0, 2, 1, 4]).astype(dtype)
    agree(lambda x, i: (x[i], x[i, np.array([0, -1, 2, 3])]), X, i, others=[-X, i[::-1]])


def test_views_by_slices_and_numbers() -> None:
    def function(x: Any) -> Any:
        return (
            x[1], x[-1, 2], x[1:4], x[::-2], x[:, 1], x[..., -1], x[None, 2], x[1, ..., None], x[1:1],
            x[3:0:-1, 1:, ::2], x[np.int64(2)], x[2, 1, 0], x[:, None, ::-1], next(iter(x)), x.squeeze(),
            x[:1].squeeze(0), x.swapaxes(0, 2), x.transpose(2, 0, 1), x.transpose(),
            np.moveaxis(x, 0, -1), np.expand_dims(x, (0, 2)), x.reshape(5, -1),
            np.reshape(x, (4, 15)), x.T.reshape(-1), np.ravel(x[:, ::2]), np.squeeze(x[:, :1]), np.swapaxes(x, 1, 2),
            np.transpose(x, (1, 0, 2)), np.broadcast_to(x[0], (2, 4, 3)), x.copy(), np.copy(x.T),
        )  # fmt: skip

    agree(function, X, others=[-X])


def test_one_of_each_row() -> None:
    for axis in (0, 1, 2, -1):
        i = np.random.default_rng(axis + 1).integers(-3, 3, [2 if a == axis % 3 else n for a, n in enumerate(X.shape)])
        agree(lambda x, i, axis=axis: np.take_along_axis(x, i, axis), X, i, others=[X * 2, i[::-1]])


def test_writing_rows_and_elements() -> None:
    def function(x: Any, i: Any) -> Any:
        z, w, v = x.copy(), x.copy(), x[..., 0].copy()
        z[i[:4]] = x[1]
        z[i[:2], np.array([1, -1])] = 7
        z[np.array([0, 1])] = z[np.array([1, 0])]  # exchanged
        z[np.array([1, 2, 0, 4, 3])] = z  # turned around
        np.add.at(w, i, x[0])
        np.add.at(w, i[:2], 1)
        np.add.at(w, np.array([1, 1, 0, 2, 2]), w)
        np.add.at(v, (i, np.array([0, 0, -1, 3, 3, 1, 1])), 2.5)
        return z, w, v

    agree(function, X, PLACES, others=[-X, PLACES[::-1]], scale=3)
    agree(function, X.astype(np.float64), PLACES)


def test_sums_at_places_that_come_twice() -> None:
    def function(i: Any, w: Any) -> Any:
        total = np.zeros_like(w, shape=(6,))
        np.add.at(total, i, w)
        return total, np.bincount(i, weights=w, minlength=6), np.bincount(i, w, 9)

    i, w = np.array([0, 5, 5, 2, 0, 5]), np.arange(6.0)
    agree(function, i, w, others=[i[::-1] * 0, w])
    assert "bincount" in refused(lambda i: np.bincount(i, minlength=6), i)
    assert "bincount" in refused(lambda i, w: np.bincount(i, w, 3), i, w)


def test_places_of_integers_in_their_own_array() -> None:
    def function(i: Any) -> Any:
        j = i.copy()
        j[j] = 7
        return j

    agree(function, np.array([2, 0, 1, 1]), others=[np.array([3, 3, 0, 1])])


OUT = {
    "rows": lambda x, i: x[i],
    "elements": lambda x, i: x[i, i * 0],
    "second axis": lambda x, i: x[i * 0, i],
    "write": lambda x, i: _written(x, i),
    "add": lambda x, i: _added(x, i),
    "choice": lambda x, i: np.take_along_axis(x, i[:, None], axis=1)[:, 0] if len(x) == len(i) else x[i],
    "bincount": lambda x, i: np.bincount(i, np.ones(2), 5),
}


def _written(x: Any, i: Any) -> Any:
    z = x.copy()
    z[i] = 1
    return z


def _added(x: Any, i: Any) -> Any:
    z = x.copy()
    np.add.at(z, i, 1)
    return z


@pytest.mark.parametrize("name", list(OUT))
@pytest.mark.parametrize("bad", [5, 10**12, -6, -(2**63)])
def test_a_number_out_of_range_is_an_error_and_no_number(name: str, bad: int) -> None:
    x = numbers((5, 5))
    program = recorded(OUT[name], x, np.array([0, 1]))
    if name == "bincount" and bad < 0:
        pytest.skip("of its own")
    with pytest.raises(IndexError, match="expected an index in range"):
        program.run(x, np.array([0, bad]))
    assert program.run(x, np.array([4, 1]))  # it goes on


def test_a_number_out_of_range_while_tracing_is_an_error_of_numpy() -> None:
    for function in OUT.values():
        with pytest.raises((IndexError, Exception), match=r"out of bounds|beyond"):
            recorded(function, numbers((5, 5)), np.array([0, 99]))


# ---- products ----


def test_products() -> None:
    def function(a: Any, b: Any) -> Any:
        v, w = a[0], b[:, 0]
        return (
            a @ b, b.T @ a.T, a @ w, v @ b, v @ w, a[::2] @ b, a[:, ::2] @ b[::2], a[::-1] @ b, a @ b[:, ::-1],
            a[:, :1] @ b[:1], a[:1] @ b, a.dot(b), np.dot(a, w), np.matmul(a, b), a.T @ a, a @ a.T, a[None] @ b,
            np.stack([a, a + 1]) @ b, np.stack([a, a]) @ np.stack([b, -b]), np.stack([a, a])[:, None] @ b,
            np.stack([a, a], axis=-1).T @ np.stack([a, -a]).reshape(2, *a.shape), np.broadcast_to(v, a.shape) @ b,
            np.dot(2.0, a), a[1:1] @ b, np.swapaxes(np.stack([a, a]), 1, 2) @ a, np.stack([a, -a]) @ w,
        )  # fmt: skip

    for m, k, n in ((5, 4, 3), (1, 7, 2), (6, 1, 5), (64, 33, 17)):
        for dtype in (np.float32, np.float64):
            a, b = numbers((m, k), 0, dtype), numbers((k, n), 1, dtype)
            agree(function, a, b, others=[-a, b * 2], scale=30)
    agree(lambda a, b: a @ b, numbers((3, 4)), numbers((4, 2), 1, np.float64))
    assert "product" in refused(lambda a: a @ a, np.ones((2, 2), np.int64))


def test_products_without_blas() -> None:
    from dbrrl.kernels.cpu.extension import _give_blas

    a, b = numbers((5, 4)), numbers((4, 3), 1)
    extension.module.set_blas(0, 0, 0, False)
    try:
        for dtype in (np.float32, np.float64):
            agree(
                lambda a, b: (a @ b, b.T @ a.T, a.T @ a, a @ a.T, a[::2] @ b[:, ::2], (a + 1).T @ a, b @ b.T),
                a.astype(dtype), b.astype(dtype), scale=10,
            )  # fmt: skip
    finally:
        _give_blas(extension.module)


# ---- the rest ----


def test_joining_and_repeating() -> None:
    def function(x: Any, y: Any) -> Any:
        return (
            np.concatenate([x, y]), np.concatenate([x, y], axis=-1), np.stack([x, y]),
            np.stack([x, y], axis=-1), np.stack([x.T, y.T], axis=1), np.repeat(x, 3), np.repeat(x, 2, axis=0),
            x.repeat(2, axis=-1), np.concatenate([x[:1], y[1:], x[:0]]), np.concatenate([x, x]),
        )  # fmt: skip

    x, y = numbers((3, 4)), numbers((3, 4), 1)
    agree(function, x, y, others=[y, x])
    agree(lambda x, y: np.concatenate([x, y]), x, np.ones((2, 4), np.int64))
    bytes_ = np.arange(3, dtype=np.uint8)
    agree(lambda x, y: (np.concatenate([x, y]), np.stack([x, y])), bytes_, bytes_ * 7)


def test_choices_and_limits() -> None:
    def function(x: Any, y: Any) -> Any:
        mask = x > 0
        return (
            np.where(mask, x, y), np.amax(x), np.amin(x, 0), np.where(mask, x, 0), np.where(mask, 1.5, y),
            np.where(mask[:1], x, y), np.where(mask, x, y[0]), np.where(y, x, y), np.where(mask, 1, 0),
            np.where(mask, mask, ~mask),
            np.clip(x, -1, 1), np.clip(x, None, 0.5), np.clip(x, y, y + 1), x.clip(0), np.clip(x, min=-0.5, max=0.5),
            np.where(mask.T, x.T, y.T), np.copysign(x, y),
        )  # fmt: skip

    x, y = numbers((3, 4)), numbers((3, 4), 1)
    agree(function, x, y, others=[y, with_nan((3, 4))])
    out = lambda x: np.clip(x, 0, 1, out=np.zeros_like(x))  # noqa: E731
    agree(out, x, others=[y])


def test_what_is_asked_of_an_array() -> None:
    def function(x: Any) -> Any:
        facts = (
            x.shape, x.ndim, x.size, len(x), x.dtype, x.nbytes, x.itemsize, np.shape(x), np.ndim(x), np.size(x),
            np.result_type(x, np.float64), np.may_share_memory(x, x.T), x.strides, x.flags.c_contiguous,
        )  # fmt: skip
        assert facts == (
            (3, 4), 2, 12, 3, np.float32, 48, 4, (3, 4), 2, 12, np.float64, True, (16, 4), True,
        )  # fmt: skip
        return x + 1

    agree(function, numbers((3, 4)))


def test_a_program_of_one_row_and_of_none() -> None:
    def function(x: Any) -> Any:
        y = np.tanh(x @ np.ones((4, 3), np.float32)) if len(x) else np.tanh(x[:, :3])
        return y, y * 2 - 1, y[:, 1], np.concatenate([y, y], axis=1), np.where(y > 0, y, -y)

    agree(function, numbers((1, 4)))
    agree(function, numbers((0, 4)))
    assert run(recorded(function, numbers((0, 4))), numbers((0, 4)))["1"].shape == (0, 3)
