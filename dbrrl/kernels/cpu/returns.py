"""Advantages on the CPU, in one pass from the last step back."""

from dbrrl import returns
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c

replaces(returns.advantages, "cpu")(_c.gae)
