"""TensorBoard events: what a run writes is what TensorBoard reads, also after a resume."""

from pathlib import Path

import pytest

from dbrrl.errors import ConfigError
from dbrrl.experiment import events


def test_wanted_but_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.importlib.util, "find_spec", lambda name: None)
    assert events.make(tmp_path, None) is None
    assert events.make(tmp_path, False) is None
    with pytest.raises(ConfigError, match="tensorboard: it is not installed: pip install"):
        events.make(tmp_path, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resume_voids_what_came_after_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = events.Events(tmp_path)
    for steps in (10, 20, 30):
        first.write("train", steps, {"steps": steps, "loss": steps / 2, "nan": float("nan")})
    first.close()
    second = events.Events(tmp_path, purge_step=20)
    second.write("train", 25, {"loss": 1.0})
    second.close()
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert accumulator.Tags()["scalars"] == ["train/loss"]
    assert [(e.step, e.value) for e in accumulator.Scalars("train/loss")] == [(10, 5.0), (25, 1.0)]
