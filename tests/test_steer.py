"""The command that steers a run, on a run of another process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dbrrl import steer
from dbrrl.errors import ConfigError, RunError


@pytest.mark.slow
def test_a_run_of_another_process_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", "--steps", "100000000"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path), "--name", "run", "--no-curve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = str(tmp_path / "run")
    try:
        assert process.stdout is not None
        assert any(line.startswith("environments:") for line in iter(process.stdout.readline, ""))
        steer.main([run, "set", "learning_rate=1e-5", "entropy_coef=0.01"])
        steer.main([run, "evaluate"])
        steer.main([run, "set", "eval_episodes=3", "--at", "90000000"])
        with pytest.raises(RunError, match="refused: gamma: may not change"):
            steer.main([run, "set", "gamma=0.5"])
        steer.main([run, "checkpoint", "--wait", "0"])
        steer.main([run, "stop"])
        assert process.wait(60) == 130 and process.stderr is not None
        assert "resume with: python -m dbrrl.train --resume" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("set learning_rate=1e-05 entropy_coef=0.01: done at step ")
    assert said[1].startswith("evaluate: done at step ") and ": scheduled at step " in said[2]
    assert said[3].startswith("given: ") and said[4].startswith("stop: done at step ")
    with pytest.raises(RunError, match="not going on, it is stopped"):
        steer.main([run, "evaluate"])
    steer.main([run, "history"])
    history = capsys.readouterr().out
    assert history.count("\n") == 6 and "set gamma=0.5: refused at step" in history and "for step 90,000,000" in history


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent", "stop"], "there is no such run directory"),
        (["absent", "history"], "there is no such run directory"),
        (["absent", "set", "x"], "'x': expected NAME=VALUE"),
        (["absent", "stop", "--at", "-1"], "expected a whole number"),
        (["absent", "stop", "--weit", "1"], "did you mean '--wait'"),
    ],
)
def test_a_wrong_command_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises((ConfigError, RunError), match=message):
        steer.main(words)


def test_without_an_answer_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "log.jsonl").write_text('{"event": "start"}\n')
    (tmp_path / "heartbeat").write_text("\n")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(RunError, match="no answer in 1 s"):
        steer.main([str(tmp_path), "stop", "--wait", "1"])


def test_a_command_that_is_accepted_and_takes_long_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "heartbeat").write_text("\n")
    accepted = '{"event": "accepted", "id": "7-a", "command": "evaluate", "values": {}, "step": 3}\n'
    (tmp_path / "log.jsonl").write_text('{"event": "start"}\n' + accepted)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(steer.steering, "request", lambda *given: "7-a")
    with pytest.raises(RunError, match="evaluate: accepted at step 3, and not done in 1 s"):
        steer.main([str(tmp_path), "evaluate", "--wait", "1"])
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / f"8-{'0' * 16}.json").write_text('{"command": "set", "values": {"tau": 1}}')
    (tmp_path / "commands" / f"9-{'0' * 16}.json").write_text("{")
    steer.main([str(tmp_path), "history"])
    said = capsys.readouterr().out
    assert said == "evaluate: accepted at step 3\nset tau=1: given, not yet answered\n"


def test_values_are_json_or_texts() -> None:
    assert steer._values(["a=1", "b=1e-3", "c=true", "d=linear:1:0", "e=", "f=null"]) == {
        "a": 1,
        "b": 1e-3,
        "c": True,
        "d": "linear:1:0",
        "e": "",
        "f": None,
    }
