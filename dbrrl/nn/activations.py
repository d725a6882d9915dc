"""Activations as modules, for use in Sequential."""

from typing import Any

from dbrrl import functional as F
from dbrrl.nn.module import Module


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.tanh(x)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.relu(x)


class LeakyReLU(Module):
    """x where positive, else negative_slope x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x where positive, else alpha (e^x - 1)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.elu(x, self.alpha)


class GELU(Module):
    """Gaussian error linear unit, tanh form."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.gelu(x)


class SiLU(Module):
    """x sigmoid x."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.sigmoid(x)


class Softplus(Module):
    """ln(1 + e^x)."""

    def forward(self, x: Any) -> Any:
        """Element by element."""
        return F.softplus(x)
