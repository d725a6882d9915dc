"""TensorBoard events: what a run writes is what TensorBoard reads, also after a resume."""

import math
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
        first.write(steps, {"train/loss": steps / 2, "train/nan": float("nan")})
    first.close()
    second = events.Events(tmp_path, purge_step=20)
    second.write(25, {"train/loss": 1.0})
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
    Experiment.resume(tmp_path / "run", trust=True).run()
    accumulator = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/norm")] == list(range(50, 401, 50))
    assert [event.step for event in accumulator.Scalars("eval/mean_reward")] == [100, 200, 300, 400]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_has_the_tags_that_users_of_stable_baselines3_know(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"final_episodes": 2, "eval_episodes": 2, "curve": False, "tensorboard": True}
    run = Experiment("ppo", "CartPole-v1", steps=2000, out=tmp_path, name="run", **options).run()  # type: ignore[arg-type]
    accumulator = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    accumulator.Reload()
    known = {  # as PPO of Stable-Baselines3 2.9 logs them
        "rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "eval/mean_reward", "train/approx_kl",
        "train/clip_fraction", "train/entropy_loss", "train/explained_variance", "train/learning_rate",
        "train/n_updates", "train/policy_gradient_loss", "train/value_loss",
    }  # fmt: skip
    assert known <= set(accumulator.Tags()["scalars"])
    columns = {"rollout/ep_rew_mean": "mean_return", "rollout/ep_len_mean": "mean_length"}
    for tag, column, sign in [("train/entropy_loss", "entropy", -1), *((tag, columns[tag], 1) for tag in columns)]:
        got = [event.value for event in accumulator.Scalars(tag)]
        wanted = [sign * row[column] for row in run.progress if math.isfinite(row.get(column, math.nan))]
        assert got == pytest.approx(wanted, rel=1e-6)
    ended = [row for row in run.progress if math.isfinite(row["mean_return"])]
    assert ended and all(row["mean_length"] == row["mean_return"] for row in ended)  # CartPole gives 1 for each step
