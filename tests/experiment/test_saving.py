"""An error that ends a run saves the last moment between two steps, from which it goes on exactly."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.errors import AnomalyError, EnvError, RunError, WorkerError
from dbrrl.experiment import Callback, Experiment, Interrupted
from dbrrl.experiment.directory import RunDirectory

from .stub import Stub
from .test_experiment import without_clock

QUIET: dict[str, Any] = {"preset": False, "curve": False, "tensorboard": False, "progress": False}
RARE: dict[str, Any] = {"eval_interval": 80, "eval_episodes": 2, "final_episodes": 2, "checkpoint_interval": 10**6}


class Once:
    """Raises an error the first time that it is called with at least `at`; armed anew by each test."""

    at: int | None = None

    @classmethod
    def arm(cls, at: int) -> None:
        cls.at = at

    @classmethod
    def strike(cls, count: int) -> None:
        if cls.at is not None and count >= cls.at:
            cls.at = None
            raise OSError("the cable is loose")


class Loose(gym.Env[np.ndarray, int]):
    """A walk whose cable is loose once, at a step of all that this process has made since it was armed."""

    observation_space = gym.spaces.Box(-100, 100, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.normal(size=2).astype(np.float32), 0
        return self.place.copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        Loose.count += 1
        Once.strike(Loose.count)
        self.steps += 1
        self.place += (0.1 * (2 * int(action) - 1) + self.np_random.normal(size=2)).astype(np.float32)
        return self.place.copy(), float(-abs(self.place[0])), self.steps == 23, False, {}


LOOSE = f"{__name__}:Loose"


@pytest.fixture(autouse=True)
def _disarmed() -> Any:
    Loose.count, Once.at = 0, None
    yield
    Once.at = None


def experiment(agent: Any, tmp_path: Path | None, env: str = "CartPole-v1", **settings: Any) -> Experiment:
    place = {} if tmp_path is None else {"out": tmp_path, "name": "run"}
    return Experiment(agent, env, **{**QUIET, **RARE, "steps": 200, "num_envs": 2, **place, **settings})


def state(run: Path) -> dict[str, Any]:
    found, problems = RunDirectory(run).load_checkpoint()
    assert found is not None and not problems
    return found


def again(run: Path, agent: Any = Stub) -> str:
    return f"python -m dbrrl.train --resume {run}{' --trust' if agent is Stub else ''}"


class Striking(Callback):
    """Raises the first time that its event comes at step 100 or later."""

    interval = 20

    def __init__(self, event: str) -> None:
        setattr(self, event, self._raise)

    def _raise(self, run: Any, row: Any = None) -> None:
        Once.strike(run.steps)


@pytest.mark.slow
@pytest.mark.parametrize("agent", [Stub, "ppo", "dqn"])
@pytest.mark.parametrize("event", ["on_interval", "on_log", "on_evaluation", "on_checkpoint", "on_end"])
def test_an_error_in_a_callback_costs_nothing(tmp_path: Path, event: str, agent: Any) -> None:
    settings: dict[str, Any] = {"checkpoint_interval": 50}
    settings |= {"ppo": {"n_steps": 16}, "dqn": {"learning_starts": 30}}.get(agent, {})
    Once.arm(100)
    with pytest.raises(OSError, match="the cable is loose") as caught:
        experiment(agent, tmp_path, callbacks=[Striking(event)], **settings).run()
    run, step = tmp_path / "run", {"on_evaluation": 160, "on_end": 200}.get(event, 100)
    saved = f"saved at step {step}; resume with: {again(run, agent)}"
    finished = f"the run itself is finished and saved in {run}"
    assert caught.value.__notes__ == [finished if event == "on_end" else saved]
    whole = experiment(agent, None, **settings).run()
    if event == "on_end":
        with pytest.raises(RunError, match="this run is finished"):
            Experiment.resume(run, progress=False, trust=True).run()
        scores, progress = RunDirectory(run).scores, RunDirectory(run).progress
        assert len(scores.read_text().splitlines()) == 4 and len(progress.read_text().splitlines()) > 50
        return
    resumed = Experiment.resume(run, progress=False, trust=True).run()
    assert list(map(without_clock, resumed.scores)) == list(map(without_clock, whole.scores))
    assert list(map(without_clock, resumed.progress)) == list(map(without_clock, whole.progress))
    assert_equal(resumed.agent.state_dict(), whole.agent.state_dict())


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        np.testing.assert_array_equal(one, other)


def test_an_error_in_an_evaluation_costs_nothing(tmp_path: Path) -> None:
    Once.arm(2 * 40 + 10)  # in the tenth step of the first evaluation, after 40 of two environments
    with pytest.raises(EnvError, match="the cable is loose") as caught:
        experiment(Stub, tmp_path, LOOSE, vectorization="sync").run()
    assert caught.value.__notes__[0].startswith("saved at step 80; resume with: ")
    resumed = Experiment.resume(tmp_path / "run", progress=False, trust=True).run()
    whole = experiment(Stub, None, LOOSE, vectorization="sync").run()
    assert_equal(resumed.agent.state_dict(), whole.agent.state_dict())
    assert list(map(without_clock, resumed.scores)) == list(map(without_clock, whole.scores))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("agent", [Stub, "ppo", "a2c", "impala", "reinforce", "trpo", "dqn", "rainbow"])
def test_an_error_in_a_training_environment_saves_all_that_was_observed(tmp_path: Path, agent: Any, kind: str) -> None:
    settings: dict[str, Any] = {"eval_interval": 10**6, "vectorization": kind}
    on_policy = agent in ("ppo", "a2c", "impala", "reinforce", "trpo")
    settings |= {"n_steps": 16} if on_policy else {"learning_starts": 30} if agent != Stub else {}
    Once.arm(2 * 50 + 2 if kind == "sync" else 51)
    with pytest.raises(EnvError, match="the cable is loose") as caught:
        experiment(agent, tmp_path, LOOSE, **settings).run()
    run = tmp_path / "run"
    assert caught.value.__notes__ == [f"saved at step 100; resume with: {again(run)}"]
    Once.at = None
    with pytest.warns(UserWarning, match="environment [01] .*cannot be put back .*: it starts a new episode"):
        ended = Experiment.resume(run, progress=False, trust=True).run()
    assert ended.scores[-1]["steps"] == 200


def test_the_step_that_failed_carries_no_transition(tmp_path: Path) -> None:
    Once.arm(2 * 50 + 2)
    with pytest.raises(EnvError):
        experiment("dqn", tmp_path, LOOSE, vectorization="sync", eval_interval=10**6).run()
    agent = experiment("dqn", None).plan.agent_class.from_record(state(tmp_path / "run")["agent"])
    valid = np.asarray(agent.replay.valid).reshape(-1, 2)[:51]  # type: ignore[attr-defined]
    assert valid[:50].all() and not valid[50].any() and len(agent.replay) == 100  # type: ignore[attr-defined]


class Diverging(Stub):
    """Learns with half of its weights, and then fails."""

    def observe(self, *arguments: Any, **options: Any) -> None:
        if self.num_updates == 70:
            self.weights[0] += 1
            raise AnomalyError("expected a finite gradient, got nan")
        super().observe(*arguments, **options)


def test_an_agent_that_fails_while_it_learns_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(AnomalyError) as caught:
        experiment(Diverging, tmp_path, checkpoint_interval=40).run()
    newest = "what came after its newest checkpoint, step 120, could not be saved"
    assert caught.value.__notes__ == [f"{newest}; resume with: {again(tmp_path / 'run')}"]
    assert state(tmp_path / "run")["agent"]["state"]["num_updates"] == 60


def test_a_run_without_a_checkpoint_says_how_to_begin_it_again(tmp_path: Path) -> None:
    with pytest.raises(AnomalyError) as caught:
        experiment(Diverging, tmp_path).run()
    begin_again = f"start it again with: {again(tmp_path / 'run')}"
    assert caught.value.__notes__ == [f"nothing of the run is saved yet, {begin_again}"]


class Poisoned(Stub):
    """Weights that are no numbers, and nobody looks."""

    def observe(self, *arguments: Any, **options: Any) -> None:
        super().observe(*arguments, **options)
        self.weights[:] = np.nan


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    Once.arm(100)
    with pytest.raises(OSError, match="cable"):
        experiment(Poisoned, tmp_path, callbacks=[Striking("on_interval")]).run()
    assert not (tmp_path / "run" / "checkpoints").exists()


class Hanging(Loose):
    """Hangs, and Ctrl-C comes twice."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        try:
            Once.strike(Loose.count + 1)
        except OSError:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("Ctrl-C was not heeded") from None
        return super().step(action)


def test_a_second_ctrl_c_ends_a_step_that_hangs_and_saves(tmp_path: Path) -> None:
    Once.arm(2 * 50 + 1)
    with pytest.raises(Interrupted, match=r"^stopped and saved at step 100; resume with: "):
        experiment(Stub, tmp_path, f"{__name__}:Hanging", vectorization="sync", eval_interval=10**6).run()
    with pytest.warns(UserWarning, match="starts a new episode"):
        Experiment.resume(tmp_path / "run", progress=False, trust=True).run()


class Stuck(Loose):
    """Hangs in its process, after a byte in `pipe` has said so."""

    def __init__(self, pipe: str) -> None:
        self.pipe = pipe

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if Loose.count == 50:
            with open(self.pipe, "wb") as pipe:
                pipe.write(b"x")
            threading.Event().wait()
        return super().step(action)


@contextlib.contextmanager
def two_signals_after_a_byte(pipe: Path) -> Iterator[None]:
    """In the context, the first byte in `pipe`, a new file, has two signals sent to the main thread.

    Signals sent to the process might go to another thread and leave the main one waiting, if both come at once.
    """
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)

    def interrupt() -> None:
        if os.read(end, 1) == b"x":
            for number in (signal.SIGINT, signal.SIGTERM):  # two of one signal may come as one
                signal.pthread_kill(threading.main_thread().ident or 0, number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        os.write(end, b"o")  # if none has come
        thread.join()
        os.close(end)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
@pytest.mark.parametrize(
    ("agent", "kind", "step"), [(Stub, "async", 100), pytest.param("a3c", "auto", 80, marks=pytest.mark.slow)]
)
def test_a_second_ctrl_c_ends_processes_that_hang(tmp_path: Path, agent: Any, kind: str, step: int) -> None:
    settings = {"vectorization": kind, "log_interval": 40, "eval_interval": 10**6}
    settings |= {"deterministic": True} if agent == "a3c" else {}
    kwargs, began = {"pipe": str(tmp_path / "stuck")}, time.monotonic()
    with (
        two_signals_after_a_byte(tmp_path / "stuck"),
        pytest.raises(Interrupted, match=rf"^stopped and saved at step {step}; resume with: "),
    ):
        experiment(agent, tmp_path, f"{__name__}:Stuck", env_kwargs=kwargs, **settings).run()
    assert time.monotonic() - began < 60 and not multiprocessing.active_children()


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_asynchronous_run_is_saved_as_of_the_last_time_that_all_workers_waited(
    tmp_path: Path, deterministic: bool
) -> None:
    settings = {**QUIET, "num_envs": 2, "eval_interval": 10**6, "log_interval": 40, "deterministic": deterministic}
    with pytest.raises(WorkerError, match="the motor is stuck") as caught:
        Experiment("a3c", "tests.experiment.stub:Breaking", steps=10_000, out=tmp_path, name="run", **settings).run()
    saved = state(tmp_path / "run")
    steps = saved["loop"]["steps"]
    # In turn both workers have done 40 steps at the second wait; free ones may be apart by any number.
    assert steps in ([80] if deterministic else [40, 80])
    assert caught.value.__notes__[0].startswith(f"saved at step {steps}; resume with: ")
    learners = saved["agent"]["state"]["learners"]
    assert sum(learner["steps"] for learner in learners) == steps
    assert saved["agent"]["state"]["learned"].sum() == 5 * sum(learner["num_updates"] for learner in learners)
