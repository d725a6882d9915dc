"""A trained agent from a file of a run, to act and not to learn."""

import os
import re
from pathlib import Path

from dbrrl import checkpoint
from dbrrl.checkpoint import State
from dbrrl.errors import CheckpointError
from dbrrl.learning.agent import Agent

from .settings import Plan


def load_agent(file: Path, plan: Plan, device: str | None = None) -> Agent:
    """Return the agent of an agent's file or of a run's exact checkpoint, without what only learning needs.

    Raises CheckpointError for a file that is damaged, foreign, or of another agent than the plan's.
    """
    place, network = device or plan.settings.device, plan.network
    return plan.agent_class.from_record(read_record(file), file, device=place, acting=True, network=network)


def read_record(file: Path) -> State:
    """Return the content of an agent's file, or the agent of a run's exact checkpoint."""
    if not re.fullmatch(r"step-\d{12}\.dbrrl", os.path.basename(file)):
        return checkpoint.load(file, kind="agent")
    record = checkpoint.load(file, kind="run").get("agent")
    if not isinstance(record, dict):
        raise CheckpointError(f"{file}: not the checkpoint of a run: it has no agent")
    return record
