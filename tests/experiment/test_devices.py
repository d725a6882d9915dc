"""Which device a run computes on: named and missing, or chosen by the work there is; no GPU is needed to know."""

import contextlib
import dataclasses
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment, benchmark, evaluate, train
from dbrrl.agents import PPO
from dbrrl.backend import arrays as device_arrays
from dbrrl.backend.precision import tf32
from dbrrl.benchmarks.folder import Folder
from dbrrl.benchmarks.suite import Cell
from dbrrl.errors import ConfigError
from dbrrl.experiment import build, command, devices, resolve_plan
from dbrrl.reporting import display
from tests import standin

QUIET: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "preset": False, "final_episodes": 1}


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(device_arrays, "_driver_version", lambda: None)
    device_arrays._cupy.cache_clear()


@pytest.mark.parametrize(
    ("product", "copies", "missing", "device", "reason"),
    [
        (256 * 64 * 64, 0, None, "cpu", "the largest layer has 1 million multiply-adds a batch, below 34 million"),
        (32 * 3136 * 512, 0, None, "cuda", "the largest layer has 51 million multiply-adds a batch, a GPU"),
        (256 * 1024 * 1024, 8, None, "cuda", "the largest layer has 268 million"),
        (0, 63, None, "cpu", "the largest layer has 0 million"),
        (0, 8192, None, "cuda", "8,192 environments step as one array program, from 64 on a GPU is worth it"),
        (0, 8192, "no driver", "cpu", "8,192 environments .* is worth it, but there is none: no driver"),
        (2**26, 0, "no driver", "cpu", "a GPU is worth it, but there is none: no driver"),
    ],
)
def test_the_rule(product: int, copies: int, missing: str | None, device: str, reason: str) -> None:
    chosen, why = devices.choose(product, copies, missing)
    assert chosen == device and re.search(reason, why) and "\n" not in why


def test_small_work_takes_the_cpu_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "64", "--final-episodes", "1", "--no-curve", "--no-tensorboard", "--out", str(tmp_path)]
    assert command.run(train.main, ["--device", "auto", "--name", "a", *options]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("device: cpu: the largest layer has 1 million multiply-adds a batch, below 34 million")
    record = tomllib.loads((tmp_path / "a/config.toml").read_text())
    assert record["device"] == "cpu" and f"device: {record['chosen']['device']}" == line
    assert command.run(train.main, ["--resume", str(tmp_path / "a"), "--steps", "128"]) == 0
    assert command.run(train.main, ["--device", "cpu", "--name", "b", *options]) == 0
    assert "device: " not in capsys.readouterr().out
    assert "device" not in tomllib.loads((tmp_path / "b/config.toml").read_text())["chosen"]


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        ({"num_envs": 2}, "cpu"),
        ({"num_envs": 2, "hidden_sizes": (512, 512)}, "cuda"),
        ({"num_envs": 256, "n_steps": 2}, "cuda"),
        ({"num_envs": 256, "n_steps": 2, "vectorization": "sync"}, "cpu"),
    ],
)
def test_large_work_takes_a_gpu_if_there_is_one(
    settings: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.install(monkeypatch)
    plan = resolve_plan({"agent": "ppo", "device": "auto", "batch_size": 256, **settings}, use_preset=False)
    with contextlib.ExitStack() as stack:
        settled, envs, agent = build.begin(plan, stack)
        assert settled.settings.device == agent.device == device and settled.device_reason
        assert build.full_record(settled, envs)["chosen"]["device"].startswith(f"{device}: ")


def test_without_a_gpu_auto_says_what_is_missing(no_cupy: None, tmp_path: Path) -> None:
    run = Experiment("ppo", device="auto", num_envs=256, n_steps=2, out=tmp_path, **QUIET).run(steps=512)
    assert run.plan.settings.device == "cpu" and run.agent.device == "cpu"
    assert "is worth it, but there is none: 'cuda' needs CuPy, which is not" in run.plan.device_reason


def test_an_asynchronous_agent_stays_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    run = Experiment("a3c", device="auto", num_envs=1, **QUIET).run(steps=20)
    assert run.plan.device_reason == "a3c runs a process per environment on the CPU"
    with pytest.raises(ConfigError, match="a3c shares its weights between processes in memory, expected 'cpu'"):
        Experiment("a3c", device="cuda", num_envs=1, **QUIET).run(steps=20)


def test_what_is_missing_is_one_line_before_anything_is_made(
    no_cupy: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Experiment("ppo", num_envs=1, out=tmp_path, name="a", **QUIET).run(steps=64)
    config = tmp_path / "a/config.toml"
    config.write_text(config.read_text().replace('device = "cpu"', 'device = "cuda"'))
    cell = 'agents = ["ppo"]\nenvs = ["CartPole-v1"]\nsettings = {device = "cuda"}'
    Path("suite.toml").write_text(f"[[cells]]\n{cell}\n")
    before = sorted(tmp_path.rglob("*"))
    for module, words in (
        (train, ["--device", "cuda"]),
        (train, ["--device", "cuda:1", "--agent", "dqn", "--buffer-file", "frames"]),
        (train, ["--resume", "a"]),
        (evaluate, ["a"]),
        (evaluate, ["a/final/agent.dbrrl", "--env", "CartPole-v1", "--device", "cuda"]),
        (benchmark, ["suite.toml", "--seeds", "1"]),
    ):
        capsys.readouterr()
        assert command.run(module.main, words) == 2
        output, errors = capsys.readouterr()
        said = r"error: device: 'cuda(:1)?' needs CuPy, which is not installed: .*gpu13.*\n"
        assert re.fullmatch(said, errors) and not output, words
        assert sorted(tmp_path.rglob("*")) == before
    assert command.run(evaluate.main, ["a", "--device", "cpu", "--episodes", "1"]) == 0
    with pytest.raises(ConfigError, match="needs CuPy"):
        PPO.load(tmp_path / "a/final/agent.dbrrl", device="cuda")


def test_a_benchmark_knows_a_run_whose_device_was_chosen(tmp_path: Path) -> None:
    explicit = {"steps": 64, "num_envs": 1, "final_episodes": 1, "device": "auto", "curve": False}
    plan = Cell("ppo", "CartPole-v1", None, explicit, {}, {}, True).plan(0)
    folder = Folder.open(tmp_path / "b", "x")
    path = folder.run(plan)
    Experiment.from_plan(plan, out=path.parent, name=path.name, shown=display.Quiet()).run()
    assert folder.outdated(plan) is None
    moved = dataclasses.replace(plan, settings=plan.settings.replace(device="cpu", steps=65))
    assert "steps" in str(folder.outdated(moved))
    folder.release()


def test_tf32_is_asked_for_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "64", "--final-episodes", "1", "--no-curve", "--no-tensorboard", "--out", str(tmp_path)]
    with pytest.raises(ConfigError, match="tf32: expected a GPU, which has this type, got the device 'cpu': leave"):
        Experiment("ppo", "CartPole-v1", tf32=True, out=tmp_path, **QUIET).run(steps=64)
    assert not list(tmp_path.iterdir())
    with standin.installed():
        assert command.run(train.main, ["--device", "cuda", "--tf32", "true", *options]) == 0
    assert "tf32: matrix products and convolutions round their factors to 10 bits" in capsys.readouterr().out
    assert not tf32.on


@pytest.mark.slow
def test_a_run_whose_device_was_chosen_goes_on(tmp_path: Path) -> None:
    large = {"batch_size": 16_384, "n_steps": 64, "hidden_sizes": (64, 64), "num_envs": 4}
    with standin.installed():
        run = Experiment("ppo", "CartPole-v1", device="auto", out=tmp_path, **large, **QUIET).run(steps=256)
        assert run.agent.device == "cuda"
        assert Experiment.resume(run.directory, progress=False).run(steps=512).agent.steps == 512
