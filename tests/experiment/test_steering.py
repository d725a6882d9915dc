"""Commands to a run that is going on, their answers, and what a resumed run makes of them."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment, checkpoint
from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import Callback, Interrupted, journal, steering
from dbrrl.experiment.callbacks import Running
from dbrrl.experiment.directory import RunDirectory

STEPS = 256
SETTINGS: dict[str, Any] = {
    "steps": STEPS,
    "num_envs": 2,
    "n_steps": 8,
    "batch_size": 16,
    "n_epochs": 2,
    "final_episodes": 2,
    "eval_episodes": 1,
    "eval_interval": 64,
    "checkpoint_interval": 64,
    "log_interval": 32,
    "curve": False,
    "learning_rate": 1e-2,
    "preset": False,
}


class At(Callback):
    """Does something once, at a step; and takes a command of its own."""

    interval = 16
    commands = ("greet",)

    def __init__(self, actions: Mapping[int, Callable[[Path], object]] | None = None) -> None:
        self.actions, self.greeted = dict(actions or {}), []

    def on_interval(self, run: Running) -> None:
        action = self.actions.pop(run.steps, None)
        if action is not None:
            assert run.folder is not None
            action(run.folder)

    def on_command(self, run: Running, name: str, values: Mapping[str, Any]) -> None:
        if "who" not in values:
            raise ConfigError("greet: whom?")
        self.greeted.append((run.steps, values["who"]))


def started(out: Path, actions: Mapping[int, Callable[[Path], object]], name: str = "run", **other: Any) -> Experiment:
    return Experiment("ppo", "CartPole-v1", out=out, name=name, callbacks=[At(actions)], **(SETTINGS | other))


def give(name: str, at: int = 0, **values: Any) -> Callable[[Path], str]:
    return lambda folder: steering.request(folder, name, values, at)


def answers(folder: Path) -> list[tuple[str, str, int, str]]:
    found = [event for event in journal.read(folder / "log.jsonl") if "id" in event and event["event"] != "accepted"]
    return [(event["command"], event["event"], event["step"], event["text"]) for event in found]


def numbers(folder: Path) -> Any:
    """All that a run's numbers are: its tables without times, and the agent's state."""
    tables = []
    for name in ("scores.csv", "progress.csv", "evaluation_episodes.csv"):
        with open(folder / name, newline="") as file:
            rows = [
                {k: v for k, v in row.items() if k not in ("elapsed", "steps_per_second")}
                for row in csv.DictReader(file)
            ]
        tables.append(rows)
    return tables, checkpoint.load(folder / "final" / "agent.dbrrl", kind="agent")


def same(one: Any, other: Any) -> bool:
    return one[0] == other[0] and checkpoint.same(one[1], other[1])


def test_settings_change_at_a_step_and_the_agent_learns_with_them(tmp_path: Path) -> None:
    run = started(tmp_path, {48: give("set", learning_rate=1e-5, entropy_coef=0.1, log_interval=16)}).run()
    assert answers(tmp_path / "run") == [("set", "done", 48, "")]
    assert run.agent.config.learning_rate == 1e-5 and run.agent.config.entropy_coef == 0.1
    assert [row["steps"] for row in run.progress] == [32, *range(64, STEPS + 1, 16)]
    assert [row["learning_rate"] for row in run.progress if row["steps"] > 64] == [1e-5] * 12
    assert os.listdir(tmp_path / "run" / "commands") == []
    plain = started(tmp_path, {}, name="plain").run()
    assert not same(numbers(tmp_path / "run"), numbers(plain.directory))


def test_a_text_is_a_value_as_on_a_command_line(tmp_path: Path) -> None:
    run = started(tmp_path, {48: give("set", learning_rate="linear:1e-3:1e-4", max_grad_norm="none")}).run()
    assert run.agent.config.max_grad_norm is None and str(run.agent.config.learning_rate).startswith("linear")
    assert run.progress[-1]["learning_rate"] < run.progress[-3]["learning_rate"]


@pytest.mark.parametrize(
    "moment", [64, 144, *(pytest.param(step, marks=pytest.mark.slow) for step in (80, 112, 176, 208))]
)
def test_a_run_that_is_killed_repeats_its_commands_bit_for_bit(tmp_path: Path, moment: int) -> None:
    copy = tmp_path / "copy"
    actions: dict[int, Any] = {
        48: give("set", learning_rate=1e-5),
        96: give("evaluate"),
        112: give("set", at=160, entropy_coef=0.5, clip_range=0.01),
        144: give("checkpoint"),
        192: give("set", eval_interval=16),
    }
    before = actions.get(moment)

    def killed(folder: Path) -> None:
        if before is not None:
            before(folder)
        shutil.copytree(folder, copy)

    whole = started(tmp_path, actions | {moment: killed}).run()
    assert whole.directory is not None
    resumed = Experiment.resume(copy, callbacks=[At({step: do for step, do in actions.items() if step > moment})]).run()
    assert same(numbers(whole.directory), numbers(copy))
    done = {(name, step) for name, event, step, _ in answers(copy) if event == "done"}
    late = 128 if moment == 144 else 144  # it was given and not yet carried out: the resumed run does it at once
    assert done == {("set", 48), ("evaluate", 96), ("set", 160), ("checkpoint", late), ("set", 192)}
    assert resumed.agent.config == whole.agent.config


def test_a_run_is_stopped_saved_and_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted, match="stopped and saved at step 80"):
        started(tmp_path, {32: give("set", learning_rate=1e-4), 80: give("stop")}).run()
    assert journal.state(RunDirectory(folder))[0] == "stopped"
    with pytest.raises(RunError, match=r"is not going on, it is stopped .*: resume it first"):
        steering.request(folder, "stop")
    resumed = Experiment.resume(folder).run()
    whole = started(tmp_path, {32: give("set", learning_rate=1e-4)}, name="whole").run()
    assert same(numbers(folder), numbers(whole.directory)) and resumed.agent.config.learning_rate == 1e-4
    with pytest.raises(RunError, match="it is finished: it takes no more commands"):
        steering.request(folder, "evaluate")


def test_a_run_refuses_in_words(tmp_path: Path) -> None:
    given: list[Callable[[Path], str]] = [
        give("set", learning_rat=1),
        give("set", gamma=0.5),
        give("set", learning_rate=-1),
        give("set", learning_rate="fast"),
        give("set", eval_interval=0),
        give("dance"),
        give("greet"),
        give("greet", who="you"),
        give("set", num_envs=4),
        give("set", eval_episodes=10**20),
        give("evaluate", at=STEPS + 1),
    ]
    started(tmp_path, {48: lambda folder: [one(folder) for one in given]}).run()
    found = {(name, text) for name, event, _, text in answers(tmp_path / "run") if event == "refused"}
    texts = "\n".join(sorted(text for _, text in found))
    assert "learning_rat: may not change while a run goes on; did you mean 'learning_rate'" in texts
    assert (
        "gamma: may not change" in texts and "num_envs: may not change" in texts and "unknown command 'dance'" in texts
    )
    assert (
        "learning_rate: expected a number" in texts and "eval_interval: expected" in texts and "greet: whom?" in texts
    )
    assert "eval_episodes: expected" in texts and f"step {STEPS + 1} is after the end of the run, {STEPS}" in texts
    assert [event for name, event, *_ in answers(tmp_path / "run") if name == "greet"] == ["refused", "done"]
    plain = started(tmp_path, {}, name="plain").run()
    assert same(numbers(tmp_path / "run"), numbers(plain.directory))


def test_what_is_no_command_is_refused_or_left_alone(tmp_path: Path) -> None:
    def put(folder: Path) -> None:
        commands = folder / "commands"
        commands.mkdir()
        for index, text in enumerate(
            [
                "{",
                "[]",
                '{"command": 1}',
                '{"command": "set"}',
                '{"command": "set", "values": [1]}',
                "[" * 9999,
                '{"command": "set", "values": {"a": {}}}',
                '{"command": "stop", "at": -1}',
            ]
        ):
            (commands / f"{index}-{'0' * 16}.json").write_text(text)
        (commands / "other.txt").write_text("mine")
        secret = folder.parent / "secret.json"
        secret.write_text('{"command": "stop"}')
        (commands / f"9-{'0' * 16}.json").symlink_to(secret)

    started(tmp_path, {48: put}).run()
    assert [event for _, event, *_ in answers(tmp_path / "run")] == ["refused"] * 8
    assert sorted(os.listdir(tmp_path / "run" / "commands")) == [f"9-{'0' * 16}.json", "other.txt"]


def test_the_form_of_a_command_is_checked_before_it_is_given(tmp_path: Path) -> None:
    refused: list[str] = []

    def wrong(folder: Path) -> None:
        for name, values, at in (
            ("set", {}, 0),
            ("set", {"a": float("nan")}, 0),
            ("stop", {}, -1),
            ("stop", {"a": 1}, 0),
            ("x" * 101, {}, 0),
            ("a\n", {}, 0),
        ):
            with pytest.raises(ConfigError) as error:
                steering.request(folder, name, values, at)
            refused.append(str(error.value))

    started(tmp_path, {48: wrong}).run()
    assert len(refused) == 6 and answers(tmp_path / "run") == []
    with pytest.raises(RunError, match="there is no such run directory"):
        steering.request(tmp_path / "absent", "stop")


def test_done_is_said_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen, append = tmp_path / "run", [], journal.Journal.append

    def look(self: journal.Journal, event: str, **fields: Any) -> None:
        if "id" in fields:
            saved = (folder / "checkpoints" / f"step-{fields['step']:012}.dbrrl").exists()
            seen.append((fields["command"], event, saved))
        append(self, event, **fields)

    monkeypatch.setattr(journal.Journal, "append", look)
    with pytest.raises(Interrupted):
        started(tmp_path, {48: give("checkpoint"), 80: give("stop")}).run()
    assert seen == [
        ("checkpoint", "accepted", False),
        ("checkpoint", "done", True),
        ("stop", "accepted", False),
        ("stop", "done", True),
    ]


def test_a_command_that_fails_is_not_said_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise RunError("the disk is full")

    def filled(folder: Path) -> None:
        monkeypatch.setattr(RunDirectory, "save_checkpoint", full)
        give("checkpoint")(folder)

    with pytest.raises(RunError, match="the disk is full"):
        started(tmp_path, {48: filled}).run()
    events = [event["event"] for event in journal.read(tmp_path / "run" / "log.jsonl") if "id" in event]
    assert events == ["accepted"]


def test_a_file_that_cannot_be_removed_is_answered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering.Inbox, "_remove", lambda self, one: None)
    given = lambda folder: (give("dance")(folder), give("set", learning_rate=1e-4)(folder))  # noqa: E731
    started(tmp_path, {48: given, 96: give("evaluate")}).run()
    assert [event for _, event, *_ in answers(tmp_path / "run")] == ["refused", "done", "done"]


def test_what_was_to_stop_an_earlier_process_does_not_stop_a_later_one(tmp_path: Path) -> None:
    folder, copy = tmp_path / "run", tmp_path / "copy"

    def killed(path: Path) -> None:
        give("stop")(path)
        give("stop", at=192)(path)
        give("set", learning_rate=1e-5)(path)
        shutil.copytree(path, copy)

    with pytest.raises(Interrupted):
        started(tmp_path, {80: killed}).run()
    with pytest.raises(Interrupted, match="stopped and saved at step 192"):
        Experiment.resume(copy).run()
    found = [(name, event, text) for name, event, _, text in answers(copy) if event != "scheduled"]
    earlier = "it was given to a process that ended before: give it again"
    assert found == [("stop", "refused", earlier), ("set", "done", ""), ("stop", "done", "")]
    assert journal.state(RunDirectory(folder))[0] == "stopped"


def test_a_callback_takes_commands_of_its_own(tmp_path: Path) -> None:
    callback = At({48: give("greet", who="world", at=100)})
    Experiment("ppo", "CartPole-v1", out=tmp_path, name="run", callbacks=[callback], **SETTINGS).run()
    assert callback.greeted == [(100, "world")]
    assert answers(tmp_path / "run") == [("greet", "scheduled", 48, "for step 100"), ("greet", "done", 100, "")]


def test_the_content_of_a_request_is_plain_json(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(folder: Path) -> None:
        one = steering.request(folder, "set", {"learning_rate": 1e-3}, 128)
        seen.append(json.loads((folder / "commands" / f"{one}.json").read_text()))

    started(tmp_path, {48: look}).run()
    assert seen == [{"command": "set", "values": {"learning_rate": 1e-3}, "at": 128}]
