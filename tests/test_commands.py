"""The commands as a user meets them: what they print, what they refuse, and how they exit."""

import csv
import errno
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dbrrl import evaluate, plot, train
from dbrrl.experiment import command, evaluation, events, registry, video
from dbrrl.experiment.loop import Loop

STUB = ["--agent", "tests.experiment.stub:Stub"]
QUICK = [*STUB, "--steps", "400", "--eval-episodes", "3", "--final-episodes", "5", "--no-tensorboard"]
BREAKING = ["--env", "tests.experiment.stub:Breaking", "--num-envs", "2"]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def run(module: object, *arguments: object) -> tuple[int, str, str]:
        code = command.run(module.main, [str(word) for word in arguments])  # type: ignore[attr-defined]
        return code, *capsys.readouterr()

    return run


def assert_refused(answer: tuple[int, str, str], pattern: str) -> None:
    code, _, errors = answer
    assert code == 2
    assert re.fullmatch(rf"error: .*{pattern}.*\n", errors), errors


def test_a_run_from_start_to_curve(call: Call) -> None:
    code, output, errors = call(train, *QUICK, "--learning-rate", "0.5", "--name", "a")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[:2] == ["run directory: runs/a", "environments: 8 of CartPole-v1, batched"]
    assert sum("score" in line for line in lines) == 12
    assert re.match(r"tests.*Stub on CartPole-v1, seed 0: score \d+\.\d\d over 5 episodes \(median", lines[-2])
    assert lines[-1].startswith("files in runs/a: ") and Path("runs/a/curve.png").exists()
    config = Path("runs/a/config.toml").read_text()
    assert "learning_rate = 0.5" in config and '[chosen]\nvectorization = "batched"\nthreads = 1' in config


def test_a_run_says_when_it_begins_to_learn_and_that_there_is_no_preset(call: Call) -> None:
    short = ["--eval-interval", "9999", "--final-episodes", "1", "--no-curve", "--no-tensorboard"]
    chain = ["--env", "dbrrl/Chain-v0", *short]
    lines = call(train, *chain, "--steps", "2100")[1].splitlines()
    assert "no preset for ppo on dbrrl/Chain-v0: the defaults, and what is given" in lines
    assert "first update at step 2,048" in lines
    lines = call(train, *chain, "--steps", "64")[1].splitlines()
    assert "first update at step 2,048, after the last of 64: nothing will be learned" in lines
    lines = call(train, "--env", "CartPole-v1", *short, "--steps", "600")[1].splitlines()
    assert "first update at step 512" in lines and not any(line.startswith("no preset") for line in lines)


def test_quiet_prints_the_result_alone(call: Call) -> None:
    code, output, errors = call(train, *QUICK, "--quiet", "--no-curve")
    assert code == 0 and len(output.splitlines()) == 2 and errors == ""


def test_json_prints_events_alone(call: Call) -> None:
    code, output, errors = call(train, *QUICK, "--json", "--no-curve", "--stop-at", "0")
    events = [json.loads(line)["event"] for line in output.splitlines()]
    assert (code, errors) == (0, "") and events[0] == "start"
    assert events[-5:] == ["evaluation", "checkpoint", "evaluation", "checkpoint", "end"]


def test_json_says_the_runs_folder_and_its_final_scores(call: Call) -> None:
    _, output, _ = call(train, *QUICK, "--json", "--no-curve", "--name", "a")
    rows = [json.loads(line) for line in output.splitlines()]
    assert rows[0]["folder"] == rows[-1]["folder"] == "runs/a"
    with Path("runs/a/scores.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    for name in ("mean", "median", "stdev", "min", "max", "evaluation_episodes"):
        assert rows[-1][name] == float(last[name])


def test_help_without_an_agent_lists_the_agents(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        train.main(["--help"])
    assert f"Agents: {', '.join(registry.agent_names())};" in " ".join(capsys.readouterr().out.split())


def test_a_runs_config_repeats_the_run(call: Call) -> None:
    call(train, *QUICK, "--learning-rate", "0.5", "--name", "a")
    call(train, "--trust", "--config", "runs/a/config.toml", "--name", "b")
    call(train, "--trust", "--config", "runs/a/config.toml", "--name", "c", "--seed", "1")
    first, second, third = (Path(f"runs/{name}/final/agent.dbrrl").read_bytes() for name in "abc")
    assert first == second != third


def test_help_lists_the_agents_settings_with_range_and_meaning(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        train.main([*STUB, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--learning-rate X" in text and "how far an update moves the weights" in text
    assert "[a number above 0 and at most 1; default 0.01]" in text and "--num-envs N" in text
    assert "--total-steps" not in text  # it follows from --steps


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--agent", "nope:Agent"], "no module 'nope'"),
        (["--agent", "qqqqq"], "unknown agent 'qqqqq'"),
        ([*STUB, "--env", "CartPol-v1"], "unknown environment 'CartPol-v1'.*CartPole-v1"),
        ([*STUB, "--learning-rat", "1"], "unknown argument '--learning-rat'; did you mean '--learning-rate'"),
        (
            [*STUB, "--learning-rate", "-1"],
            "--learning-rate: expected a number above 0 and at most 1, got -1.0",
        ),
        ([*STUB, "--learning-rate=-1e-3"], "--learning-rate: expected a number above 0"),
        ([*STUB, "--learning-rate", "fast"], "--learning-rate: expected a number .*got 'fast'"),
        ([*STUB, "--learning-rate"], "--learning-rate: expected one argument"),
        ([*STUB, "--steps", "1.5"], "--steps: expected a whole number of at least 1, got 1.5"),
        ([*STUB, "--vectorization", "fast"], "--vectorization: expected one of auto, batched"),
        ([*STUB, "stray"], "unknown argument 'stray': see --help"),
        ([*STUB, "--config", "none.toml"], "none.toml: there is no such file"),
        ([*STUB, "--env-kwargs", "[1]"], "--env-kwargs: expected a JSON table"),
        ([*STUB, "--device", "tpu"], "device: expected"),
        ([*STUB, "--env", "Pendulum-v1"], "stub serves actions of the spaces Discrete, got Box"),
        (["--resume", "nowhere"], "nowhere: there is no such run directory"),
        (["--resume", "nowhere", "--seed", "1"], "--seed: a resumed run keeps its settings"),
        (["--resume", "nowhere", "--out", "there"], "--out: a resumed run keeps its settings"),
        ([*STUB, "--num-envs", "1000000000"], "--num-envs: expected a whole number of at least 1 and at most 100000"),
        (["--resume", "nowhere", "--stepz", "1"], "unknown argument '--stepz'; did you mean '--steps'"),
        (["--total-timesteps", "1000"], "unknown argument '--total-timesteps'; did you mean '--steps'"),
        (["--total-steps", "1000"], "unknown argument '--total-steps'; did you mean '--steps'"),
        (["--lr", "1e-3"], "unknown argument '--lr'; did you mean '--learning-rate'"),
        (["--n-envs", "4"], "unknown argument '--n-envs'; did you mean '--num-envs'"),
        (["--policy", "MlpPolicy"], "unknown argument '--policy': the network follows from the spaces"),
        (["--agent", "dqn", "--exploration-fraction=0.1"], "did you mean '--epsilon-steps'.*not a share of the run"),
        (["--agent", "redq"], "unknown agent 'redq', which is not here yet; for continuous actions: a2c, a3c"),
        (["--env", "Pong-v5"], r"unknown environment 'Pong-v5', did you mean 'ALE/Pong-v5'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call: Call, arguments: list[str], pattern: str) -> None:
    assert_refused(call(train, *arguments), pattern)
    assert not Path("runs").exists()


def test_files_that_are_wrong_are_said_in_one_line(call: Call) -> None:
    Path("bad.toml").write_text("steps = = 3")
    assert_refused(call(train, *STUB, "--config", "bad.toml"), "bad.toml: not a TOML file")
    Path("odd.toml").write_text('[config]\nlearning_rat = 1\n[machine]\ncpu = "x"')
    assert_refused(call(train, *STUB, "--config", "odd.toml"), "odd.toml: unknown setting 'learning_rat'; did you mean")
    for text, said in (
        ("steps = 1.5", "steps: expected a whole number of at least 1, got 1.5"),
        ("[config]\nlearning_rate = -1", "learning_rate: expected a number above 0"),
        ("config = 1", r"config is a table, write \[config\]"),
        ('device = "tpu"', "device: expected"),
        ('agent = "redq"', "unknown agent 'redq'"),
        ('env = "Foo-v1"', "unknown environment 'Foo-v1'"),
    ):
        Path("odd.toml").write_text(text)
        own = [] if "agent" in text else STUB
        assert_refused(call(train, *own, "--config", "odd.toml"), f"odd.toml: {said}")
    assert_refused(call(train, *STUB, "--config", "odd.toml", "--device", "tpu"), "device: expected.*'tpu'")
    call(train, *QUICK, "--name", "a", "--no-curve")
    config = Path("runs/a/config.toml")
    config.write_text(config.read_text().replace("learning_rate = 0.01", "learning_rate = 7"))
    for answer in (call(train, "--resume", "runs/a", "--trust"), call(evaluate, "runs/a", "--trust")):
        assert_refused(answer, "runs/a/config.toml: learning_rate: expected a number above 0 and at most 1, got 7")
    config.write_text(config.read_text().replace('env = "', 'env = "Foo'))
    assert_refused(call(evaluate, "runs/a", "--trust"), "runs/a/config.toml: learning_rate")
    config.write_text(config.read_text().replace("learning_rate = 7", "learning_rate = 0.01"))
    assert_refused(call(evaluate, "runs/a", "--trust"), "runs/a/config.toml: unknown environment 'Foo")
    shutil.rmtree("runs")
    Path("runs").write_text("a file")
    assert_refused(call(train, *QUICK), "runs: no run directory can be made")


def test_a_run_directory_that_exists_is_refused(call: Call) -> None:
    call(train, *QUICK, "--name", "a")
    before = Path("runs/a/final/agent.dbrrl").stat().st_mtime_ns
    assert_refused(call(train, *QUICK, "--name", "a"), "runs/a: exists already")
    assert Path("runs/a/final/agent.dbrrl").stat().st_mtime_ns == before


def test_an_error_of_the_environment_is_one_line_and_nothing_is_lost(call: Call) -> None:
    often = ["--checkpoint-interval", "20", "--eval-interval", "1000", "--name", "a"]
    answer = call(train, *QUICK, *BREAKING, *often)
    said = r"environment 0 .*, step 50, step\(\): raised RuntimeError: the motor is stuck at .*stub.py:\d+: correct"
    assert_refused(answer, rf"{said}.*--resume runs/a --trust; --debug shows the traceback")
    assert len(list(Path("runs/a/checkpoints").iterdir())) == 2
    code, _, errors = call(train, *QUICK, *BREAKING, "--debug", "--name", "b")
    assert code == 2 and errors.startswith("Traceback") and "the motor\nis stuck" in errors


def test_nan_from_the_environment_is_named(call: Call) -> None:
    answer = call(train, *QUICK, *BREAKING, "--env-kwargs", '{"how": "nan"}')
    assert_refused(answer, r"environment 0 \(.*Breaking\), step 50, observation.*nan")


def test_evaluate_repeats_the_final_score(call: Call) -> None:
    _, output, _ = call(train, *QUICK, "--name", "a", "--no-curve")
    score = re.search(r"score (\S+) over", output.splitlines()[-2])
    code, output, errors = call(evaluate, "runs/a", "--trust", "--episodes", "5")
    assert (code, errors) == (0, "") and score is not None
    assert f"mean {score[1]} (95 % interval" in output and "runs/a/final/agent.dbrrl" in output
    named = ["runs/a/final/agent.dbrrl", "--config", "runs/a/config.toml", "--trust"]
    assert call(evaluate, *named, "--episodes", "5")[1].endswith(output.splitlines()[1] + "\n")
    assert "best/agent.dbrrl" in call(evaluate, "runs/a", "--trust", "--best", "--episodes", "2")[1]
    assert call(evaluate, "runs/a", "--trust", "--stochastic", "--seed", "3", "--episodes", "9")[0] == 0


def test_the_rate_of_successes_is_printed(call: Call) -> None:
    words = ["--agent", "tests.experiment.stub:Stub", "--env", "tests.experiment.test_evaluation:Reaching"]
    words += ["--steps", "40", "--no-curve", "--no-tensorboard", "--final-episodes", "30"]
    lines = call(train, *words, "--name", "a")[1].splitlines()
    assert "(5.0 to 5.0, 30 episodes, success rate 0.333)" in lines[-3]
    assert "5.00 to 5.00, success rate 0.333) after 40 steps" in lines[-2]
    _, output, errors = call(evaluate, "runs/a", "--trust", "--episodes", "60")
    assert output.endswith("\nsuccess rate 0.333 (20 of 60 episodes)\n") and errors == ""
    end = json.loads(call(train, *words, "--name", "b", "--json")[1].splitlines()[-1])
    assert end["event"] == "end" and end["success_rate"] == pytest.approx(1 / 3)


def test_evaluate_takes_the_newest_checkpoint_of_a_run_under_way(call: Call) -> None:
    call(train, *QUICK, *BREAKING, "--checkpoint-interval", "20", "--eval-interval", "1000", "--name", "a")
    assert "a/checkpoints/step-0000000000" in call(evaluate, "runs/a", "--trust", "--episodes", "3")[1]
    newest = max(Path("runs/a/checkpoints").iterdir())
    assert str(newest) in call(evaluate, newest, "--config", "runs/a/config.toml", "--trust", "--episodes", "3")[1]


def test_evaluate_takes_the_final_agent_until_its_run_goes_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call(train, *QUICK, "--name", "a")
    assert "final/agent.dbrrl" in call(evaluate, "runs/a", "--trust", "--episodes", "3")[1]
    monkeypatch.setattr(Loop, "_finish", lambda loop: 1 / 0)
    assert call(train, "--resume", "runs/a", "--trust", "--steps", "800", "--quiet")[0] == 2
    assert "a/checkpoints/step-000000000800" in call(evaluate, "runs/a", "--trust", "--episodes", "3")[1]
    max(Path("runs/a/checkpoints").iterdir()).write_bytes(b"")
    assert "final/agent.dbrrl" in call(evaluate, "runs/a", "--trust", "--episodes", "3")[1]


def test_evaluate_refuses_what_does_not_fit(call: Call) -> None:
    call(train, *QUICK, "--name", "a")
    alone = Path("alone.dbrrl")
    alone.write_bytes(Path("runs/a/final/agent.dbrrl").read_bytes())
    assert_refused(call(evaluate, alone), "names no environment: add --env NAME")
    assert_refused(call(evaluate, alone, "--env", "CartPole-v1"), "holds the agent 'stub': add --agent")
    assert_refused(call(evaluate, alone, *STUB, "--env", "Acrobot-v1"), "made for the observation space")
    assert call(evaluate, alone, *STUB, "--env", "CartPole-v1", "--episodes", "3")[0] == 0
    assert_refused(call(evaluate, "nowhere"), "nowhere: there is no such run directory")
    assert_refused(call(evaluate, "runs/a", "--episodes", "0"), "--episodes: expected a whole number of at least 1")
    alone.write_bytes(alone.read_bytes()[:-9])
    assert_refused(call(evaluate, alone, *STUB, "--env", "CartPole-v1"), "alone.dbrrl: damaged")


def test_an_agent_is_evaluated_without_its_replay_buffer(call: Call) -> None:
    Path("disk").mkdir()
    words = ["--agent", "dqn", "--env", "CartPole-v1", "--no-preset", "--steps", "200", "--learning-starts", "50"]
    words += ["--buffer-file", "disk/frames", "--buffer-size", "300", "--final-episodes", "3", "--no-curve"]
    code, output, _ = call(train, *words, "--no-tensorboard", "--name", "a")
    final = re.search(r"score (\S+) over", output)
    Path("disk").rmdir()
    code, output, errors = call(evaluate, "runs/a", "--trust", "--episodes", "3")
    assert (code, errors) == (0, "")
    assert final is not None and f"mean {final[1]} (95 % interval" in output


def test_videos_are_written_and_never_over_another_file(call: Call) -> None:
    pytest.importorskip("pygame")
    call(train, *QUICK, "--name", "a")
    code, output, errors = call(evaluate, "runs/a", "--trust", "--video", "v.gif", "--episodes", "2")
    assert (code, errors) == (0, "") and output.endswith("video of one episode: v.gif\n")
    with Image.open("v.gif") as film:
        assert film.size == (600, 400) and film.n_frames >= 5  # type: ignore[attr-defined]
    assert [path.name for path in Path().glob("*v*.gif")] == ["v.gif"]
    if importlib.util.find_spec("moviepy"):
        assert call(evaluate, "runs/a", "--trust", "--video", "v.mp4", "--episodes", "2")[0] == 0
        assert Path("v.mp4").read_bytes()[4:8] == b"ftyp" and not list(Path().glob(".*"))
    Path("there.gif").write_bytes(b"mine")
    assert_refused(call(evaluate, "runs/a", "--trust", "--video", "there.gif"), "there.gif: exists already")
    assert_refused(call(evaluate, "runs/a", "--trust", "--video", "v.avi"), r"ends in .gif or .mp4")
    assert_refused(call(evaluate, "runs/a", "--video", "no/v.gif", "--trust"), "no/v.gif: there is no folder no")
    assert Path("there.gif").read_bytes() == b"mine"


def test_a_video_that_cannot_be_made_is_refused_before_an_episode_is_played(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(train, *QUICK, "--name", "a", "--no-curve")
    monkeypatch.setattr(evaluation, "evaluate", None)
    monkeypatch.setitem(sys.modules, "pygame", None)
    for name in ("v.gif", "v.mp4"):
        answer = call(evaluate, "runs/a", "--trust", "--video", name)
        assert_refused(answer, r'CartPole-v1 needs a library that is not installed: pip install "dbrrl\[video\]"')
    monkeypatch.setattr(video, "frame", lambda envs: None)
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    answer = call(evaluate, "runs/a", "--trust", "--video", "v.mp4")
    assert_refused(answer, r'v.mp4: needs moviepy: pip install "dbrrl\[video\]", or choose .gif')


@pytest.mark.parametrize("words", [["--tensorboard", "true"], ["--tensorboard"]])
def test_events_without_tensorboard_are_refused_before_a_folder_is_made(
    call: Call, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_installed", lambda: False)
    assert_refused(call(train, *QUICK[:-1], *words), r'tensorboard: it is not installed: pip install "dbrrl\[tensorb')
    assert not Path("runs").exists()
    call(train, *QUICK, "--name", "a", "--no-curve")
    config = Path("runs/a/config.toml")
    config.write_text(config.read_text().replace("tensorboard = false", "tensorboard = true"))
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert_refused(call(train, "--resume", "runs/a", "--trust", "--steps", "800"), "tensorboard: it is not installed")
    assert before == {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}


def test_a_video_that_cannot_be_written_is_said(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    call(train, *QUICK, "--name", "a", "--no-curve")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Image.Image, "save", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    answer = call(evaluate, "runs/a", "--trust", "--video", "v.gif", "--episodes", "2")
    assert_refused(answer, "v.gif: cannot be written: Read-only file system")


def test_plot_draws_and_never_over_another_file(call: Call) -> None:
    for seed in ("0", "1"):
        call(train, *QUICK, "--seed", seed, "--name", seed, "--no-curve")
    call(train, *QUICK, "--learning-rate", "0.5", "--name", "other", "--no-curve")
    code, output, errors = call(plot, "runs/0", "runs/1", "runs/other", "--out", "c.svg")
    assert (code, errors) == (0, "") and output == "3 runs in 2 lines: c.svg\n"
    assert "<svg" in Path("c.svg").read_text()
    assert_refused(call(plot, "runs/0", "--out", "c.svg"), "c.svg: exists already")
    assert call(plot, "runs/0", "--out", "c.svg", "--overwrite", "--x", "time")[0] == 0
    assert_refused(call(plot, "runs/0", "--out", "c.bmp"), "ends in .png, .svg or .pdf")
    assert_refused(call(plot, "runs/0", "--x", "years"), "invalid choice: 'years'")
    assert_refused(call(plot, "runs/nowhere"), "there is no such run directory")
    assert call(plot, "runs/0", "--out", "one.png")[1] == "1 run in 1 line: one.png\n"
    grouped = ["--group-by", "agent", "learning_rate", "--smooth", 3, "--out", "g.svg"]
    assert call(plot, "runs/0", "runs/1", "runs/other", *grouped)[1] == "3 runs in 2 lines: g.svg\n"
    for label in ("tests.experiment.stub:Stub, learning_rate=0.01 (2 seeds)", "learning_rate=0.5 (1 seed)"):
        assert f"{label} -->" in Path("g.svg").read_text()
    together = call(plot, "runs/0", "runs/1", "runs/other", "--group-by", "agent", "--out", "t.svg")
    assert together[1] == "3 runs in 1 line: t.svg\n"
    call(train, *QUICK, "--max-episode-steps", "50", "--name", "short", "--no-curve")
    assert call(plot, "runs/0", "runs/short", "--out", "s.svg")[1] == "2 runs in 2 lines: s.svg\n"
    by_task = call(plot, "runs/0", "runs/short", "--group-by", "max_episode_steps", "env_kwargs", "--out", "k.svg")
    assert by_task[1] == "2 runs in 2 lines: k.svg\n"
    assert call(plot, "runs/0", "./runs/0", "--out", "twice.svg")[1] == "1 run in 1 line: twice.svg\n"
    assert_refused(call(plot, "runs/0", "--group-by", "learning_rat"), "no setting 'learning_rat'; did you mean 'learn")
    assert_refused(call(plot, "runs/0", "--smooth", "0"), "--smooth: expected a whole number of at least 1, got '0'")
    Path("runs/0/scores.csv").write_text("steps,score\n1,2\n")
    assert_refused(call(plot, "runs/0", "--out", "odd.png"), "lacks the column 'mean'")


@pytest.mark.slow
def test_plot_counts_seeds_and_leaves_out_what_does_not_fit(call: Call) -> None:
    for seed, rate in itertools.product(("0", "1", "2"), ("0.5", "0.1")):
        call(train, *QUICK, "--seed", seed, "--learning-rate", rate, "--name", f"{seed}-{rate}", "--no-curve")
    runs = sorted(str(path) for path in Path("runs").iterdir())
    assert call(plot, *runs, "--group-by", "agent", "--out", "g.svg")[:2] == (0, "6 runs in 1 line: g.svg\n")
    assert "(3 seeds, 6 runs) -->" in Path("g.svg").read_text()

    shutil.copytree("runs/0-0.5", "runs/copy")
    Path("runs/empty").mkdir()
    Path("runs/notes.txt").write_text("mine")
    shutil.copytree("runs/1-0.5", "runs/young")
    Path("runs/young/scores.csv").unlink()
    shutil.copytree("runs/2-0.5", "runs/short")
    scores = Path("runs/short/scores.csv")
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:2]))
    for name, file, content in (
        ("torn", "config.toml", b"a = ["),
        ("bytes", "scores.csv", b"\xff\xfe\x00"),
        ("text", "config.toml", b'seed = "a"'),
        ("flat", "config.toml", b"config = 1"),
        ("other", "scores.csv", b"steps,score\n1,2\n"),
    ):
        shutil.copytree("runs/1-0.5", f"runs/{name}")
        Path("runs", name, file).write_bytes(content)
    every = sorted(str(path) for path in Path("runs").iterdir())
    code, output, errors = call(plot, *every, "--out", "h.svg", "--labels", "fast", "slow", "--title", "Both rates")
    assert (code, output) == (0, "6 runs in 2 lines: h.svg\n")
    for line in (
        "left out runs/copy: a copy of runs/0-0.5: the same seed, settings and scores",
        "left out runs/empty: not a run directory, or one that never started: it has no config.toml",
        "left out runs/notes.txt: not the folder of a run",
        "left out runs/young: has no evaluation yet",
        "left out runs/short: ends at step 40, the others of its line at 400",
        "left out runs/torn/config.toml: not a TOML file",
        "left out runs/bytes/scores.csv: cannot be read: not a text file",
        "left out runs/text: seed: expected a whole number, got 'a'",
        "left out runs/flat: config is a table",
        "left out runs/other: its table of scores lacks the column 'mean'",
    ):
        assert line in errors
    assert "<!-- fast (3 seeds) -->" in Path("h.svg").read_text() and "<!-- Both rates -->" in Path("h.svg").read_text()
    assert_refused(call(plot, *runs, "--labels", "one", "--out", "i.svg"), "--labels: expected 2, one for each of")
    assert_refused(call(plot, "runs/young", "--out", "i.svg"), "expected a run to draw, got runs/young: has no")


def test_a_process_ends_with_the_code_and_no_traceback(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    words = [sys.executable, "-W", "error", "-m", "dbrrl.train", "--steps", "0"]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ")
