"""The runner: loop, evaluation, run directory, exact resume, statistics and progress."""

import warnings
from collections.abc import Callable

from .callbacks import Call, Callback, Checkpoint, Evaluate, JsonLines, StopAt
from .evaluation import Evaluation, evaluate_policy
from .experiment import Experiment
from .interruption import Interrupted
from .run import Run
from .settings import Plan, Settings, resolve_plan

__all__ = [
    "Call",
    "Callback",
    "Checkpoint",
    "Evaluate",
    "Evaluation",
    "Experiment",
    "Interrupted",
    "JsonLines",
    "Plan",
    "Run",
    "Settings",
    "StopAt",
    "evaluate_policy",
    "resolve_plan",
]


def __getattr__(name: str) -> Callable[..., Plan]:
    """Return `resolve_plan` by its earlier name, with a warning."""
    if name == "settle":
        warnings.warn(f"{__name__}.settle is resolve_plan now", DeprecationWarning, stacklevel=2)
        return resolve_plan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
