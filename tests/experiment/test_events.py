"""TensorBoard events: what a run writes is what TensorBoard reads, also after a resume."""

from pathlib import Path

import pytest

from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment, events
from dbrrl.experiment.loop import Loop

from .stub import Stub


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_run_voids_its_later_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"eval_interval": 100, "log_interval": 50, "final_episodes": 3, "curve": False, "tensorboard": True}
    experiment = Experiment(Stub, steps=400, num_envs=1, out=tmp_path, name="run", **options)  # type: ignore[arg-type]
    monkeypatch.setattr(Loop, "_finish", lambda loop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        experiment.run()
    monkeypatch.undo()
    Experiment.resume(tmp_path / "run").run()
    accumulator = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/norm")] == list(range(50, 401, 50))
    assert [event.step for event in accumulator.Scalars("evaluation/mean")] == [100, 200, 300, 400]
