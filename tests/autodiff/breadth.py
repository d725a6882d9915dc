"""The part of the table of ops that NumPy has by the same name: the reference is NumPy's own function."""

from typing import Any

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff import (
    arithmetic,
    arrange,
    contraction,
    cumulative,
    index,
    linalg,
    reduce,
    remainder,
    shape,
    variance,
)
from dbrrl.autodiff import trigonometry as angles
from dbrrl.autodiff.op import Op
from tests.autodiff import cases as of

GRID = ((3, 4), (2, 3, 2))
WEIGHTS, EACH = np.array([0.5, 2.0, 1.0, 3.0]), np.arange(1.0, 13).reshape(3, 4)


def large(r: Any, *shape: int) -> Any:
    """Values between 1.3 and 3."""
    return r.uniform(1.3, 3, shape)


def apart(r: Any, *shape: int) -> Any:
    """Values whose quotients are near no whole number, for a second argument of a quarter to a third of 1."""
    return r.choice([-1.0, 1.0], shape) * (r.integers(1, 3, shape) + r.uniform(0.2, 0.4, shape))


def same(name: str, ops: tuple[type[Op], ...], make: Any, *entries: Any) -> list[of.Case]:
    """Cases by NumPy's own function: (label, positional and named arguments after the array, shapes...)."""
    ours, numpys = getattr(F, name), getattr(np, name)
    cases: list[of.Case] = []
    for label, args, named, *shapes in entries:
        cases += of.variants(
            name,
            ops,
            make,
            (
                label,
                lambda x, args=args, named=named: ours(x, *args, **named),
                lambda x, args=args, named=named: numpys(x, *args, **named),
                *shapes,
            ),
        )
    return cases


def pairs(name: str, ops: tuple[type[Op], ...], label: str, call: Any, reference: Any, *shapes: Any) -> list[of.Case]:
    """Cases of two arrays or more."""
    return of.variants(name, ops, of.normal, (label, call, reference, *shapes))


def joins(name: str, *shapes: Any) -> list[of.Case]:
    """Cases of functions of a list."""
    ours, numpys = getattr(F, name), getattr(np, name)
    return pairs(name, (shape.Concatenate,), "two", lambda *xs: ours(xs), lambda *xs: numpys(xs), *shapes)


EINSUMS: list[tuple[str, Any]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    ("ij->ji", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ii->i", ((3, 3),)),
    ("ii", ((3, 3),)),
    ("iji->j", ((2, 3, 2),)),
    ("i,j->ij", ((2,), (3,))),
    ("ij,k->j", ((2, 3), (4,))),
    ("...ij,...jk->...ik", ((2, 1, 2, 3), (4, 3, 2))),
    ("b...,b...->b...", ((2, 3, 2), (2, 3, 2))),
    ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))),
    ("ij,ij,j->i", ((2, 3), (2, 3), (3,))),
    (" ij , jk -> ki ", ((2, 3), (3, 2))),
]

BREADTH: list[of.Case] = [
    of.unary("tan", angles.Tan, np.tan, of.inside),
    of.unary("arcsin", angles.Arcsin, np.arcsin, of.inside),
    of.unary("arccos", angles.Arccos, np.arccos, of.inside),
    of.unary("arctan", angles.Arctan, np.arctan),
    of.unary("sinh", angles.Sinh, np.sinh),
    of.unary("cosh", angles.Cosh, np.cosh),
    of.unary("arcsinh", angles.Arcsinh, np.arcsinh),
    of.unary("arccosh", angles.Arccosh, np.arccosh, large),
    of.unary("log2", angles.Log2, np.log2, of.positive),
    of.unary("log10", angles.Log10, np.log10, of.positive),
    of.binary("arctan2", angles.Arctan2, np.arctan2),
    of.binary("hypot", angles.Hypot, np.hypot),
    *of.variants(
        "fmod",
        (remainder.Fmod,),
        apart,
        ("number", lambda a: F.fmod(a, 0.9), lambda a: np.fmod(a, 0.9), (3, 4), ()),
        ("both", lambda a: F.fmod(a, 1 + 0.01 * a), lambda a: np.fmod(a, 1 + 0.01 * a), (3, 4)),
    ),
    *of.variants(
        "remainder",
        (remainder.Remainder,),
        apart,
        ("number", lambda a: F.remainder(a, -0.9), lambda a: np.remainder(a, -0.9), (3, 4), ()),
        ("both", lambda a: F.remainder(a, 1 + 0.01 * a), lambda a: np.remainder(a, 1 + 0.01 * a), (3, 4)),
        ("operator", lambda a: 7.13 % a, lambda a: 7.13 % a, (3,)),
    ),
    of.unary("nan_to_num", remainder.NanToNum, lambda x: x * 1),
    *same("cumsum", (cumulative.Cumsum,), of.normal, ("all", (), {}, *GRID, ()), ("axis", (-1,), {}, *GRID, (0, 3))),
    *same("cumprod", (arithmetic.Multiply,), of.away, ("all", (), {}, *GRID, (5,)), ("axis", (0,), {}, *GRID, (2, 0))),
    *of.reductions("prod", arithmetic.Multiply, np.prod, of.away, ((5,), (3, 4), (2, 3, 2))),
    *same(
        "diff", (arithmetic.Subtract,), of.normal, ("one", (), {}, *GRID, (0, 1)), ("twice", (2,), {"axis": 0}, (4, 2))
    ),
    *same("flip", (index.GetItem,), of.normal, ("all", (), {}, *GRID), ("axes", ((0, -1),), {}, *GRID)),
    *same(
        "roll",
        (shape.Concatenate,),
        of.normal,
        ("flat", (2,), {}, *GRID),
        ("axis", (-1, 0), {}, *GRID),
        ("axes", ((1, -5), (0, 1)), {}, *GRID),
    ),
    *same(
        "repeat",
        (index.GetItem,),
        of.normal,
        ("flat", (2,), {}, *GRID, ()),
        ("axis", (3,), {"axis": -1}, *GRID),
        ("each", ([2, 0, 1],), {"axis": 0}, (3, 4)),
    ),
    *same(
        "tile",
        (shape.BroadcastTo,),
        of.normal,
        ("number", (2,), {}, (3,), *GRID, ()),
        ("more", ((2, 1, 3),), {}, (3, 2), (2, 2, 2)),
        ("fewer", ((2, 3),), {}, (2, 3, 2)),
    ),
    *same(
        "pad",
        (arrange.Pad,),
        of.normal,
        ("number", (1,), {}, *GRID),
        ("pairs", (((1, 0), (0, 2)),), {"constant_values": 7.0}, (3, 4), (0, 3)),
    ),
    *same(
        "pad",
        (index.GetItem,),
        of.normal,
        *((mode, ((2, 1), mode), {}, (3, 4)) for mode in ("edge", "reflect", "symmetric", "wrap")),
    ),
    *joins("hstack", ((3, 2), (3, 4)), ((3,), (2,)), ((), ())),
    *joins("vstack", ((2, 3), (4, 3)), ((3,), (3,)), ((), ())),
    *joins("dstack", ((2, 3), (2, 3)), ((3,), (3,)), ((2, 3, 1), (2, 3, 2)), ((), ())),
    *same("ravel", (shape.Reshape,), of.normal, ("all", (), {}, *GRID, ())),
    *of.variants("flatten", (arrange.Copy,), of.normal, ("all", F.flatten, np.ravel, *GRID, ())),
    *same("copy", (arrange.Copy,), of.normal, ("all", (), {}, *GRID, ())),
    *same(
        "moveaxis",
        (shape.Transpose,),
        of.normal,
        ("one", (0, -1), {}, *GRID),
        ("two", ((0, 1), (2, 0)), {}, (2, 3, 4)),
    ),
    *same("sort", (index.TakeAlongAxis,), of.distinct, ("last", (), {}, *GRID), ("flat", (None,), {}, *GRID)),
    *same(
        "median",
        (index.TakeAlongAxis,),
        of.distinct,
        ("all", (), {}, *GRID, (5,)),
        ("axis", (0,), {}, *GRID),
        ("kept", (), {"axis": -1, "keepdims": True}, *GRID),
    ),
    *same("diag", (index.Scatter,), of.normal, ("matrix", (1,), {}, (3,)), ("below", (-2,), {}, (3,))),
    *same("diag", (index.GetItem,), of.normal, ("of a matrix", (-1,), {}, (3, 4), (4, 3))),
    *same(
        "diagonal",
        (index.GetItem,),
        of.normal,
        ("main", (), {}, *GRID),
        ("stacked", (1, 0, 2), {}, (3, 2, 4)),
        ("outside", (9,), {}, (3, 4)),
    ),
    *same("trace", (index.GetItem, reduce.Sum), of.normal, ("main", (), {}, *GRID), ("above", (1,), {}, (3, 4))),
    *same("tril", (arithmetic.Where,), of.normal, ("main", (), {}, *GRID), ("below", (-1,), {}, (3, 4))),
    *same("triu", (arithmetic.Where,), of.normal, ("main", (), {}, *GRID), ("above", (1,), {}, (4, 3))),
    *pairs("outer", (arithmetic.Multiply,), "two", F.outer, np.outer, ((2,), (3,)), ((2, 2), (3,))),
    *pairs("inner", (linalg.MatMul,), "two", F.inner, np.inner, ((3,), (3,)), ((2, 3), (4, 3)), ((2, 2, 3), (3,))),
    *pairs("inner", (arithmetic.Multiply,), "number", F.inner, np.inner, ((), (3,))),
    *pairs("tensordot", (linalg.MatMul,), "two", F.tensordot, np.tensordot, ((2, 3, 4), (3, 4, 2)), ((2, 3), (2, 3))),
    *of.variants(
        "tensordot",
        (linalg.MatMul,),
        of.normal,
        *(
            (
                str(axes),
                lambda a, b, axes=axes: F.tensordot(a, b, axes),
                lambda a, b, axes=axes: np.tensordot(a, b, axes),
                shapes,
            )
            for axes, shapes in (
                (0, ((2,), (3,))),
                (1, ((2, 3), (3, 2))),
                (([1, 0], [0, 2]), ((2, 3, 2), (3, 2, 2))),
            )
        ),
    ),
    *(
        case
        for form, shapes in EINSUMS
        for case in of.variants(
            "einsum",
            (contraction.Einsum,),
            of.normal,
            (
                form,
                lambda *xs, form=form: F.einsum(form, *xs),
                lambda *xs, form=form: np.einsum(form, *xs),
                shapes if len(shapes) > 1 else shapes[0],
            ),
        )
    ),
    *of.variants(
        "norm",
        (variance.Deviation,),
        of.away,
        ("all", F.norm, np.linalg.norm, *GRID, (5,)),
        ("axis", lambda x: F.norm(x, axis=-1, keepdims=True), lambda x: np.sqrt((x * x).sum(-1, keepdims=True)), *GRID),
        ("fro", lambda x: F.norm(x, "fro"), lambda x: np.linalg.norm(x, "fro"), (3, 4)),
    ),
    *of.variants(
        "norm",
        (reduce.Sum,),
        of.away,
        ("one", lambda x: F.norm(x, 1, 0), lambda x: np.linalg.norm(x, 1, 0), *GRID),
        ("three", lambda x: F.norm(x, 3, -1), lambda x: np.linalg.norm(x, 3, -1), *GRID),
    ),
    *of.variants(
        "norm",
        (reduce.Max,),
        of.away,
        ("inf", lambda x: F.norm(x, np.inf, 0), lambda x: np.linalg.norm(x, np.inf, 0), *GRID),
    ),
    *of.variants(
        "average",
        (reduce.Sum,),
        of.normal,
        ("axis", lambda x: F.average(x, -1, WEIGHTS), lambda x: np.average(x, -1, WEIGHTS), (3, 4)),
        ("same", lambda x: F.average(x, 0, EACH), lambda x: np.average(x, 0, EACH), (3, 4)),
        ("both", lambda x, w: F.average(x, 1, w * w), lambda x, w: (x * w * w).sum(1) / (w * w).sum(), ((3, 4), (4,))),
    ),
    *of.variants("average", (reduce.Mean,), of.normal, ("plain", F.average, np.average, *of.SHAPES[:-1])),
]
