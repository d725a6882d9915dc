"""The runner: loop, evaluation, run directory, exact resume, statistics and progress."""

from .experiment import Experiment, Run
from .interruption import Interrupted
from .settings import Plan, Settings, settle

__all__ = ["Experiment", "Interrupted", "Plan", "Run", "Settings", "settle"]
