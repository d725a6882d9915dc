"""Exact resume: real processes killed at any moment end with the bytes of a run that never was."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLED = Path(__file__).with_name("killed.py")
WALL_CLOCK = ("elapsed", "steps_per_second")
SETTINGS = {
    "batched": ["--steps", "15000", "--num-envs", "8"],
    "sync": ["--steps", "6000", "--num-envs", "3", "--vectorization", "sync"],
    "ppo": [
        *("--agent", "ppo", "--no-preset", "--steps", "5200", "--num-envs", "3", "--n-steps", "100"),
        *("--learning-rate-schedule", "linear", "--normalize-observation", "--normalize-reward"),
    ],
    "a3c": [
        *("--agent", "a3c", "--no-preset", "--steps", "9201", "--num-envs", "2", "--n-steps", "7", "--deterministic"),
        *("--rmsprop-eps", "1e-3"),
    ],
    "a2c": [
        *("--agent", "a2c", "--no-preset", "--steps", "9200", "--num-envs", "3", "--n-steps", "7"),
        *("--learning-rate-schedule", "linear", "--normalize-observation", "--normalize-reward"),
    ],
    "reinforce": [
        *("--agent", "reinforce", "--no-preset", "--steps", "5200", "--num-envs", "3", "--n-steps", "40"),
        *("--learning-rate-schedule", "linear", "--normalize-observation", "--normalize-reward"),
    ],
    "trpo": [
        *("--agent", "trpo", "--no-preset", "--steps", "5200", "--num-envs", "3", "--n-steps", "100"),
        *("--normalize-observation", "--normalize-reward"),
    ],
    "impala": [
        *("--agent", "impala", "--no-preset", "--steps", "5200", "--num-envs", "3", "--n-steps", "7"),
        *("--recurrent", "lstm", "--normalize-observation", "--normalize-reward"),
    ],
    "ppo-lstm": [
        *("--agent", "ppo", "--no-preset", "--steps", "5200", "--num-envs", "3", "--n-steps", "50", "--n-epochs", "2"),
        *("--recurrent", "lstm", "--env", "dbrrl/CartPoleHidden-v0", "--batch-size", "100", "--normalize-observation"),
        *("--normalize-reward", "--learning-rate-schedule", "linear"),
    ],
    "a3c-gru": [
        *("--agent", "a3c", "--no-preset", "--steps", "5201", "--num-envs", "2", "--n-steps", "7", "--deterministic"),
        *("--recurrent", "gru", "--recurrent-size", "8"),
    ],
    "sac": [
        *("--agent", "sac", "--no-preset", "--steps", "5200", "--num-envs", "2", "--env", "Pendulum-v1"),
        *("--buffer-size", "1000", "--batch-size", "16", "--hidden-sizes", "16,16", "--prioritized", "--n-step", "3"),
        *("--noise", "ornstein_uhlenbeck", "--learning-starts", "500", "--update-interval", "4"),
    ],
    "sac_discrete": [
        *("--agent", "sac_discrete", "--no-preset", "--steps", "5200", "--num-envs", "2", "--env", "CartPole-v1"),
        *("--buffer-size", "1000", "--batch-size", "16", "--hidden-sizes", "16,16", "--prioritized", "--n-step", "3"),
    ],
    "td3": [
        *("--agent", "td3", "--no-preset", "--steps", "5200", "--num-envs", "2", "--env", "Pendulum-v1"),
        *("--buffer-size", "1000", "--batch-size", "16", "--hidden-sizes", "16,16", "--learning-starts", "500"),
        *("--noise", "ornstein_uhlenbeck", "--update-interval", "4"),
    ],
    "ddpg": [
        *("--agent", "ddpg", "--no-preset", "--steps", "5200", "--num-envs", "2", "--env", "Pendulum-v1"),
        *("--buffer-size", "1000", "--batch-size", "16", "--hidden-sizes", "16,16", "--prioritized", "--n-step", "3"),
        *("--learning-starts", "500", "--update-interval", "4", "--actor-learning-rate", "cosine:1e-3:0"),
    ],
    "tqc": [
        *("--agent", "tqc", "--no-preset", "--steps", "5200", "--num-envs", "2", "--env", "Pendulum-v1"),
        *("--buffer-size", "1000", "--batch-size", "16", "--hidden-sizes", "16,16", "--critics", "3"),
        *("--learning-starts", "500", "--update-interval", "8", "--learning-rate", "linear:1e-3:0"),
    ],
    "objects": [
        *("--agent", "ppo", "--env", "tests.experiment.test_objects:cart", "--no-preset", "--steps", "5200"),
        *("--network", "tests.experiment.test_objects:make_net", "--num-envs", "3", "--n-steps", "100"),
        *("--learning-rate", "cosine:3e-4:0", "--clip-range", "piecewise:0=0.3,0.5=0.1", "--max-grad-norm", "none"),
    ],
    "masks": [
        *("--agent", "dqn", "--no-preset", "--env", "dbrrl/MaskedInfo-v0", "--steps", "5200", "--num-envs", "3"),
        *("--buffer-size", "2000", "--exploration", "ez_greedy", "--update-interval", "16", "--tau", "0.1"),
    ],
    "dqn": [
        *("--agent", "double_dqn", "--no-preset", "--steps", "5200", "--num-envs", "3", "--buffer-size", "2000"),
        *("--prioritized", "--dueling", "--noisy", "--n-step", "3", "--update-interval", "16", "--tau", "0.1"),
    ],
    "her": [
        *("--agent", "dqn", "--no-preset", "--steps", "5200", "--num-envs", "3", "--buffer-size", "2000"),
        *("--env", "dbrrl/BitFlipping-v0", "--her", "true", "--prioritized", "true", "--n-step", "3"),
        *("--update-interval", "16"),
    ],
    "drqn": [
        *("--agent", "drqn", "--no-preset", "--steps", "5200", "--num-envs", "3", "--buffer-size", "2000"),
        *("--env", "dbrrl/CartPoleHidden-v0", "--n-step", "3", "--update-interval", "48", "--recurrent-size", "8"),
    ],
}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")


def command(arguments: Sequence[str | Path], module: Sequence[str | Path] = ("-m", "dbrrl.train")) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, *map(str, module), *map(str, arguments)]
    return subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begin(out: Path, name: str, kind: str) -> list[str]:
    common = ["--agent", "tests.experiment.stub:Stub", "--out", str(out), "--name", name, "--seed", "4"]
    every = ["--eval-interval", "1000", "--eval-episodes", "3", "--final-episodes", "5"]
    return [
        *common,
        *every,
        *SETTINGS[kind],
        "--checkpoint-interval",
        "700",
        "--no-curve",
        "--no-tensorboard",
    ]


def finish(process: subprocess.Popen, timeout: float = 60) -> str:
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return output + errors


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    for file in ("final/agent.dbrrl", "best/agent.dbrrl"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    for file in ("scores.csv", "progress.csv", "evaluation_episodes.csv"):
        assert rows(one / file) == rows(other / file) and len(rows(one / file)) > 5, file
    assert not list(other.rglob("*.tmp"))


def kinds(*default: str) -> pytest.MarkDecorator:
    """The kinds of a test's runs: those of `default`, and the others among the slow tests."""
    others = [pytest.param(kind, marks=pytest.mark.slow) for kind in SETTINGS if kind not in default]
    return pytest.mark.parametrize("whole", [*default, *others], indirect=True, scope="module")


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("whole")
    finish(command(begin(out, "run", request.param)))
    return request.param, out / "run"


def resume_until_finished(run: Path) -> int:
    """Resume to the end; how many exact checkpoints the killed run had left."""
    left = len(list((run / "checkpoints").glob("step-*.dbrrl")))
    said = finish(command(["--resume", run, "--trust"]))
    assert f"resumed {run} at step" in said and "come back equal" not in said
    return left


def newest(run: Path) -> str:
    return max((file.name for file in (run / "checkpoints").glob("step-*.dbrrl")), default="")


@kinds("dqn")
def test_killed_at_random_moments(whole: tuple[str, Path], tmp_path: Path) -> None:
    (kind, reference), run = whole, tmp_path / "run"
    draw, kills = random.Random(kind), 0
    process = command(begin(tmp_path, "run", kind))
    for _ in range(3):
        before = newest(run)
        while newest(run) == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        process = command(["--resume", run, "--trust"])
    _, errors = process.communicate(timeout=60)
    # On a fast machine the last kill may have come after the end.
    assert process.returncode == 0 or "this run is finished" in errors, errors
    assert kills > 0
    assert_same_run(reference, run)


@kinds("dqn")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_while_a_file_is_written(whole: tuple[str, Path], tmp_path: Path, seed: int) -> None:
    (kind, reference), run = whole, tmp_path / "run"
    moment = random.Random(f"{kind}{seed}").randint(6, 38)
    process = command([moment, *begin(tmp_path, "run", kind)], module=[KILLED])
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    resume_until_finished(run)
    assert_same_run(reference, run)


@kinds("sync")
def test_killed_before_the_first_checkpoint(whole: tuple[str, Path], tmp_path: Path) -> None:
    (kind, reference), run = whole, tmp_path / "run"
    command([1, *begin(tmp_path, "run", kind)], module=[KILLED]).communicate(timeout=60)
    assert resume_until_finished(run) == 0
    assert_same_run(reference, run)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux which file is open")
@pytest.mark.parametrize(("ways", "stride"), [("new", 3), ("new,extended", 1)], ids=["some", "all"])
def test_a_run_killed_at_any_of_its_file_operations_goes_on_to_the_same_end(
    tmp_path: Path, ways: str, stride: int
) -> None:
    words = [str(tmp_path), "tests.experiment.stub:Stub", ways, str(stride)]
    outcomes = json.loads(finish(command(words, module=["-m", "tests.experiment.kill_points"]), 600))
    assert [outcome for outcome in outcomes if not outcome["same"]] == []
    assert len(outcomes) > 100 / stride * len(ways.split(",")) / 2


@kinds("sync")
def test_a_signal_saves_and_says_how_to_go_on(whole: tuple[str, Path], tmp_path: Path) -> None:
    (kind, reference), run = whole, tmp_path / "run"
    process = command([*begin(tmp_path, "run", kind), "--checkpoint-interval", "1000000"])
    while not (run / "progress.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM if kind == "sync" else signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("stopped and saved at step ") and errors.count("\n") == 1
    own = " --trust" if kind in ("sync", "batched", "objects") else ""  # with code of this folder
    assert errors.rstrip().endswith(f"resume with: python -m dbrrl.train --resume {run}{own}")
    assert resume_until_finished(run) == 1
    assert_same_run(reference, run)


@pytest.mark.slow
def test_a_finished_run_says_so_and_can_be_extended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish(command([*begin(tmp_path, "run", "batched"), "--steps", "2000"]))
    process = command(["--resume", run, "--trust"])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors == f"error: {run}: this run is finished (2,000 steps): add --steps MORE to train on\n"
    said = finish(command(["--resume", run, "--trust", "--steps", "3500"]))
    assert "schedules keep their end at step 2,000" in said
    assert [row["steps"] for row in rows(run / "scores.csv")][-2:] == ["3000", "3500"]


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = command([*begin(tmp_path, "run", "batched"), "--steps", "1000000000"])
    while not (run / "config.toml").exists():
        time.sleep(0.01)
    second = command(["--resume", run, "--trust"])
    _, errors = second.communicate(timeout=60)
    first.kill()
    first.communicate()
    assert second.returncode == 2 and "another process is training here" in errors
