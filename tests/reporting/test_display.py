"""Progress of a run on the terminal: bar, lines, nothing."""

import re
from typing import Any

import pytest

from dbrrl.experiment import Experiment
from dbrrl.reporting import display
from tests.experiment.stub import Stub


class Recording(display.Quiet):
    """Keeps what it is told."""

    refresh_every = 0.0

    def __init__(self) -> None:
        self.updates: list[tuple[int, float, float]] = []
        self.others: list[Any] = []

    def start(self, total: int, done: int) -> None:
        self.others.append((total, done))

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        self.updates.append((steps, steps_per_second, mean_return))

    def say(self, line: str) -> None:
        self.others.append(line)

    def close(self) -> None:
        self.others.append("closed")


def test_a_display_is_told_how_far_the_run_is() -> None:
    experiment = Experiment(Stub, steps=400, num_envs=4, curve=False, final_episodes=2)
    shown = experiment.display = Recording()
    experiment.run()
    assert [steps for steps, _, _ in shown.updates] == list(range(4, 401, 4))
    assert all(rate > 0 for _, rate, _ in shown.updates) and shown.updates[-1][2] > 0
    assert shown.others[0].startswith("no preset for ") and shown.others[1] == (400, 0)
    assert shown.others[-1] == "closed" and len(shown.others) == 13


def test_the_bar_prints_lines_above_it_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    bar = display.Bar()
    bar.say("before")
    bar.start(100, 0)
    bar.update(50, 1234.5, 9.87)
    bar.say("in [between]")
    bar.close()
    bar.close()
    bar.warn("odd")
    output, errors = capsys.readouterr()
    assert re.search(r"^before\n(.|\n)*[\r\n]in \[between\]\n", output) and errors == "warning: odd\n"


def test_a_benchmark_has_a_bar_for_all_runs_and_one_for_each_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    bars = display.Bars(slots=2)
    bars.say("before")
    bars.start(3, 0)
    bars.show(0, "ppo on X, seed 0", 50, 100, 1234.5)
    bars.count(1, 125.0)
    bars.say("between")
    bars.warn("odd")
    bars.show(0, "free", 0, 1, 0.0)
    bars.close()
    bars.close()
    output, errors = capsys.readouterr()
    assert output.startswith("before\n") and "between\n" in output and "warning: odd\n" in errors
    assert "0/3 runs" in output and "ppo on X, seed 0, 1,234 steps/s" in output and "1/3 runs" in output


@pytest.mark.parametrize(("wanted", "kind"), [(None, display.Quiet), (True, display.Lines), (False, display.Quiet)])
def test_without_a_terminal_there_is_no_bar(wanted: bool | None, kind: type) -> None:
    assert type(display.for_run(wanted)) is kind
