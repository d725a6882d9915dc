"""The loop reaches environments through a driver alone, wherever they are stepped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment, build
from dbrrl.experiment.driver import Driver, Episode
from dbrrl.experiment.in_process import InProcess
from dbrrl.experiment.worker import asynchronous

from .stub import Stub

QUIET: dict[str, Any] = {
    "preset": False, "curve": False, "tensorboard": False, "progress": False, "num_envs": 1, "eval_episodes": 1,
    "final_episodes": 1, "eval_interval": 10**6, "log_interval": 50,
}  # fmt: skip


class Elsewhere(InProcess):
    """A driver that could be in another machine: it steps in tens, and reports episodes when it is asked to collect."""

    def __init__(self, plan: Any, steps: int = 0) -> None:
        super().__init__(plan, steps)
        self.late: list[Episode] = []
        self.calls: list[str] = []

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        self.calls.append("advance")
        self.late += super().advance(min(until, self.steps + 10), lambda: False)
        self.consistent = False
        return []

    def collect(self) -> list[Episode]:
        self.calls.append("collect")
        late, self.late = self.late, []
        return late + super().collect()


def experiment(**settings: Any) -> Experiment:
    return Experiment(Stub, **{**QUIET, **settings})


def test_another_driver_gives_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, made = experiment(steps=200).run(), list[Elsewhere]()

    def elsewhere(plan: Any, steps: int) -> Driver:
        made.append(Elsewhere(plan, steps))
        return made[-1]

    monkeypatch.setattr(build, "InProcess", elsewhere)
    found = experiment(steps=200).run()
    assert made[0].calls == 4 * (5 * ["advance"] + ["collect"])
    for one, other in zip(found.progress, expected.progress, strict=True):
        assert {k: v for k, v in one.items() if k not in ("elapsed", "steps_per_second")} == {
            k: v for k, v in other.items() if k not in ("elapsed", "steps_per_second")
        }
    assert found.agent.state_dict()["weights"].tolist() == expected.agent.state_dict()["weights"].tolist()


def test_a_driver_that_fails_and_cannot_recover_saves_nothing_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Lost(InProcess):
        def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
            if self.steps >= 100:
                self.consistent = False
                raise OSError("the machine is gone")
            return super().advance(until, pause)

    monkeypatch.setattr(build, "InProcess", Lost)
    with pytest.raises(OSError, match="the machine is gone") as caught:
        experiment(steps=200, checkpoint_interval=50, out=tmp_path, name="run").run()
    assert caught.value.__notes__[0].startswith("saved at step 100; resume with: ")
    files = sorted(file.stem for file in (tmp_path / "run" / "checkpoints").iterdir())
    assert files == ["step-000000000050", "step-000000000100"]


def test_the_environments_of_this_process_step_once_at_least_and_to_the_step_asked_for() -> None:
    plan = experiment(steps=100, num_envs=4).plan
    driver = InProcess(plan)
    driver.bind(build.new_agent(plan, driver))
    driver.start()
    driver.advance(50, lambda: True)
    assert (driver.steps, driver.consistent) == (4, False)
    driver.advance(50, lambda: False)
    driver.collect()
    assert (driver.steps, driver.consistent) == (52, True)
    driver.advance(100, lambda: False)
    assert driver.steps == 100
    driver.close()


def test_an_agent_that_only_says_it_is_asynchronous_is_refused() -> None:
    plan = experiment(steps=10).plan
    driver = InProcess(plan)
    agent = build.new_agent(plan, driver)
    driver.close()
    with pytest.raises(ConfigError, match=r"Stub is asynchronous, expected .* got none named attach, count, determini"):
        asynchronous(agent)
