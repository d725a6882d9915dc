"""TensorBoard events; they need the tensorboard package and nothing else."""

import importlib.util
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbrrl.errors import ConfigError

from .callbacks import Callback, Row, Running

# Our name of a statistic to its tag and sign in Stable-Baselines3, so that runs of both share a chart.
TAGS = {
    "mean_return": ("rollout/ep_rew_mean", 1),
    "mean_length": ("rollout/ep_len_mean", 1),
    "epsilon": ("rollout/exploration_rate", 1),
    "episodes": ("time/episodes", 1),
    "steps_per_second": ("time/fps", 1),
    "num_updates": ("train/n_updates", 1),
    "entropy": ("train/entropy_loss", -1),
}
TAGS_BY_AGENT = {"ppo": {"policy_loss": ("train/policy_gradient_loss", 1)}}
EVALUATION_TAGS = {"mean": "eval/mean_reward"}
_AXES = ("steps", "elapsed")  # columns that every event already has


class Events(Callback):
    """Writes an event file into `folder`; events of earlier files from `purge_step` on become void."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2, summary_pb2
        self._writer: Any = EventFileWriter(str(folder))
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=purge_step, session_log=start))

    def on_log(self, run: Running, row: Row) -> None:
        """Write the training statistics, as `train/NAME` unless the tables above have a tag."""
        known = TAGS | TAGS_BY_AGENT.get(run.agent.name, {})
        tags = {name: known.get(name, (f"train/{name}", 1)) for name in row}
        self.write(run.steps, {tag: sign * row[name] for name, (tag, sign) in tags.items() if name not in _AXES})

    def on_evaluation(self, run: Running, row: Row) -> None:
        """Write the statistics of the returns, as `eval/NAME` unless the table above has a tag."""
        spread = ("mean", "median", "stdev", "min", "max")
        self.write(run.steps, {EVALUATION_TAGS.get(name, f"eval/{name}"): row[name] for name in spread})

    def write(self, steps: int, row: Mapping[str, float]) -> None:
        """Write the finite numbers of `row`, a mapping from tags."""
        values = [
            self._summary.Summary.Value(tag=tag, simple_value=value)
            for tag, value in row.items()
            if math.isfinite(value)
        ]
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=steps, summary=summary))

    def close(self) -> None:
        """Write buffered events and close the file."""
        self._writer.close()


def make(folder: Path, wanted: bool | None, purge_step: int | None = None) -> Events | None:
    """Return Events in `folder` if `wanted`, or if that is None and tensorboard is installed; errors as `check`."""
    check(wanted)
    return Events(folder, purge_step) if _installed() and wanted is not False else None


def check(wanted: bool | None) -> None:
    """Raise ConfigError if events are wanted and tensorboard is not installed."""
    if wanted and not _installed():
        raise ConfigError('tensorboard: it is not installed: pip install "dbrrl[tensorboard]"')


def _installed() -> bool:
    return importlib.util.find_spec("tensorboard") is not None
