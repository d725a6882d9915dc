"""Checks the state of a run's loop that was read from a file."""

import numpy as np

from dbrrl.checkpoint import State, untrusted
from dbrrl.errors import CheckpointError

NO_CHANGES: State = {"config": {}, "settings": {}}  # of settings, by commands
NO_ROWS: State = {"columns": [], "count": 0}  # of a table


def check_loop(state: State, most: int) -> None:
    """Raise CheckpointError if a loop's state has impossible values; `most`: how many recent episodes it keeps."""
    with untrusted.state_of("loop"):
        _check(state, most)


def _check(state: State, most: int) -> None:
    keys = ("steps", "episodes", "best", "finished", "elapsed", "recent", "next", "called", "scores", "progress")
    table = untrusted.table(state, "", *keys)
    for name in ("steps", "episodes", "called"):
        untrusted.whole(table[name], name)
    untrusted.number(table["best"], "best", finite=False)
    untrusted.number(table["elapsed"], "elapsed", 0)
    untrusted.truth(table["finished"], "finished")
    recent = untrusted.array(table["recent"], "recent", np.float64)
    if recent.ndim != 2 or recent.shape[1] != 2 or len(recent) > most or (recent[:, 1] < 0).any():
        raise CheckpointError(f"recent: expected at most {most} returns and lengths of 0 or more, got others")
    for number in untrusted.entries(table["next"], "next", 3):
        untrusted.whole(number, "next")
    if not all(isinstance(one, str) for one in untrusted.entries(state.get("commands", []), "commands")):
        raise CheckpointError("commands: expected texts, got something else")
    changes = untrusted.table(state.get("changes", NO_CHANGES), "changes", *NO_CHANGES)
    for name in NO_CHANGES:
        untrusted.table(changes[name], name)
