"""The runner: loop, evaluation, run directory, exact resume, statistics and progress."""

from .callbacks import Call, Callback, Checkpoint, Evaluate, JsonLines, StopAt
from .experiment import Experiment
from .interruption import Interrupted
from .run import Run
from .settings import Plan, Settings, settle

__all__ = [
    "Call",
    "Callback",
    "Checkpoint",
    "Evaluate",
    "Experiment",
    "Interrupted",
    "JsonLines",
    "Plan",
    "Run",
    "Settings",
    "StopAt",
    "settle",
]
