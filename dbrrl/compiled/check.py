"""Under DBRRL_CHECK=1 the first runs of every program are also computed op by op, and compared."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dbrrl.errors import AnomalyError

RUNS = 10 if os.environ.get("DBRRL_CHECK") == "1" else 0  # of each program that are compared
TOLERANCE = 1e-4


def compare(what: str, found: Any, right: Any) -> None:
    """Raise an AnomalyError where an array of a program's is not the one that was computed op by op.

    Args:
        what: its name, for the error.
        found, right: arrays or numbers. Of integers, such as actions that are drawn, one in a hundred may differ.
    """
    one, two = np.asarray(found), np.asarray(right)
    if one.shape != two.shape:
        difference = f"shape {one.shape}, not {two.shape}"
    elif two.dtype.kind == "f":
        finite = np.isfinite(two)
        size = max(1.0, float(np.max(np.abs(two[finite]), initial=0.0)))
        off = float(np.max(np.abs(one[finite] - two[finite]), initial=0.0)) / size
        same = np.array_equal(np.isfinite(one), finite)
        difference = f"it is off by {off:.1e} of its size" if off > TOLERANCE or not same else ""
    else:
        others = int(np.count_nonzero(one != two))
        difference = f"{others} of {one.size} differ" if others > max(1, one.size // 100) else ""
    if difference:
        raise AnomalyError(
            f"{what}: expected the program to compute what the ops compute, {difference}: please report it, and set "
            "`agent.compiled = False` or DBRRL_KERNELS=numpy meanwhile"
        )


def compare_all(what: str, found: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    """Compare arrays and numbers by name."""
    for name, value in right.items():
        compare(f"{what}: {name}", found[name], value)
