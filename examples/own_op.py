"""An op of your own: forward on arrays, and a backward that serves first and second derivatives alike."""

from typing import Any

import numpy as np

import dbrrl
from dbrrl.autodiff.op import Op
from dbrrl.testing import check_gradients


class Symlog(Op):
    """y = sign(x) ln(1 + |x|), which tames large returns (Hafner et al. 2023); dy = 1 / (1 + |x|)."""

    def forward(self, x: Any) -> Any:
        """Called with plain arrays."""
        return np.sign(x) * np.log1p(np.abs(x))

    def backward(self, g: Any, y: Any, x: Any) -> Any:
        """Called with plain arrays, or with tensors when the gradient is to be differentiated again."""
        return g / (1 + np.abs(x))


def symlog(x: Any) -> Any:
    """A tensor of a tensor, an array of an array."""
    return Symlog()(x)  # one op object per call: it remembers its inputs


class Scale(Op):
    """y = x s, with the gradient of both inputs; the engine undoes broadcasting."""

    def forward(self, x: Any, s: Any) -> Any:
        """The product."""
        return x * s

    def backward(self, g: Any, y: Any, x: Any, s: Any) -> Any:
        """One gradient for each input, None where nobody asks."""
        return g * s if self.needs(0) else None, g * x if self.needs(1) else None


values = np.array([-300.0, -2.0, 0.5, 40.0])
x = dbrrl.Tensor(values, requires_grad=True)
y = symlog(x)
y.sum().backward()
print("symlog  ", np.round(y.numpy(), 3))
print("gradient", np.round(x.grad, 3))
print("plain   ", np.round(symlog(values), 3))

check_gradients(symlog, values, order=2)
check_gradients(lambda x, s: Scale()(x, s), values.reshape(2, 2), np.array([2.0, -1.0]), order=2)
print("first and second derivatives agree with central differences")
