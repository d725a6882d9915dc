"""Asynchronous runs: exact budgets, the order of commits, workers that die, and nothing left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl.agents import A3C
from dbrrl.errors import WorkerError
from dbrrl.experiment import Experiment, Run, command, worker
from dbrrl.experiment.interruption import Interruption, ignored_by_children
from dbrrl.experiment.workers import Workers
from tests.agents.prepared import PreparedA3C

ROOT = Path(__file__).parents[2]
QUIET = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 5, "eval_interval": 1_000_000}
SHARED_MEMORY = Path("/dev/shm")


def train(steps: int, *, num_envs: int = 2, env: str = "CartPole-v1", agent: Any = "a3c", **settings: Any) -> Run:
    return Experiment(agent, env, preset=False, num_envs=num_envs, steps=steps, **{**QUIET, **settings}).run()


def named_blocks(*pids: int) -> list[str]:
    """The shared memory and semaphores of processes that have a name, by which they outlive a kill."""
    maps = [Path(f"/proc/{pid}/maps") for pid in pids]
    lines = [line for file in maps if file.exists() for line in file.read_text().splitlines()]
    return [line for line in lines if str(SHARED_MEMORY) in line and not line.endswith("(deleted)")]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Any:
    yield
    assert not multiprocessing.active_children()
    assert not named_blocks(os.getpid())


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_steps_are_exact_over_all_workers(deterministic: bool) -> None:
    run = train(1_003, num_envs=3, deterministic=deterministic)
    agent: Any = run.agent
    steps = [agent.learner(i).steps for i in range(3)]
    assert sum(steps) == 1_003 == run.scores[-1]["steps"]
    assert sum(one.num_updates for one in agent.learners.values()) == agent.num_updates > 150
    assert agent.shared["learned"].tolist() == [5 * agent.learner(i).num_updates for i in range(3)]
    if deterministic:
        assert steps == [335, 334, 334]
    left = 1 - (agent.shared["learned"].sum() - 5) / 1_003
    rates = [one.latest["learning_rate"] for one in agent.learners.values()]
    commits = 0 if deterministic else 3  # of others, between reading the count and committing
    assert min(rates) == pytest.approx(7e-4 * left, rel=0.02, abs=7e-4 * 5 * commits / 1_003)


@pytest.mark.parametrize(("env", "kind"), [("CartPole-v1", A3C), ("Pendulum-v1", A3C), ("CartPole-v1", PreparedA3C)])
def test_processes_that_commit_in_turn_are_learners_in_one_process(env: str, kind: Any) -> None:
    run = train(905, env=env, agent=kind, deterministic=True, seed=3)
    agent: Any = run.agent
    plan = run.plan
    envs = [worker.environments(plan, i) for i in range(2)]
    twin: Any = plan.agent_class(
        agent.observation_space, agent.action_space, plan.config, num_envs=2, seed=plan.settings.seed
    )
    for one in envs:
        one.reset()
    for t in range(905):
        i = t % 2
        step = envs[i].step(twin.learner(i).act(envs[i].observation))
        twin.learner(i).observe(step.next_observation, step.reward, step.terminated, step.truncated)
    for name, vector in agent.shared.items():
        np.testing.assert_array_equal(vector, twin.shared[name])
    assert agent.num_updates == 180
    if kind is PreparedA3C:
        assert agent.shared["buffers.running.batches"] == 180


def test_the_agent_works_on_memory_of_its_own_after_the_run() -> None:
    run = train(100)
    action = run.agent.act(np.zeros((2, 4), np.float32))
    run.agent.observe(np.zeros((2, 4), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
    assert action.shape == (2,)


def test_a_worker_that_fails_ends_the_run_with_its_own_traceback() -> None:
    with pytest.raises(WorkerError, match=r"worker [01] died in its step 50: .*the motor is stuck") as caught:
        train(10_000, env="tests.experiment.stub:Breaking")
    assert "raise RuntimeError" in str(caught.value.__cause__) and "stub.py" in str(caught.value.__cause__)
    line = command.one_line(caught.value)
    assert "\n" not in line and line.endswith("--debug shows the traceback")


def test_a_worker_that_is_killed_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    advance, killed = Workers.advance, []

    def kill(self: Workers, until: int, pause: Any) -> Any:
        if self.steps >= 500 and not killed:
            killed.append(self.processes[1].pid)
            os.kill(killed[0], signal.SIGKILL)
        return advance(self, until, pause)

    monkeypatch.setattr(Workers, "advance", kill)
    with pytest.raises(WorkerError, match=r"worker 1 ended by signal 9 in its step \d+"):
        train(100_000)


def test_what_keeps_a_process_from_starting_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", refuse)
    with pytest.raises(OSError, match="no more processes"):
        train(100)


@pytest.mark.skipif(os.name != "posix", reason="asks POSIX whether a process is there")
def test_environments_may_have_processes_and_are_closed(tmp_path: Path) -> None:
    settings = QUIET | {"preset": False, "num_envs": 2, "env_kwargs": {"folder": str(tmp_path)}}
    Experiment("a3c", "tests.experiment.stub:Attended", steps=100, **settings).run()  # type: ignore[arg-type]
    notes = [path.name.split(".") for path in tmp_path.iterdir()]
    assert len(notes) >= 4 and {kind for _, kind in notes} == {"process"}  # two workers' beside the parent's own
    for pid, _ in notes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no masks")
def test_a_signal_while_processes_start_is_heeded_afterwards() -> None:
    with Interruption() as interruption:
        with ignored_by_children():
            os.kill(os.getpid(), signal.SIGINT)  # waits, or goes to another thread at once
        assert interruption.requested


def start(out: Path, *arguments: str) -> subprocess.Popen:
    words = ["--agent", "a3c", "--no-preset", "--num-envs", "2", "--no-curve", "--no-tensorboard"]
    words += ["--steps", "10000000"]
    line = [sys.executable, "-m", "dbrrl.train", *words, "--out", str(out), "--name", "run", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        line, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@pytest.mark.skipif(os.name != "posix", reason="a terminal's Ctrl-C goes to a process group")
def test_ctrl_c_of_a_terminal_reaches_workers_too_and_only_the_parent_heeds_it(tmp_path: Path) -> None:
    process = start(tmp_path, "--log-interval", "500")
    while not (tmp_path / "run" / "progress.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "stopped and saved at step" in said) == (130, True), said


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's list of processes")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param("all of them", marks=pytest.mark.slow),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGTERM)),
    ],
)
@pytest.mark.parametrize("mode", [pytest.param("--deterministic", marks=pytest.mark.slow), "--no-deterministic"])
def test_nothing_stays_when_the_parent_ends(tmp_path: Path, number: Any, mode: str) -> None:
    process = start(tmp_path, mode, "--log-interval", "500")
    while not (tmp_path / "run" / "progress.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    family = children(process.pid)
    assert len(family) == 3  # two workers, and the tracker that Python starts with the first
    assert not named_blocks(process.pid, *family)  # a kill of all leaves nothing
    if number == "all of them":
        number = signal.SIGKILL
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.communicate(timeout=30)  # the pipes close when the last of the family is gone
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
