"""Remainders of a division, and the replacement of what is not finite."""

from typing import Any

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.register import implements, method, reflected


class Remainder(Op):
    """y = a - b floor(a / b), of the sign of b; da = 1, db = -floor(a / b)."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.remainder(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return g, -g * np.floor(a / b) if self.needs(1) else None


@implements(np.remainder)
@method("__mod__")
@reflected("__rmod__")
def remainder(a: Any, b: Any) -> Any:
    """Remainder of a / b with the sign of b, as Python's %, broadcast."""
    return Remainder()(a, b)


class Fmod(Op):
    """y = a - b trunc(a / b), of the sign of a; da = 1, db = -trunc(a / b)."""

    def forward(self, a: Any, b: Any) -> Any:
        return np.fmod(a, b)

    def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
        return g, -g * np.trunc(a / b) if self.needs(1) else None


@implements(np.fmod)
def fmod(a: Any, b: Any) -> Any:
    """Remainder of a / b with the sign of a, as in C, broadcast."""
    return Fmod()(a, b)


class NanToNum(Op):
    """y = x where finite, else a number; the gradient passes where x is finite."""

    def __init__(self, nan: float, posinf: float | None, neginf: float | None) -> None:
        self.nan, self.posinf, self.neginf = nan, posinf, neginf

    def forward(self, x: Any) -> Any:
        return np.nan_to_num(x, nan=self.nan, posinf=self.posinf, neginf=self.neginf)

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        return np.where(np.isfinite(x), g, g.dtype.type(0))


@implements(np.nan_to_num)
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers in place of nan and of the infinities (the largest and smallest of its type by default)."""
    return NanToNum(nan, posinf, neginf)(x)
