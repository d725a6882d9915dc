"""Slots, clocks and estimates of many runs side by side; the processes themselves are tested with the command."""

from pathlib import Path
from typing import Any

import pytest

from dbrrl.benchmarks import estimate, pool
from dbrrl.benchmarks.pool import Task
from dbrrl.experiment import resolve_plan
from dbrrl.reporting import display

STUB = {"agent": "tests.experiment.stub:Stub", "steps": 100, "num_envs": 4}


class Fake:
    """A run that goes on for ever."""

    def __init__(self, task: Task, slots: list[int]) -> None:
        self.task, self.slots, self.steps = task, slots, 0


def task(name: str, agent: str = STUB["agent"], seconds_per_step: float = 0.5) -> Task:  # type: ignore[assignment]
    return Task(name, resolve_plan({**STUB, "agent": agent}, use_preset=False), Path(name), seconds_per_step)


def test_an_asynchronous_run_takes_a_slot_per_process_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_Running", Fake)
    assert task("a", "a3c").processes == 4 and task("b").processes == 1
    waiting, running, free = [task("a"), task("b", "a3c"), task("c")], list[Any](), [0, 1]
    pool._start(waiting, running, free, 2)
    assert [(one.task.name, one.slots) for one in running] == [("a", [0]), ("c", [1])] and free == []
    free += [0, 1]
    pool._start(waiting, running, free, 2)
    assert running[-1].task.name == "b" and running[-1].slots == [0, 1] and waiting == [] and free == []
    waiting, free = [task("d", "a3c"), task("e")], [0, 1, 2, 3, 4]
    pool._start(waiting, running, free, 5)
    assert [one.slots for one in running[-2:]] == [[0, 1, 2, 3], [4]]


def test_expected_seconds_are_shared_among_the_slots() -> None:
    tasks = [task("a"), task("b"), task("c", "a3c")]
    assert pool.seconds(tasks, 1) == 150 and pool.seconds(tasks, 2) == (50 + 50 + 2 * 50) / 2
    one = Fake(tasks[0], [0])
    one.steps = 40
    assert pool._seconds_left([tasks[1]], [one], 2) == (50 + 30) / 2  # type: ignore[list-item]


def test_the_time_left_follows_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pool.time, "perf_counter", lambda: now[0])
    clock = pool._Clock(100.0)
    now[0] = 4.0
    assert clock.left(98.5) == 98.5  # too early to tell
    now[0] = 30.0
    assert clock.left(90.0) == 270.0  # three times as long as expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s"), (89, "about 89 s"), (90, "about 2 min"), (3599, "about 60 min"), (7500, "about 2 h 05 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


def test_a_moment_tells_the_speed_and_what_fails_is_left_out() -> None:
    good = resolve_plan({**STUB, "steps": 10**9}, use_preset=False)
    bad = resolve_plan({**STUB, "env": "tests.experiment.stub:Breaking", "steps": 10**9}, use_preset=False)
    dies = resolve_plan({**STUB, "env": "tests.experiment.stub:Breaking"}, env_kwargs={"how": "kill"}, use_preset=False)
    dies = dies.with_steps(10**6)
    found = estimate.measure({"bad": bad, "good": good, "dies": dies, "never": good})
    assert list(found) == ["good"] and 1e-7 < found["good"] < 1e-2


@pytest.mark.slow
def test_the_moment_has_updates_however_late_they_begin() -> None:
    settings: dict[str, Any] = {"steps": 10**9, "batch_size": 256, "hidden_sizes": [256, 256], "num_envs": 1}
    early, late = (
        resolve_plan({"agent": "dqn", "env": "CartPole-v1", **settings, "learning_starts": starts}, use_preset=False)
        for starts in (300, 10**6)
    )
    found = estimate.measure({"early": early, "late": late})
    assert found["late"] > found["early"] / 5  # a step without an update takes less than a tenth
