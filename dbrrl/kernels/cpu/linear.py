"""Linear layers on the CPU: the gradients of a large one have memory that is used again."""

from typing import Any

from dbrrl.autodiff.linear import FusedLinear, Linear
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c

LARGE = 1 << 18  # weights from which on new pages of memory take longer than the rest of the call

_formulas = {kind: kind.backward for kind in (Linear, FusedLinear)}


@replaces(Linear, "cpu")
class _Linear:
    """The formula itself, with other memory."""

    def backward(self: Any, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
        if w.size < LARGE:
            return NotImplemented
        return _c.pooled(_formulas[Linear], self, g, y, x, w, *b)


@replaces(FusedLinear, "cpu")
class _FusedLinear:
    """The same for layers in one op, the first of which is most often the largest."""

    def backward(self: Any, g: Any, y: Any, x: Any, *parameters: Any) -> Any:
        if parameters[0].size < LARGE:
            return NotImplemented
        return _c.pooled(_formulas[FusedLinear], self, g, y, x, *parameters)
