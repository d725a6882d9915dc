"""The one table of all ops: arguments, an independent reference, and the shapes that each is tried on."""

import functools
import math
from typing import Any

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff import (
    arithmetic,
    chosen,
    conv,
    elementwise,
    index,
    linalg,
    loss,
    lstm,
    policy,
    pool,
    recurrent,
    reduce,
    shape,
    variance,
)
from dbrrl.autodiff.linear import FusedLinear, Linear, Noisy
from dbrrl.autodiff.op import Op
from tests.autodiff.breadth import BREADTH
from tests.autodiff.cases import (
    SHAPES,
    Arrays,
    Case,
    away,
    binary,
    distinct,
    inside,
    normal,
    positive,
    reductions,
    unary,
    variants,
)  # fmt: skip
from tests.autodiff.ensembles import ENSEMBLE
from tests.autodiff.quantiles import QUANTILE
from tests.autodiff.reference import (
    SAMPLES,
    conv2d,
    gaussian,
    gelu,
    huber,
    layer_norm,
    pooled,
    sigmoid,
    softmax,
    surrogate,
)
from tests.autodiff.reference import recurrent as plainly
from tests.autodiff.weighted import WEIGHTED


def recurrences(name: str, op: type[Op], gates: int) -> list[Case]:
    """Cases of a few steps, without a batch, and of so many rows that the weights are reordered."""

    def shapes(steps: int, batch: int, biased: bool, n: int = 2, size: int = 2) -> Arrays:
        rows, parts = gates * size, 2 if name == "lstm" else 1
        biases = ((rows,), (rows,)) if biased else ()
        return ((steps, batch, n), (rows, n), (rows, size), *((batch, size),) * parts, *biases)

    def call(*arrays: Any, **ends: Any) -> Any:
        return F.concatenate([F.reshape(y, -1) for y in getattr(F, name)(*arrays, **ends)])

    ends = {"reset": [[0, 1], [1, 0], [0, 1]], "lengths": [3, 1]}
    return variants(
        name,
        (op,),
        inside,
        ("biases", call, plainly(name), *(shapes(*size, True) for size in ((3, 2), (1, 3), (2, 33), (2, 0)))),
        ("bare", call, plainly(name), shapes(3, 2, False)),
        ("ends", functools.partial(call, **ends), plainly(name, **ends), shapes(3, 2, True)),
    )


MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])
ROWS, COLUMNS = np.array([0, 2, 2, 1, 0]), np.array([[1], [0], [3]])
REPEATED = np.array([[1, 1, 0], [2, 2, 2]])
CLASSES = np.array([2, 0, 3])
NOISE = np.array([0.5, -1.0, 2.0]), np.array([1.5, -0.5, 0.3, 1.0])
PROBABILITIES = softmax(np.arange(12.0).reshape(3, 4) % 5)
SEED = 3

CASES: list[Case] = [
    binary("add", arithmetic.Add, np.add),
    binary("subtract", arithmetic.Subtract, np.subtract),
    binary("multiply", arithmetic.Multiply, np.multiply),
    binary("divide", arithmetic.Divide, np.divide),
    binary("power", arithmetic.Power, np.power, positive),
    binary("maximum", arithmetic.Maximum, np.maximum),
    binary("minimum", arithmetic.Minimum, np.minimum),
    *variants(
        "power",
        (arithmetic.Power,),
        away,
        ("square", lambda x: F.power(x, 2), lambda x: x * x, (3, 4), ()),
        ("cube", lambda x: F.power(x, 3.0), lambda x: x * x * x, (3,)),
        ("one", lambda x: F.power(x, 1), lambda x: x * 1, (3,)),
        ("nothing", lambda x: F.power(x, 0), lambda x: x * 0 + 1, (3,)),
        ("reciprocal", lambda x: F.power(x, -1), lambda x: 1 / x, (3,)),
        ("of a number", lambda x: F.power(1.5, x), lambda x: np.exp(x * math.log(1.5)), (3, 2), ()),
        (
            "integers",
            lambda x: F.power(x, np.array([2, 3, 0])),
            lambda x: np.power(x, np.array([2, 3, 0])),
            (3,),
        ),
    ),
    *variants(
        "where",
        (arithmetic.Where,),
        normal,
        ("same", lambda a, b: F.where(MASK, a, b), lambda a, b: a * MASK + b * ~MASK, ((3, 4), (3, 4))),
        (
            "broadcast",
            lambda a, b: F.where(MASK, a, b),
            lambda a, b: a * MASK + b * ~MASK,
            ((4,), (3, 1)),
            ((), (3, 4)),
        ),
        ("number", lambda a: F.where(MASK, a, -2.0), lambda a: a * MASK - 2.0 * ~MASK, (3, 4)),
    ),
    *variants(
        "clip",
        (arithmetic.Clip,),
        distinct,
        ("both", lambda x: F.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5), *SHAPES),
        ("low", lambda x: F.clip(x, a_min=-1), lambda x: np.maximum(x, -1), (3, 4)),
        ("high", lambda x: F.clip(x, max=0.5), lambda x: np.minimum(x, 0.5), (3, 4)),
        (
            "arrays",
            lambda x: F.clip(x, np.arange(4) - 2, np.arange(4)),
            lambda x: np.clip(x, np.arange(4) - 2.0, np.arange(4.0)),
            (3, 4),
        ),
    ),
    unary("negative", elementwise.Negative, lambda x: 0 - x),
    unary("exp", elementwise.Exp, np.exp),
    unary("expm1", elementwise.Expm1, np.expm1),
    unary("log", elementwise.Log, np.log, positive),
    unary("log1p", elementwise.Log1p, np.log1p, positive),
    unary("sqrt", elementwise.Sqrt, np.sqrt, positive),
    unary("square", elementwise.Square, np.square),
    unary("abs", elementwise.Absolute, np.abs),
    unary("sin", elementwise.Sin, np.sin),
    unary("cos", elementwise.Cos, np.cos),
    unary("arctanh", elementwise.Arctanh, np.arctanh, inside),
    unary("tanh", elementwise.Tanh, np.tanh),
    unary("sigmoid", elementwise.Sigmoid, sigmoid),
    unary("softplus", elementwise.Softplus, lambda x: np.logaddexp(x, 0)),
    unary("relu", elementwise.Relu, lambda x: x * (x > 0)),
    unary("leaky_relu", elementwise.LeakyRelu, lambda x: x * np.where(x > 0, 1, 0.01)),
    unary("elu", elementwise.Elu, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    unary("silu", elementwise.Silu, lambda x: x / (1 + np.exp(-x))),
    unary("gelu", elementwise.Gelu, gelu),
    *variants(
        "leaky_relu",
        (elementwise.LeakyRelu,),
        away,
        ("steep", lambda x: F.leaky_relu(x, 0.3), lambda x: x * np.where(x > 0, 1, 0.3), (3, 4)),
    ),
    *variants(
        "elu",
        (elementwise.Elu,),
        away,
        ("alpha", lambda x: F.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.exp(x) - 0.5), (3, 4)),
    ),
    *variants(
        "getitem",
        (index.GetItem, index.Scatter),
        normal,
        ("integer", lambda x: F.getitem(x, 1), lambda x: x[1], (3, 4), (3,)),
        ("negative", lambda x: F.getitem(x, (-1, -2)), lambda x: x[-1, -2], (3, 4), (3, 4, 2)),
        ("slice", lambda x: F.getitem(x, slice(None, None, -2)), lambda x: x[::-2], (5,), (4, 2), (0, 3)),
        ("mixed", lambda x: F.getitem(x, (..., None, slice(1, 3))), lambda x: x[..., None, 1:3], (3, 4)),
        ("repeated", lambda x: F.getitem(x, REPEATED), lambda x: x[REPEATED], (3, 4), (3,)),
        ("two arrays", lambda x: F.getitem(x, (ROWS, ROWS)), lambda x: x[ROWS, ROWS], (3, 4)),
        ("rows and slice", lambda x: F.getitem(x, (ROWS, slice(0, 2))), lambda x: x[ROWS, :2], (3, 4)),
        ("mask", lambda x: F.getitem(x, MASK), lambda x: x[MASK], (3, 4), (3, 4, 2)),
        ("list", lambda x: F.getitem(x, [0, 0, 2]), lambda x: x[[0, 0, 2]], (3, 4)),
        ("empty list", lambda x: F.getitem(x, []), lambda x: x[:0], (3, 4)),
    ),
    *variants(
        "take_along_axis",
        (index.TakeAlongAxis,),
        normal,
        (
            "last",
            lambda x: F.take_along_axis(x, COLUMNS),
            lambda x: np.take_along_axis(x, COLUMNS, -1),
            (3, 4),
        ),
        (
            "repeated",
            lambda x: F.take_along_axis(x, REPEATED, axis=1),
            lambda x: np.take_along_axis(x, REPEATED, 1),
            (2, 3),
        ),
        (
            "repeated, first axis",
            lambda x: F.take_along_axis(x, REPEATED.T, axis=0),
            lambda x: np.take_along_axis(x, REPEATED.T, 0),
            (3, 2),
        ),
        (
            "negative index",
            lambda x: F.take_along_axis(x, -COLUMNS, axis=-1),
            lambda x: np.take_along_axis(x, -COLUMNS, -1),
            (3, 4),
        ),
    ),
    *variants(
        "pick",
        (index.Pick,),
        normal,
        ("classes", lambda x: F.pick(x, CLASSES), lambda x: x[[0, 1, 2], CLASSES], (3, 4), (3, 4, 2)),
    ),
    *variants(
        "take",
        (index.GetItem,),
        normal,
        ("flat", lambda x: F.take(x, REPEATED), lambda x: np.take(x, REPEATED), (3, 4)),
        ("axis", lambda x: F.take(x, REPEATED, axis=-1), lambda x: np.take(x, REPEATED, axis=-1), (2, 3)),
    ),
    *variants(
        "embedding",
        (index.GetItem,),
        normal,
        ("repeated", lambda w: F.embedding(REPEATED, w), lambda w: w[REPEATED], (3, 4)),
    ),
    *variants(
        "matmul",
        (linalg.MatMul,),
        normal,
        (
            "matrices",
            F.matmul,
            lambda a, b: np.einsum("ij,jk->ik", a, b),
            ((2, 3), (3, 4)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 3)),
        ),
        (
            "stacked",
            F.matmul,
            lambda a, b: np.einsum("...ij,...jk->...ik", a, b),
            ((5, 2, 3), (3, 4)),
            ((2, 1, 2, 3), (4, 3, 2)),
        ),
        ("vectors", F.matmul, lambda a, b: np.sum(a * b), ((3,), (3,))),
        (
            "vector left",
            F.matmul,
            lambda a, b: np.einsum("j,...jk->...k", a, b),
            ((3,), (3, 2)),
            ((3,), (4, 3, 2)),
        ),
        (
            "vector right",
            F.matmul,
            lambda a, b: np.einsum("...ij,j->...i", a, b),
            ((2, 3), (3,)),
            ((4, 2, 3), (3,)),
        ),
    ),
    *variants(
        "linear",
        (Linear,),
        normal,
        (
            "bias",
            F.linear,
            lambda x, w, b: np.einsum("...i,oi->...o", x, w) + b,
            ((2, 3), (4, 3), (4,)),
            ((0, 3), (4, 3), (4,)),
            ((2, 5, 3), (4, 3), (4,)),
            ((2, 0, 3), (4, 3), (4,)),
            ((3,), (4, 3), (4,)),
        ),
        (
            "no bias",
            F.linear,
            lambda x, w: np.einsum("...i,oi->...o", x, w),
            ((2, 3), (4, 3)),
            ((2, 2, 3), (1, 3)),
        ),
        (
            "tanh",
            lambda x, w, b: F.linear(x, w, b, "tanh"),
            lambda x, w, b: np.tanh(x @ w.T + b),
            ((2, 3), (4, 3), (4,)),
            ((2, 5, 3), (4, 3), (4,)),
        ),
        (
            "relu",
            lambda x, w, b: F.linear(x, w, b, "relu"),
            lambda x, w, b: np.maximum(x @ w.T + b, 0),
            ((2, 3), (4, 3), (4,)),
        ),
    ),
    *variants(
        "noisy_linear",
        (Noisy,),
        normal,
        *(
            (
                name or "plain",
                lambda x, *p, name=name: F.noisy_linear(x, *p, NOISE, name),
                lambda x, w, b, s, t, f=f: f(x @ (w + s * np.outer(NOISE[1], NOISE[0])).T + b + t * NOISE[1]),
                ((2, 3), (4, 3), (4,), (4, 3), (4,)),
                ((2, 2, 3), (4, 3), (4,), (4, 3), (4,)),
            )
            for name, f in ((None, lambda y: y), ("tanh", np.tanh))
        ),
    ),
    *variants(
        "perceptron",
        (FusedLinear,),
        normal,
        (
            "two layers",
            lambda x, *parameters: F.perceptron(x, parameters, ["tanh", None]),
            lambda x, v, a, w, b: np.tanh(x @ v.T + a) @ w.T + b,
            ((2, 3), (4, 3), (4,), (2, 4), (2,)),
            ((0, 3), (4, 3), (4,), (2, 4), (2,)),
            ((2, 2, 3), (4, 3), (4,), (2, 4), (2,)),
            ((3,), (4, 3), (4,), (2, 4), (2,)),
        ),
        (
            "three layers",
            lambda x, *parameters: F.perceptron(x, parameters, ["relu", None, "tanh"]),
            lambda x, v, a, w, b, u, c: np.tanh((np.maximum(x @ v.T + a, 0) @ w.T + b) @ u.T + c),
            ((2, 3), (4, 3), (4,), (2, 4), (2,), (1, 2), (1,)),
        ),
    ),
    *recurrences("rnn", recurrent.RNN, 1),
    *recurrences("gru", recurrent.GRU, 3),
    *recurrences("lstm", lstm.LSTM, 4),
    *variants(
        "conv2d",
        (conv.Conv2d, conv.ConvInput, conv.ConvWeight),
        normal,
        ("plain", F.conv2d, conv2d, ((2, 3, 5, 4), (2, 3, 3, 2)), ((0, 1, 3, 3), (2, 1, 2, 2))),
        ("bias", F.conv2d, conv2d, ((2, 2, 4, 4), (3, 2, 2, 2), (3,))),
        (
            "stride",
            lambda x, w: F.conv2d(x, w, stride=2),
            lambda x, w: conv2d(x, w, None, (2, 2)),
            ((2, 1, 6, 5), (2, 1, 3, 3)),
            ((1, 9, 5, 5), (1, 9, 1, 1)),
        ),
        (
            "pairs",
            lambda x, w: F.conv2d(x, w, None, (2, 1), (0, 2)),
            lambda x, w: conv2d(x, w, None, (2, 1), (0, 2)),
            ((1, 2, 5, 3), (2, 2, 2, 3)),
        ),
        (
            "padding",
            lambda x, w, b: F.conv2d(x, w, b, 3, 1),
            lambda x, w, b: conv2d(x, w, b, (3, 3), (1, 1)),
            ((2, 2, 5, 5), (2, 2, 2, 2), (2,)),
        ),
    ),
    *variants(
        "max_pool2d",
        (pool.MaxPool2d, pool.Unpool),
        distinct,
        (
            "tiles",
            lambda x: F.max_pool2d(x, 2),
            pooled(np.max, -np.inf, (2, 2), (2, 2), (0, 0)),
            (2, 2, 4, 5),
            (0, 1, 4, 4),
        ),
        (
            "overlap",
            lambda x: F.max_pool2d(x, (3, 2), (2, 1), 1),
            pooled(np.max, -np.inf, (3, 2), (2, 1), (1, 1)),
            (1, 2, 5, 4),
        ),
    ),
    *variants(
        "avg_pool2d",
        (pool.Pool, pool.Unpool),
        normal,
        ("tiles", lambda x: F.avg_pool2d(x, 2), pooled(np.mean, 0, (2, 2), (2, 2), (0, 0)), (2, 2, 4, 5)),
        (
            "overlap",
            lambda x: F.avg_pool2d(x, 3, 2, (1, 0)),
            pooled(np.mean, 0, (3, 3), (2, 2), (1, 0)),
            (1, 2, 5, 5),
        ),
    ),
    *reductions("sum", reduce.Sum, np.sum, normal, ((5,), (3, 4), (2, 3, 2), (0, 3))),
    *reductions("mean", reduce.Mean, np.mean, normal),
    *reductions("var", reduce.Sum, np.var, normal),
    *reductions("std", variance.Deviation, np.std, distinct),
    *reductions("max", reduce.Max, np.max, distinct),
    *reductions("min", reduce.Min, np.min, distinct),
    *reductions(
        "logsumexp",
        reduce.LogSumExp,
        lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
        normal,
    ),
    *variants(
        "var",
        (reduce.Sum,),
        normal,
        ("ddof", lambda x: F.var(x, -1, 1), lambda x: np.var(x, -1, ddof=1), (3, 4)),
    ),
    *variants(
        "std",
        (variance.Deviation,),
        normal,
        ("ddof", lambda x: F.std(x, 0, ddof=1), lambda x: np.std(x, 0, ddof=1), (3, 4)),
    ),
    *variants(
        "log_softmax",
        (reduce.LogSoftmax,),
        normal,
        ("last", F.log_softmax, lambda x: np.log(softmax(x)), (5,), (3, 4), (2, 3, 2), (2, 20), (0, 3)),
        ("axis", lambda x: F.log_softmax(x, -2), lambda x: np.log(softmax(x, -2)), (3, 4), (2, 3, 2)),
    ),
    *variants(
        "softmax",
        (reduce.Softmax,),
        normal,
        ("last", F.softmax, softmax, (5,), (3, 4), (2, 3, 2), (0, 3)),
        ("axis", lambda x: F.softmax(x, 0), lambda x: softmax(x, 0), (3, 4)),
    ),
    *variants(
        "reshape",
        (shape.Reshape,),
        normal,
        ("tuple", lambda x: F.reshape(x, (2, -1)), lambda x: np.reshape(x, (2, -1)), (3, 4), (2, 3, 2)),
        ("numbers", lambda x: F.reshape(x, 3, 2, 2), lambda x: np.reshape(x, (3, 2, 2)), (3, 4)),
        ("scalar", lambda x: F.reshape(x, ()), lambda x: x.sum(), (1, 1)),
        ("empty", lambda x: F.reshape(x, (3, 0)), lambda x: x.T, (0, 3)),
    ),
    *variants(
        "transpose",
        (shape.Transpose,),
        normal,
        ("reversed", F.transpose, lambda x: x.T, (), (5,), (3, 4), (2, 3, 2), (0, 3)),
        ("axes", lambda x: F.transpose(x, (-1, 0, 1)), lambda x: np.einsum("ijk->kij", x), (2, 3, 4)),
    ),
    *variants(
        "swapaxes",
        (shape.Transpose,),
        normal,
        ("negative", lambda x: F.swapaxes(x, 0, -1), lambda x: np.einsum("ijk->kji", x), (2, 3, 4)),
    ),
    *variants(
        "broadcast_to",
        (shape.BroadcastTo,),
        normal,
        (
            "new axes",
            lambda x: F.broadcast_to(x, (2, 3, 4)),
            lambda x: x + np.zeros((2, 3, 4)),
            (),
            (4,),
            (3, 1),
            (2, 1, 4),
        ),
        ("empty", lambda x: F.broadcast_to(x, (0, 3)), lambda x: x + np.zeros((0, 3)), (3,)),
    ),
    *variants(
        "squeeze",
        (shape.Reshape,),
        normal,
        ("all", F.squeeze, lambda x: x.reshape(3), (1, 3, 1)),
        ("negative", lambda x: F.squeeze(x, -1), lambda x: x[:, :, 0], (1, 3, 1)),
    ),
    *variants(
        "expand_dims",
        (shape.Reshape,),
        normal,
        ("negative", lambda x: F.expand_dims(x, -1), lambda x: x[..., None], (3, 2), ()),
        ("two", lambda x: F.expand_dims(x, (0, 2)), lambda x: x[None, :, None], (3, 2)),
    ),
    *variants(
        "concatenate",
        (shape.Concatenate,),
        normal,
        (
            "first",
            lambda *xs: F.concatenate(xs),
            lambda *xs: np.concatenate(xs),
            ((2, 3), (1, 3), (0, 3)),
            ((2,), (3,)),
        ),
        (
            "last",
            lambda *xs: F.concatenate(xs, axis=-1),
            lambda *xs: np.concatenate(xs, -1),
            ((2, 3), (2, 1)),
        ),
    ),
    *variants(
        "stack",
        (shape.Concatenate,),
        normal,
        ("first", lambda *xs: F.stack(xs), lambda *xs: np.stack(xs), ((2, 3), (2, 3)), ((), ())),
        ("last", lambda *xs: F.stack(xs, -1), lambda *xs: np.stack(xs, -1), ((2, 3), (2, 3))),
    ),
    *variants(
        "split",
        (index.GetItem,),
        normal,
        ("equal", lambda x: F.split(x, 2)[1], lambda x: np.split(x, 2)[1], (4, 3)),
        (
            "places",
            lambda x: F.concatenate(F.split(x, [1, 3], -1)[::-1], -1),
            lambda x: x[:, [3, 1, 2, 0]],
            (2, 4),
        ),
    ),
    *variants(
        "astype",
        (shape.AsType,),
        normal,
        ("same", lambda x: F.astype(x, x.dtype), lambda x: x * 1, (3, 4), ()),
    ),
    *variants(
        "mse_loss",
        (loss.SquaredError,),
        normal,
        ("mean of tensors", F.mse_loss, lambda a, b: np.mean((a - b) ** 2), ((3, 4), (3, 4))),
        ("sum", lambda a, b: F.mse_loss(a, b, "sum"), lambda a, b: np.sum((a - b) ** 2), ((3,), (3,))),
        (
            "none",
            lambda a, b: F.mse_loss(a, b, "none"),
            lambda a, b: (a - b) ** 2,
            ((3, 4), (3, 4)),
            ((0,), (0,)),
        ),
    ),
    *variants(
        "mse_loss",
        (loss.MeanSquaredError,),
        normal,
        ("mean", lambda a: F.mse_loss(a, np.ones((3, 4))), lambda a: np.mean((a - 1) ** 2), (3, 4)),
    ),
    *variants(
        "huber_loss",
        (loss.Huber,),
        distinct,
        ("mean", F.huber_loss, lambda a, b: np.mean(huber(a, b, 1)), ((3, 4), (3, 4))),
        (
            "delta",
            lambda a, b: F.huber_loss(a, b, 0.4, "none"),
            lambda a, b: huber(a, b, 0.4),
            ((3, 4), (3, 4)),
        ),
    ),
    *variants(
        "cross_entropy",
        (reduce.LogSoftmax,),
        normal,
        (
            "classes",
            lambda x: F.cross_entropy(x, CLASSES),
            lambda x: -np.mean(np.log(softmax(x))[[0, 1, 2], CLASSES]),
            (3, 4),
        ),
    ),
    *variants(
        "cross_entropy",
        (loss.CrossEntropy,),
        normal,
        (
            "both",
            lambda x, p: F.cross_entropy(x, p, "none"),
            lambda x, p: -np.sum(p * np.log(softmax(x)), -1),
            ((3, 4), (3, 4)),
            ((2, 3, 4), (2, 3, 4)),
            ((4,), (4,)),
        ),
        (
            "probabilities",
            lambda x: F.cross_entropy(x, PROBABILITIES),
            lambda x: -np.mean(np.sum(PROBABILITIES * np.log(softmax(x)), -1)),
            (3, 4),
        ),
    ),
    *variants(
        "layer_norm",
        (elementwise.Sqrt,),
        normal,
        ("plain", F.layer_norm, layer_norm, (3, 4), (2, 3, 5)),
        ("affine", F.layer_norm, layer_norm, ((3, 4), (4,), (4,))),
    ),
    *variants(
        "dropout",
        (arithmetic.Multiply,),
        normal,
        (
            "half",
            lambda x: F.dropout(x, 0.5, np.random.default_rng(SEED)),
            lambda x: x * 2 * (np.random.default_rng(SEED).random(x.shape, np.float32) >= 0.5),
            (3, 4),
        ),
    ),
    *variants(
        "entropy",
        (policy.Entropy,),
        normal,
        (
            "normalized",
            lambda x: F.entropy(F.log_softmax(x)),
            lambda x: -np.sum(softmax(x) * np.log(softmax(x)), -1),
            (3, 4),
            (4,),
        ),
        ("alone", F.entropy, lambda x: -np.sum(np.exp(x) * x, -1), (3, 4)),
    ),
    *variants(
        "categorical_log_prob",
        (policy.CategoricalLogProb,),
        normal,
        (
            "classes",
            lambda x: F.categorical_log_prob(x, CLASSES),
            lambda x: np.log(softmax(x))[[0, 1, 2], CLASSES],
            (3, 4),
        ),
    ),
    *variants(
        "picked_huber_loss",
        (chosen.PickedHuber,),
        distinct,
        (
            "classes",
            lambda x, b: F.picked_huber_loss(x, CLASSES, b)[0],
            lambda x, b: huber(x[[0, 1, 2], CLASSES], b, 1),
            ((3, 4), (3,)),
        ),
    ),
    *variants(
        "clipped_surrogate",
        (policy.ClippedSurrogate,),
        normal,
        (
            "ppo",
            lambda x: F.clipped_surrogate(x, np.zeros(6), np.array([1.0, -1, 2, -2, 1, -1]), 0.2),
            lambda x: surrogate(x, np.zeros(6), np.array([1.0, -1, 2, -2, 1, -1]), 0.2),
            (6,),
        ),
    ),
    *variants(
        "normal_log_prob",
        (reduce.Sum,),
        normal,
        ("shared", lambda m, s: F.normal_log_prob(m, s, SAMPLES), gaussian, ((4, 3), (3,))),
        ("own", lambda m, s: F.normal_log_prob(m, s, SAMPLES), gaussian, ((4, 3), (4, 3))),
    ),
    *(BREADTH + WEIGHTED + ENSEMBLE + QUANTILE),
]

# They give plain arrays, or what is cut off: tested on their own.
WITHOUT_GRADIENT = {
    "argmax", "argmin", "argsort", "ceil", "detach", "floor", "floor_divide", "one_hot", "rint", "round", "sign",
    "trunc",
}  # fmt: skip
MIXED = {
    "power integers",
    "clip arrays",
    "mse_loss mean",
    "cross_entropy probabilities",
    "average axis",
    "average same",
}  # with a float64 constant
