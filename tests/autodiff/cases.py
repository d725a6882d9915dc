"""Rows of the tables of ops: a case of a public function, its points, and the kinds of cases."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff.op import Op

Random = np.random.Generator
Arrays = tuple[Any, ...]
SHAPES = ((), (5,), (3, 4), (2, 3, 2), (0, 3))
PAIRS = (
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((0, 3), (3,)),
    ((1,), (0,)),
)


@dataclass(frozen=True)
class Case:
    """One use of a public function: `call` runs it on tensors or arrays, `reference` on arrays alone."""

    name: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    points: tuple[Callable[[Random], Arrays], ...]
    ops: tuple[type[Op], ...]

    @property
    def function(self) -> str:
        """The name in dbrrl.functional."""
        return self.name.split(" ")[0]


def normal(r: Random, *shape: int) -> Any:
    """Normal values."""
    return r.normal(size=shape)


def away(r: Random, *shape: int) -> Any:
    """Values of both signs, none near 0."""
    return r.uniform(0.3, 1.5, shape) * r.choice([-1.0, 1.0], shape)


def positive(r: Random, *shape: int) -> Any:
    """Values between 0.3 and 2."""
    return r.uniform(0.3, 2, shape)


def inside(r: Random, *shape: int) -> Any:
    """Values between -0.8 and 0.8."""
    return r.uniform(-0.8, 0.8, shape)


def distinct(r: Random, *shape: int) -> Any:
    """Values no two of which are near each other."""
    n = math.prod(shape)
    return (r.permutation(n) * 0.37 + 0.1 - 0.2 * n).reshape(shape)


def over(make: Callable[..., Any], *shapes: Any) -> tuple[Callable[[Random], Arrays], ...]:
    """A point for each entry: one shape, or a tuple of the shapes of several arguments."""
    entries = [s if s and isinstance(s[0], tuple) else (s,) for s in shapes]
    return tuple(lambda r, entry=entry: tuple(make(r, *s) for s in entry) for entry in entries)


def unary(name: str, op: type[Op], reference: Any, make: Any = away) -> Case:
    return Case(name, getattr(F, name), reference, over(make, *SHAPES), (op,))


def binary(name: str, op: type[Op], reference: Any, make: Any = away) -> Case:
    return Case(name, getattr(F, name), reference, over(make, *PAIRS), (op,))


def reductions(
    name: str, op: type[Op], reference: Any, make: Any, shapes: Any = ((5,), (3, 4), (2, 3, 2))
) -> list[Case]:
    f = getattr(F, name)
    cases = []
    for axis, kept, among in (
        (None, False, ((), *shapes) if name in ("sum", "mean", "max", "min", "logsumexp") else shapes),
        (-1, False, shapes),
        (0, True, shapes),
        ((0, -1), False, ((3, 4), (2, 3, 2))),
        ((-2,), True, ((3, 4), (2, 3, 2))),
    ):
        cases.append(
            Case(
                f"{name} axis={axis} keepdims={kept}",
                lambda x, axis=axis, kept=kept: f(x, axis=axis, keepdims=kept),
                lambda x, axis=axis, kept=kept: reference(x, axis=axis, keepdims=kept),
                over(make, *among),
                (op,),
            )
        )
    return cases


def variants(name: str, ops: Any, make: Any, *entries: Any) -> list[Case]:
    """Cases of one function: (label, call, reference, shapes...)."""
    return [
        Case(f"{name} {label}", call, reference, over(make, *shapes), ops)
        for label, call, reference, *shapes in entries
    ]
