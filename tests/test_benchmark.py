"""The benchmark command: killed and gone on with, failing runs, folders that are someone else's."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dbrrl import benchmark
from dbrrl.benchmarks.folder import Folder
from dbrrl.experiment import command

ROOT = Path(__file__).parent.parent
SUITE = """
[protocol]
eval_episodes = 2
final_episodes = 2
[[cells]]
agents = ["tests.experiment.stub:Stub"]
envs = [{envs}]
[cells.settings]
steps = {steps}
num_envs = 2
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = command.run(benchmark.main, [str(word) for word in arguments])
        return code, *capfd.readouterr()

    return run


def start(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "dbrrl.benchmark", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "elapsed"} for row in csv.DictReader(file)]


def write_suite(*envs: str, steps: int = 300) -> None:
    Path("own.toml").write_text(SUITE.format(envs=", ".join(f'"{env}"' for env in envs), steps=steps))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_smoke_killed_half_way_and_gone_on_with_gives_the_same_table(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    said = finish(start("smoke", "--seeds", 1, "--jobs", 2, "--out", whole))
    assert re.search(r"3 runs to do, 12,000 steps, 2 at a time: about \d+ s by an estimate", said)
    process = start("smoke", "--seeds", 1, "--jobs", 1, "--out", killed)
    while not list(killed.glob("runs/dqn_*/checkpoints/step-*.dbrrl")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    ended = (killed / "runs/ppo_CartPole-v1_seed0/final/agent.dbrrl").stat().st_mtime_ns
    said = finish(start("smoke", "--seeds", 1, "--jobs", 1, "--out", killed))
    assert "3 runs, 1 done before" in said
    assert (killed / "runs/ppo_CartPole-v1_seed0/final/agent.dbrrl").stat().st_mtime_ns == ended
    assert results(killed) == results(whole) and len(results(whole)) == 30
    assert {row["git_commit"] for row in results(whole)} != {""} != {row["cpu"] for row in results(whole)}
    assert not list(killed.rglob("step-*.dbrrl")) and not list(killed.rglob("*.tmp"))


def test_an_extra_that_is_missing_is_said_once_and_before_any_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    code, output, errors = call("mujoco", "--seeds", 2, "--jobs", 1, "--out", "out")
    assert (code, output.count("\n")) == (2, 1)  # how many runs there are
    assert errors == (
        'error: HalfCheetah-v5 needs a library that is not installed: pip install "dbrrl[mujoco]"; --debug shows the '
        "traceback\n"
    )
    assert not list(Path("out").rglob("config.toml"))


@pytest.mark.slow
def test_a_failed_run_is_reported_and_ends_no_other(call: Call) -> None:
    write_suite("tests.experiment.stub:Breaking", "CartPole-v1")
    code, output, errors = call("own.toml", "--trust", "--jobs", 1, "--out", "out")
    assert code == 2 and "[1/2] tests.experiment.stub:Stub on CartPole-v1, seed 0: score" in output
    lines = errors.splitlines()
    assert lines[0].startswith("warning: tests.experiment.stub:Stub on tests.experiment.stub:Breaking, seed 0 failed: ")
    assert "the motor is stuck" in lines[0] and lines[-1].startswith("error: 1 of 2 runs failed, tracebacks in out/err")
    (kept,) = Path("out/errors").iterdir()
    assert "RuntimeError: the motor\nis stuck" in kept.read_text()
    assert {row["env"] for row in results(Path("out"))} == {"CartPole-v1"}
    code, output, errors = call("own.toml", "--trust", "--jobs", 1, "--out", "out")
    assert code == 2 and "2 runs, 1 done before" in output and "1 of 2 runs failed" in errors


@pytest.mark.slow
def test_a_run_whose_process_is_killed_is_reported_and_a_signal_lets_the_others_save(tmp_path: Path) -> None:
    file, out = tmp_path / "own.toml", tmp_path / "out"
    cell = SUITE.partition("[[cells]]")[2].format(envs='"tests.experiment.stub:Breaking"', steps=300)
    text = SUITE.format(envs='"CartPole-v1"', steps=10**9) + "[[cells]]" + cell
    file.write_text(text + '[cells.env_kwargs]\nhow = "kill"\n')
    process = start(file, "--trust", "--jobs", 2, "--out", out)
    while not list(out.glob("errors/*")) or not list(out.glob("runs/*CartPole*/config.toml")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "its process ended by signal 9 without a word: look for lack of memory" in errors
    assert errors.splitlines()[-1] == "stopped with 0 of 2 runs done; the same command goes on"
    assert "stopping: each run saves where it is" in output
    assert len(list(out.glob("runs/*CartPole*/checkpoints/*.dbrrl"))) == 1


def test_two_commands_cannot_use_one_folder(call: Call, tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "out", "smoke")
    code, _, errors = call("smoke", "--out", "out")
    folder.release()
    assert code == 2 and "out: another benchmark is running here" in errors


def test_a_run_killed_before_it_began_is_begun_anew(call: Call) -> None:
    write_suite("CartPole-v1")
    name = "tests.experiment.stub-Stub_CartPole-v1_seed0"
    Path(f"out/runs/{name}").mkdir(parents=True)
    Path(f"out/runs/{name}/.config.toml.dbrrl-0123456789abcdef.tmp").write_text("half")
    Path("out/benchmark.toml").write_text('suite = "own"\n')
    assert call("own.toml", "--trust", "--out", "out", "--episodes", 1)[0] == 0
    assert [row["evaluation_episodes"] for row in results(Path("out"))] == ["1"] * 10


@pytest.mark.slow
def test_other_settings_are_refused_or_the_runs_renewed(call: Call) -> None:
    write_suite("CartPole-v1")
    assert call("own.toml", "--trust", "--out", "out")[0] == 0
    code, output, _ = call("own.toml", "--trust", "--out", "out")
    assert code == 0 and "1 run, 1 done before" in output and "timing" not in output
    before = results(Path("out"))
    code, _, errors = call("own.toml", "--trust", "--out", "out", "--steps", 200)
    assert code == 2 and "made with other settings: steps is 300 there and 200 now: choose another folder" in errors
    assert results(Path("out")) == before
    code, output, _ = call("own.toml", "--trust", "--out", "out", "--steps", 200, "--renew")
    assert code == 0 and "set aside as out/superseded/" in output
    assert results(Path("out"))[-1]["steps"] == "200" and len(list(Path("out/superseded").iterdir())) == 1
    page = Path("out/report/own.md")
    assert call("own.toml", "--trust", "--out", "out", "--steps", 200, "--seeds", 2)[0] == 0
    assert "other settings" not in page.read_text()
    assert call("own.toml", "--trust", "--out", "out", "--seeds", 1, "--renew")[0] == 0  # the second seed stays
    assert "- Made with other settings than the suite has now: tests.experiment.stub:Stub on Cart" in page.read_text()


def test_what_is_wrong_is_said_in_one_line_and_nothing_is_touched(call: Call) -> None:
    def refused(pattern: str, *arguments: object) -> None:
        code, output, errors = call(*arguments)
        assert code == 2 and re.fullmatch(rf"error: .*{pattern}.*\n", errors), errors
        assert output == ""

    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    Path("file").write_text("x")
    Path("other").mkdir()
    Path("other/benchmark.toml").write_text('suite = "classic"\n')
    refused("unknown suite 'smok'; did you mean 'smoke'", "smok")
    refused("the following arguments are required: SUITE")
    refused("--seeds: expected a whole number of at least 1, got '0'", "smoke", "--seeds", 0)
    refused("--jobs: expected a whole number of at least 1, got 'two'", "smoke", "--jobs", "two")
    refused("--envs: suite smoke has no 'CartPol-v1'; did you mean 'CartPole-v1'", "smoke", "--envs", "CartPol-v1")
    refused("unknown argument '--seed'; did you mean '--seeds'", "smoke", "--seed", 3)
    refused("mine: exists and is no benchmark's folder", "smoke", "--out", "mine")
    refused("file: exists and is no benchmark's folder", "smoke", "--out", "file")
    refused("other: holds the suite 'classic', not 'smoke'", "smoke", "--out", "other")
    refused("file/sub: cannot be made: Not a directory: choose another", "smoke", "--report", "file/sub")
    refused("out/report: is the folder of the report itself", "smoke", "--out", "out", "--report", "out/report")
    assert sorted(path.name for path in Path().iterdir()) == ["file", "mine", "other"]
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "module", "env", "agents"),
    [("atari", "ale_py", "ALE/Pong-v5", ["ppo", "dqn"]), ("mujoco", "mujoco", "Hopper-v5", ["ppo", "a2c"])],
)
def test_the_larger_suites_run(call: Call, suite: str, module: str, env: str, agents: list[str]) -> None:
    pytest.importorskip(module)
    few = ["--steps", 40, "--episodes", 1, "--seeds", 1]
    code, output, errors = call(suite, "--envs", env, "--agents", *agents, *few, "--out", "out")
    assert code == 0, errors
    assert "2 runs done" in output and {row["agent"] for row in results(Path("out"))} == set(agents)
    assert "- Run: 2 of " in Path(f"out/report/{suite}.md").read_text()
