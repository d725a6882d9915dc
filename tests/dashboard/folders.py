"""Run folders as a run leaves them, made without running one."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCORES = ("steps", "episodes", "elapsed", "mean", "median", "stdev", "min", "max")
PROGRESS = ("steps", "episodes", "elapsed", "steps_per_second", "mean_return", "entropy")


def made(
    folder: Path,
    *,
    agent: str = "ppo",
    seed: int = 0,
    means: Sequence[float] = (1.0, 3.0, 2.0),
    ended: str | None = "finished",
    text: str = "",
    alive: bool = False,
    **settings: Any,
) -> Path:
    """Make the folder of a run that was evaluated every 100 steps; `ended`: how, None: not yet."""
    folder.mkdir(parents=True)
    lines = [f'agent = "{agent}"', 'env = "CartPole-v1"', f"seed = {seed}", f"steps = {100 * len(means)}"]
    lines += ["[config]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]
    lines += ["[versions]", 'git_commit = "0123456789abcdef"']
    (folder / "config.toml").write_text("\n".join(lines) + "\n")
    rows = [
        [100 * (i + 1), 10 * (i + 1), 0.5 * (i + 1), mean, mean, 1.0, mean - 1, mean + 1]
        for i, mean in enumerate(means)
    ]
    (folder / "scores.csv").write_text(table(SCORES, rows))
    rows = [[50 * (i + 1), 5 * (i + 1), 0.25 * (i + 1), 100.0, float(i), 0.7 - 0.01 * i] for i in range(2 * len(means))]
    (folder / "progress.csv").write_text(table(PROGRESS, rows))
    events: list[dict[str, Any]] = [
        {"time": 1_700_000_000.0 + seed, "event": "start", "step": 0, "pid": 1, "host": "here"}
    ]
    events += [{"time": 1_700_000_001.0, "event": "say", "text": "first update at step 100"}]
    events += [{"time": 1_700_000_002.0, "event": ended, "text": text}] if ended else []
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if alive:
        (folder / "heartbeat").write_text("\n")
    return folder


def table(columns: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
    """The text of a CSV file."""
    return "".join(",".join(map(str, line)) + "\n" for line in (columns, *rows))


def age(path: Path, seconds: float) -> None:
    """Let a file have been written so many seconds ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
