"""Runs whose workers play trajectories for IMPALA on a real local cluster of Ray, and wait for nobody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl.errors import ConfigError, WorkerError
from dbrrl.experiment import Callback, Experiment, Interrupted, Run, ray_cluster
from dbrrl.experiment.loop import Loop
from tests.experiment.ray_processes import Kill, left

try:
    ray_cluster.load()
except ConfigError:
    pytest.skip("needs dbrrl[ray]", allow_module_level=True)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
QUIET = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 5, "eval_episodes": 2}
SMALL: dict[str, Any] = {"num_envs": 8, "n_steps": 16, "steps": 2_000, "preset": False, "hidden_sizes": (16,)}
FROM_ONE = ("CartPole-v1", {}), ("Pendulum-v1", {"normalize_observation": True, "normalize_reward": True})


def train(env: Any = "CartPole-v1", **settings: Any) -> Run:
    return Experiment("impala", env, **{**QUIET, **SMALL, "workers": 2, **settings}).run()


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
@pytest.mark.parametrize(("env", "settings"), FROM_ONE)
def test_all_steps_are_learned_from_once(env: str, settings: dict[str, Any], recurrent: str, cluster: Any) -> None:
    run = train(env, recurrent=recurrent, **settings)
    agent: Any = run.agent
    # 2,000 steps are 15 rollouts of 128 and 80 steps more: 40 of each worker, or 16 and 2 trajectories of one.
    assert agent.steps == run.scores[-1]["steps"] == 2_000
    assert 16 <= agent.num_updates <= 18
    for row in run.progress:
        assert 0 <= row["staleness"] <= 8 and np.isfinite(row["mean_ratio"])
    assert max(row["staleness"] for row in run.progress) >= 1
    assert all(run.progress[-1][f"worker_{i}_steps_per_second"] > 0 for i in range(2))
    if settings:
        assert agent.observation_norm.statistics.count == 2_000
        assert 2_000 <= agent.reward_norm.statistics.count <= 2_016  # a return's start at 0 counts, too


def test_episodes_are_all_counted(cluster: Any) -> None:
    run = train("tests.experiment.ray_odd:Tens", steps=4_000)
    # Every episode takes 10 steps and returns 10; one in each environment may be under way at the end.
    assert 392 <= run.scores[-1]["episodes"] <= 400
    assert run.progress[-1]["mean_return"] == run.progress[-1]["mean_length"] == 10


@pytest.mark.parametrize("limit", [2, 4])
def test_a_slow_worker_delays_nobody_but_for_the_limit_of_staleness(limit: int, cluster: Any, tmp_path: Path) -> None:
    uneven = {"env_kwargs": {"folder": str(tmp_path)}}
    run = train("tests.experiment.ray_odd:Uneven", steps=8_000, max_staleness=limit, **uneven)
    stale = [row["staleness"] for row in run.progress if "staleness" in row]
    assert max(stale) == limit
    fast, slow = sorted(run.progress[-1][f"worker_{i}_steps_per_second"] for i in range(2))[::-1]
    assert fast > 3 * slow


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_worker_is_replaced_and_steps_stay_exact(index: int, cluster: Any, tmp_path: Path) -> None:
    kill = Kill(600, index, "Actor")
    with pytest.warns(UserWarning, match=r"worker \d died after step .*: it was replaced, and begins new episodes"):
        run = train(steps=4_000, out=tmp_path, name="run", callbacks=[kill])
    agent: Any = run.agent
    assert kill.done and agent.steps == run.scores[-1]["steps"] == 4_000
    assert "it was replaced" in (tmp_path / "run" / "log.jsonl").read_text()


def test_a_stopped_run_goes_on_without_loss_and_says_so(cluster: Any, tmp_path: Path, capsys: Any) -> None:
    class Stop(Callback):
        interval = 900

        def on_interval(self, loop: Loop) -> None:
            loop.interruption.requested = True

    with pytest.raises(Interrupted):
        train("tests.experiment.ray_odd:Tens", steps=4_000, out=tmp_path, name="run", callbacks=[Stop()], progress=True)
    assert "not repeated bit for bit, and resumed without loss" in capsys.readouterr().out
    run = Experiment.resume(tmp_path / "run", progress=False, trust=True).run()
    agent: Any = run.agent
    assert agent.steps == run.scores[-1]["steps"] == 4_000
    assert 392 <= run.scores[-1]["episodes"] <= 400
    assert 4_000 // 128 <= agent.num_updates <= 4_000 // 128 + 3


def test_a_killed_run_goes_on_without_loss(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dbrrl.train", "--agent", "impala", "--env", "CartPole-v1", "--workers", "2"]
    words += ["--num-envs", "8", "--no-preset", "--steps", "200000", "--eval-interval", "4000", "--eval-episodes", "1"]
    words += ["--final-episodes", "5", "--no-curve", "--out", str(tmp_path), "--name", "killed"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints, deadline = tmp_path / "killed" / "checkpoints", time.monotonic() + 60
    while not (checkpoints.exists() and list(checkpoints.glob("*.dbrrl"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    run = Experiment.resume(tmp_path / "killed", progress=False).run()
    agent: Any = run.agent
    assert agent.steps == run.scores[-1]["steps"] == 200_000


@pytest.mark.parametrize(("env", "settings"), [("CartPole-v1", {}), ("dbrrl/CartPoleHidden-v0", {})])
def test_two_workers_learn_to_balance(env: str, settings: dict[str, Any], cluster: Any) -> None:
    scores = []
    for seed in range(2):
        same: dict[str, Any] = {**QUIET, "final_episodes": 50, "workers": 2, **settings}
        scores.append(Experiment("impala", env, seed=seed, **same).run().score)
    assert np.mean(scores) > 350, scores  # at random it is 22, and no two runs are the same


def test_an_error_in_a_worker_ends_the_run_with_its_traceback(cluster: Any) -> None:
    with pytest.raises(WorkerError, match=r"worker \d failed after step .*the wheel came off") as error:
        train(env="tests.experiment.ray_odd:Failing", steps=8_000)
    assert "ray_odd.py" in str(error.value.__cause__)
    assert not left("Actor")


def test_an_error_of_the_learner_ends_the_run_with_its_own_traceback(cluster: Any, monkeypatch: Any) -> None:
    from dbrrl.agents import IMPALA

    right, calls = IMPALA.update, []

    def failing(self: Any, rollout: Any) -> Any:
        calls.append(rollout)
        if len(calls) == 4:
            raise RuntimeError("the learner slipped")
        return right(self, rollout)

    monkeypatch.setattr(IMPALA, "update", failing)
    with pytest.raises(RuntimeError, match="the learner slipped"):
        train()
    assert not left("Actor")


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_the_learner_may_be_on_a_gpu(recurrent: str, cluster: Any, cuda: None) -> None:
    run = train(device="cuda", recurrent=recurrent, normalize_observation=True)
    agent: Any = run.agent
    assert agent.device == "cuda" and agent.steps == 2_000 and 16 <= agent.num_updates <= 18
    assert agent.observation_norm.statistics.count == 2_000
