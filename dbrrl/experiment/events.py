"""TensorBoard events, where the tensorboard package is installed; it alone is needed."""

import importlib.util
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbrrl.errors import ConfigError


class Events:
    """An event file in `folder`; after a resume from `purge_step`, later events of earlier files are void."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2, summary_pb2
        self._writer: Any = EventFileWriter(str(folder))
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=purge_step, session_log=start))

    def write(self, group: str, steps: int, row: Mapping[str, float]) -> None:
        """Add the finite numbers of `row` under `group`."""
        values = [
            self._summary.Summary.Value(tag=f"{group}/{name}", simple_value=value)
            for name, value in row.items()
            if name not in ("steps", "elapsed") and math.isfinite(value)
        ]
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=steps, summary=summary))

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()


def make(folder: Path, wanted: bool | None, purge_step: int | None = None) -> Events | None:
    """Events in `folder` if `wanted`, or if it is None and tensorboard is installed.

    Raises ConfigError where they are wanted and tensorboard is missing.
    """
    installed = importlib.util.find_spec("tensorboard") is not None
    if wanted and not installed:
        raise ConfigError('tensorboard: it is not installed: pip install "dbrrl[tensorboard]"')
    return Events(folder, purge_step) if installed and wanted is not False else None
