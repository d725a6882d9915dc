"""Runs with workers on a real local cluster of Ray: the numbers of one process, deaths, and clear words."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.errors import ConfigError, WorkerError
from dbrrl.experiment import Callback, Experiment, Interrupted, Run, ray_cluster, steering
from dbrrl.experiment.loop import Loop
from tests.experiment import ray_odd
from tests.experiment.ray_processes import Kill, alive, below, left, members

try:
    ray_cluster.load()
except ConfigError:
    pytest.skip("needs dbrrl[ray]", allow_module_level=True)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
QUIET = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 5, "eval_episodes": 2}
SMALL = {"num_envs": 8, "n_steps": 16, "steps": 2048, "preset": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"batch_size": 64, "n_epochs": 2, "learning_rate_schedule": "linear"},
    "a2c": {},
    "trpo": {"critic_batch_size": 64, "steps": 256},
}


def train(agent: str = "ppo", env: Any = "Pendulum-v1", **settings: Any) -> Run:
    return Experiment(agent, env, **{**QUIET, **SMALL, **SETTINGS.get(agent, {}), **settings}).run()


def weights(run: Run) -> np.ndarray:
    agent: Any = run.agent
    return np.concatenate([p.array.ravel() for p in agent.network.parameters()])


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: x for name, x in row.items() if name != "elapsed" and "per_second" not in name} for row in rows]


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("agent", SETTINGS)
def test_workers_learn_what_one_process_learns(agent: str, workers: int, cluster: Any) -> None:
    alone, run = train(agent, shares=4), train(agent, shares=4, workers=workers)
    close = 2e-4 if agent == "trpo" else 2e-5
    np.testing.assert_allclose(weights(run), weights(alone), rtol=0, atol=close)
    assert run.scores[-1]["num_updates"] == alone.scores[-1]["num_updates"] > 0
    assert run.scores[-1]["episodes"] == alone.scores[-1]["episodes"]
    assert run.scores[-1]["steps"] == SETTINGS[agent].get("steps", SMALL["steps"])
    row = run.progress[-1]
    assert all(row[f"worker_{i}_steps_per_second"] > 0 for i in range(workers))


@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_one_worker_of_one_share_is_the_usual_run(vectorization: str, cluster: Any) -> None:
    alone = train(env="CartPole-v1", vectorization=vectorization)
    run = train(env="CartPole-v1", vectorization=vectorization, workers=1)
    np.testing.assert_array_equal(weights(run), weights(alone))
    ours, theirs = ([dict(row) for row in without_times(one.scores)] for one in (run, alone))
    for row in ours + theirs:
        del row["explained_variance"]
    assert ours == theirs


@pytest.mark.parametrize(("step", "index"), [(200, 0), (1_000, 1), (1_536, 0)])
def test_a_killed_worker_is_replaced_and_the_run_is_the_same(
    step: int, index: int, cluster: Any, tmp_path: Path
) -> None:
    usual = train(workers=2)
    kill = Kill(step, index)
    settings: dict[str, Any] = {**QUIET, **SMALL, **SETTINGS["ppo"], "workers": 2, "out": tmp_path, "name": "run"}
    with pytest.warns(UserWarning, match=r"worker \d died after step .*: it was replaced"):
        run = Experiment("ppo", "Pendulum-v1", callbacks=[kill], **settings).run()
    assert kill.done
    np.testing.assert_array_equal(weights(run), weights(usual))
    assert without_times(run.scores) == without_times(usual.scores)
    assert "it was replaced" in (tmp_path / "run" / "log.jsonl").read_text()


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_may_be_killed_at_any_moment(seed: int, cluster: Any) -> None:
    moment = np.random.default_rng(seed).uniform(0, 0.6)
    usual = train(workers=2, steps=8_192)

    class Later(Callback):
        def on_start(self, loop: Loop) -> None:
            kill = lambda: os.kill(members()[seed % 2], signal.SIGKILL)  # noqa: E731
            self.timer = threading.Timer(moment, kill)
            self.timer.start()

        def close(self) -> None:
            self.timer.join()

    given: dict[str, Any] = {**QUIET, **SMALL, **SETTINGS["ppo"], "workers": 2, "steps": 8_192}
    with pytest.warns(UserWarning, match="it was replaced"):
        run = Experiment("ppo", "Pendulum-v1", callbacks=[Later()], **given).run()
    np.testing.assert_array_equal(weights(run), weights(usual))
    assert without_times(run.scores) == without_times(usual.scores)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(cluster: Any, tmp_path: Path) -> None:
    usual = train(workers=2)

    class Stop(Callback):
        interval = 1_000

        def on_interval(self, loop: Loop) -> None:
            loop.interruption.requested = True

    settings: dict[str, Any] = {**QUIET, **SMALL, **SETTINGS["ppo"], "workers": 2, "out": tmp_path, "name": "run"}
    with pytest.raises(Interrupted):
        Experiment("ppo", "Pendulum-v1", callbacks=[Stop()], **settings).run()
    run = Experiment.resume(tmp_path / "run", progress=False).run()
    np.testing.assert_array_equal(weights(run), weights(usual))
    assert without_times(run.scores) == without_times(usual.scores)


def test_settings_change_in_all_workers(cluster: Any, tmp_path: Path) -> None:
    class Steer(Callback):
        interval = 500

        def on_interval(self, loop: Loop) -> None:
            if loop.folder is not None and loop.steps < 1_000:
                values = {"learning_rate": "1e-2", "max_grad_norm": "0.01", "n_epochs": "3"}
                steering.request(loop.folder, "set", values, 1_024)

    given: dict[str, Any] = {**QUIET, **SMALL, **SETTINGS["ppo"], "shares": 2, "out": tmp_path}
    runs = {}
    for name, workers in (("alone", None), ("two", 2), ("killed", 2)):
        callbacks: list[Callback] = [Steer(), *([Kill(1_500, 0)] if name == "killed" else [])]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "worker . died")
            experiment = Experiment("ppo", "Pendulum-v1", name=name, workers=workers, callbacks=callbacks, **given)
            runs[name] = experiment.run()
    np.testing.assert_allclose(weights(runs["two"]), weights(runs["alone"]), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(weights(runs["killed"]), weights(runs["two"]))
    assert runs["two"].scores[-1]["num_updates"] == runs["alone"].scores[-1]["num_updates"]
    assert np.abs(weights(runs["two"]) - weights(train(shares=2))).max() > 1e-3


ACTING: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn": ("CartPole-v1", {"prioritized": True, "n_step": 3}),
    "rainbow": ("CartPole-v1", {}),
    "ddpg": ("Pendulum-v1", {"batch_size": 32}),
    "td3": ("Pendulum-v1", {"batch_size": 32}),
    "sac": ("Pendulum-v1", {"batch_size": 32}),
}


def act(agent: str, **settings: Any) -> Experiment:
    """An experiment of 1,200 steps in which one process learns from what two workers act."""
    env, own = ACTING[agent]
    given = {"num_envs": 4, "steps": 1_200, "preset": False, "workers": 2, "push_interval": 64, "buffer_size": 800}
    own = {"learning_starts": 200, "hidden_sizes": (16,), "update_interval": 8} | own
    return Experiment(agent, env, **{**QUIET, **given, **own, **settings})


@pytest.mark.parametrize("agent", ACTING)
def test_what_workers_act_is_learned_from_and_goes_on_bit_for_bit(agent: str, cluster: Any, tmp_path: Path) -> None:
    usual = act(agent).run()
    alone = act(agent, workers=None).run()
    for name in ("steps", "num_updates"):
        assert usual.scores[-1][name] == alone.scores[-1][name]
    learner: Any = usual.agent
    assert learner.steps == 1_200
    row = usual.progress[-1]
    assert 8 <= row["staleness"] <= 3 * 64 / 8
    assert all(row[f"worker_{i}_steps_per_second"] > 0 for i in range(2))

    class Stop(Callback):
        interval = 700

        def on_interval(self, loop: Loop) -> None:
            loop.interruption.requested = True

    with pytest.raises(Interrupted):
        act(agent, out=tmp_path, name="run", callbacks=[Stop()]).run()
    run = Experiment.resume(tmp_path / "run", progress=False).run()
    first, second = run.agent.state_dict(), usual.agent.state_dict()
    assert checkpoint.same(first, second)
    assert without_times(run.scores) == without_times(usual.scores)


def test_how_workers_explore_changes_with_the_settings(cluster: Any, tmp_path: Path) -> None:
    class Steer(Callback):
        interval = 300

        def on_interval(self, loop: Loop) -> None:
            if loop.folder is not None and loop.steps < 400:
                steering.request(loop.folder, "set", {"epsilon": "0.0"}, 600)

    same = {"learning_starts": 1_200, "buffer_size": 2_000, "epsilon": 1.0}  # nothing is learned
    greedy = []
    for settings in ({}, {"out": tmp_path, "name": "run", "callbacks": [Steer()]}):
        agent: Any = act("dqn", **same, **settings).run().agent
        assert agent.num_updates <= 1
        places = np.arange(800, 1_200)  # after the change, and two rounds
        acted = agent.replay.actions[places]
        greedy.append(np.mean(acted == agent.act(agent.replay.take(places)[0], explore=False)))
    assert greedy[0] < 0.65
    assert greedy[1] == 1.0


@pytest.mark.parametrize("agent", ["dqn", "sac"])
def test_the_learner_may_be_on_a_gpu(agent: str, cluster: Any, cuda: None) -> None:
    run, alone = act(agent, device="cuda").run(), act(agent).run()
    assert run.agent.device == "cuda"
    assert run.scores[-1]["steps"] == 1_200
    assert run.scores[-1]["num_updates"] == alone.scores[-1]["num_updates"]


def test_workers_that_learn_on_gpus_need_one_each(cluster: Any, cuda: None, tmp_path: Path) -> None:
    if cluster.cluster_resources().get("GPU", 0):
        pytest.skip("this machine has some")
    with pytest.raises(ConfigError, match="have a GPU each, expected 2 in the cluster, which has 0: give fewer"):
        train(workers=2, device="cuda", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_worker_explores_in_its_own_way(cluster: Any) -> None:
    same = {"learning_starts": 1_200, "buffer_size": 2_000, "epsilon": 0.4, "worker_spread": 7.0}
    agent: Any = act("dqn", **same).run().agent
    places = np.arange(1_200)
    likeliest = agent.act(agent.replay.take(places)[0], explore=False) == agent.replay.actions[places]
    greedy = likeliest.reshape(-1, 4).mean(0)  # environments 0 and 1 are the first worker's
    assert greedy[:2].mean() == pytest.approx(1 - 0.4 / 2, abs=0.05)
    assert greedy[2:].mean() == pytest.approx(1 - 0.4**8 / 2, abs=0.01)


def test_a_worker_that_acted_is_replaced(cluster: Any, tmp_path: Path) -> None:
    kill = Kill(500, 1, "Actor")
    with pytest.warns(UserWarning, match=r"worker \d died after step .*: it was replaced, and begins new episodes"):
        run = act("dqn", out=tmp_path, name="run", callbacks=[kill]).run()
    assert kill.done
    agent: Any = run.agent
    assert agent.steps == run.scores[-1]["steps"] == 1_200
    assert run.scores[-1]["num_updates"] == act("dqn", workers=None).run().scores[-1]["num_updates"]


def test_q_learning_from_two_workers_learns_cart_pole(cluster: Any) -> None:
    means = []
    for seed in range(2):
        settings: dict[str, Any] = {**QUIET, "final_episodes": 50, "workers": 2, "num_envs": 8, "steps": 60_000}
        run = Experiment("dqn", "CartPole-v1", seed=seed, push_interval=64, **settings).run()
        means.append(run.scores[-1]["mean"])
    assert np.mean(means) > 250, means  # at random it is 22


def test_an_error_in_a_worker_ends_the_run_with_its_traceback(cluster: Any) -> None:
    with pytest.raises(WorkerError, match=r"worker \d failed after step .*the wheel came off") as error:
        train(env="tests.experiment.ray_odd:Failing", workers=2)
    assert "ray_odd.py" in str(error.value.__cause__)
    assert not left()


def test_environments_may_be_functions_but_must_be_sendable(cluster: Any) -> None:
    import gymnasium as gym

    limit = 40
    run = train(env=lambda: gym.make("Pendulum-v1", max_episode_steps=limit), workers=2, steps=512)
    assert run.progress[-1]["mean_length"] == 40
    lock = ray_odd.LOCK
    with pytest.raises(ConfigError, match=r"workers: expected an agent, an environment .* sent to other processes"):
        train(env=lambda: (lock, gym.make("Pendulum-v1"))[1], workers=2)
    with pytest.raises(ConfigError, match="already: each worker makes one"):
        train(env=gym.make("Pendulum-v1"), workers=2, num_envs=1)


def test_statistics_of_observations_are_shared(cluster: Any) -> None:
    run = train(workers=2, normalize_observation=True, normalize_reward=True)
    agent: Any = run.agent
    assert agent.observation_norm.statistics.count == SMALL["steps"]
    assert agent.reward_norm.statistics.count == SMALL["steps"] + 8  # and the 0 at which each return begins
    speed = agent.observation_norm.statistics.std[2]
    assert 1 < speed < 4  # of a pendulum that swings by random actions, in rad/s


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 3}, r"num_envs: expected a multiple of shares, which is 3, got 8: give 9"),
        ({"workers": 2, "shares": 1}, r"shares: expected a multiple of workers, which is 2, got 1: give 2"),
        ({"workers": 2, "steps": 2_050}, r"steps: expected a multiple of num_envs, which is 8, got 2,050: give 2,048"),
        ({"workers": 4, "batch_size": 62}, r"batch_size: expected a multiple of shares, which is 4, got 62"),
        ({"workers": 2, "agent": "drqn"}, r"workers: drqn does not learn so: .* such as ppo"),
        ({"workers": 2, "agent": "a3c"}, r"workers: a3c does not learn so"),
        ({"shares": 2, "agent": "dqn"}, r"shares: dqn does not learn so"),
        ({"workers": 2, "shares": 4, "agent": "dqn"}, r"shares: dqn has one share per worker, got 4"),
        ({"workers": 2, "device": "cuda:1"}, r"workers have a GPU each, expected 'cuda' or 'cpu', got 'cuda:1'"),
        ({"ray_address": "127.0.0.1:1"}, r"ray_address: expected workers beside it"),
    ],
)
def test_what_cannot_be_split_is_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    agent = settings.pop("agent", "ppo")
    env = "CartPole-v1" if agent in ("dqn", "drqn", "a3c") else "Pendulum-v1"
    given: dict[str, Any] = {**QUIET, **SMALL, **SETTINGS.get(agent, {}), **settings}
    if agent in ("dqn", "drqn"):
        del given["n_steps"]
    with pytest.raises(ConfigError, match=words):
        Experiment(agent, env, out=tmp_path, **given).run()
    assert not list(tmp_path.iterdir())


def command(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", *arguments]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ | variables, timeout=120)


def test_errors_of_the_cluster_are_one_line(tmp_path: Path) -> None:
    few = command("--workers", "64", "--num-envs", "64", "--no-preset", "--out", str(tmp_path), "--steps", "6400")
    assert few.returncode == 2
    assert "workers: expected at most one per processor, of which there are" in few.stderr
    lost = command("--workers", "2", "--ray-address", "127.0.0.1:1", "--out", str(tmp_path), "--steps", "6400")
    assert lost.returncode == 2
    assert "ray_address: no cluster answers at 127.0.0.1:1" in lost.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_without_ray_the_cure_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray, which is not installed: pip install 'dbrrl\[ray\]'"):
        Experiment("ppo", "Pendulum-v1", workers=2, out=tmp_path, **{**QUIET, **SMALL}).run()
    assert not list(tmp_path.iterdir())


def test_other_versions_on_a_host_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected numpy 1\.0 on every host, as in the process that trains, got"):
        ray_cluster.compare(ray_cluster.versions() | {"numpy": "1.0"})
    ray_cluster.compare(ray_cluster.versions())


def test_a_cluster_at_an_address_has_the_workers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    variables = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2"]
    start += ["--port", address.rpartition(":")[2], "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]
    logs = tempfile.mkdtemp(prefix="ray-")  # paths of sockets in it have to be short
    head = subprocess.Popen([*start, "--temp-dir", logs], stdout=subprocess.DEVNULL, env=os.environ | variables)
    try:
        words = ["--workers", "2", "--ray-address", address, "--steps", "4096", "--num-envs", "8", "--n-steps", "64"]
        words += [
            "--no-preset",
            "--no-curve",
            "--out",
            str(tmp_path / "runs"),
            "--name",
            "run",
            "--final-episodes",
            "2",
        ]
        deadline, done = time.monotonic() + 60, command(*words, **variables)
        while done.returncode and "Connection refused" in done.stderr and time.monotonic() < deadline:
            done = command(*words, **variables)
        assert done.returncode == 0, done.stderr
        assert address not in (tmp_path / "runs" / "run" / "config.toml").read_text()
        few = command(*words[2:], "--workers", "4", "--name", "four", **variables)
        assert "expected at most one per processor of the cluster, which has 2, got 4" in few.stderr
    finally:
        for one in below(head.pid):
            os.kill(one, signal.SIGKILL)
        head.wait()
        shutil.rmtree(logs, ignore_errors=True)


def test_a_killed_run_leaves_nothing_behind_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings = ["--workers", "2", "--num-envs", "8", "--n-steps", "16", "--batch-size", "64", "--steps", "40960"]
    settings += [
        "--no-preset",
        "--final-episodes",
        "5",
        "--no-curve",
        "--eval-interval",
        "2048",
        "--eval-episodes",
        "2",
    ]
    shared = set(os.listdir("/dev/shm"))
    whole = command(*settings, "--out", str(tmp_path), "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    words = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", *settings]
    process = subprocess.Popen(
        [*words, "--out", str(tmp_path), "--name", "killed"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    checkpoints, deadline = tmp_path / "killed" / "checkpoints", time.monotonic() + 60
    while not (checkpoints.exists() and list(checkpoints.glob("*.dbrrl"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    started = below(process.pid)
    assert len(started) > 5  # those of Ray, and two workers
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 150  # two of Ray's own processes try for a minute to tell the dead one of it
    while started & alive().keys() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not started & alive().keys()
    assert set(os.listdir("/dev/shm")) <= shared
    resumed = subprocess.run(
        [sys.executable, "-m", "dbrrl.train", "--resume", str(tmp_path / "killed")],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    final = [(tmp_path / name / "final" / "agent.dbrrl").read_bytes() for name in ("whole", "killed")]
    assert final[0] == final[1]
