"""When the loop saves of its own accord."""

from pathlib import Path
from typing import Any

import pytest

from dbrrl.experiment import Experiment, saving
from dbrrl.experiment import loop as loop_module

from .stub import Stub


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 9), (1e9, 1)])
def test_checkpoints_that_take_long_to_write_are_rarer(
    seconds: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none may be late, there is one at each row of progress; beside them stands the one at the end."""
    now, saved, advance = 0.0, [], loop_module.Loop._step_until

    def save(directory: Any, steps: int, state: Any) -> None:
        nonlocal now
        now += seconds
        saved.append(steps)
        directory.checkpoints.mkdir(exist_ok=True)
        (directory.checkpoints / f"step-{steps:012d}.dbrrl").touch()

    def go(loop: loop_module.Loop, until: int) -> None:
        nonlocal now
        now += 1
        advance(loop, until)

    monkeypatch.setattr(loop_module.Loop, "_step_until", go)
    monkeypatch.setattr(saving, "LONGEST", 0.0)
    monkeypatch.setattr(loop_module.RunDirectory, "save_checkpoint", save)
    monkeypatch.setattr(loop_module.time, "perf_counter", lambda: now)
    rare = {"eval_interval": 1000, "checkpoint_interval": 1000, "log_interval": 10}
    changes: dict[str, Any] = {"num_envs": 1, "final_episodes": 1, "curve": False, "progress": False}
    Experiment(Stub, out=tmp_path, **rare, **changes).run(steps=100)
    assert len(saved) - 1 == expected and saved[-1] == 100
