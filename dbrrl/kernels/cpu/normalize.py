"""Running statistics and normalization on the CPU."""

from dbrrl import normalize
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c

replaces(normalize.merged, "cpu")(_c.merged)
replaces(normalize.normalized, "cpu")(_c.normalized)
replaces(normalize.standardized, "cpu")(_c.standardized)
