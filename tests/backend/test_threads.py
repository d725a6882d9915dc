"""BLAS threads: as many as an agent's products are worth while it computes, in any loop, and NumPy's own after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import backend, nn
from dbrrl.agents import A2C, A3C, DQN, IQN, PPO, REINFORCE, TRPO
from dbrrl.backend import threads
from dbrrl.errors import ConfigError, ShapeError
from dbrrl.learning.agent import Agent
from dbrrl.optim import Optimizer
from tests.experiment.stub import Stub

OBSERVATION, ACTION = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)


def test_blas_threads_are_set_and_put_back() -> None:
    before = backend.blas_threads()
    with backend.using_blas_threads(1):
        assert backend.blas_threads() == 1
    assert backend.blas_threads() == before
    with pytest.raises(RuntimeError, match="inside"), backend.using_blas_threads(1):
        raise RuntimeError("inside")
    assert backend.blas_threads() == before
    with pytest.raises(ConfigError, match="expected 1 or more, got 0"):
        backend.set_blas_threads(0)


@pytest.mark.skipif(threads._library() is None, reason="NumPy's BLAS here is not OpenBLAS")
def test_openblas_takes_the_number_it_is_given() -> None:
    with backend.using_blas_threads(1):
        backend.set_blas_threads(2)
        assert backend.blas_threads() == 2


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "openblas", lambda name: None)
    monkeypatch.setattr(threads._scope, "chosen", False)
    backend.set_blas_threads(3)
    assert backend.blas_threads() == 1


def test_threads_grow_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert backend.auto_blas_threads(0) == 1
    assert backend.auto_blas_threads(256 * 64 * 64) == 1
    assert backend.auto_blas_threads(128 * 32 * 120 * 84) == 1  # IQN's, whose update a second thread does not shorten
    assert backend.auto_blas_threads(64 * 3136 * 512) == 3  # Nature's CNN
    assert backend.auto_blas_threads(1024**3) == 8


@pytest.mark.parametrize(("text", "cores"), [("150000 100000\n", 2), ("1000 100000\n", 1), ("max 100000\n", 8)])
def test_a_container_with_a_quota_has_fewer_cores(
    text: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert backend.cpu_count() == cores


@pytest.mark.parametrize(("name", "most"), [("OPENBLAS_NUM_THREADS", 4), ("OMP_NUM_THREADS", 4), ("OTHER", 8)])
def test_the_environment_limits_the_number(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv(name, "4")
    assert backend.auto_blas_threads(2**40) == most and backend.auto_blas_threads(2**20) == 1


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NumPy with four threads, as on a machine with four cores where nobody has said how many to use."""
    if threads._library() is None:
        pytest.skip("NumPy's BLAS here is not OpenBLAS")
    before = backend.blas_threads()
    monkeypatch.setattr(threads._scope, "chosen", False)
    threads.openblas("set_num_threads")(4)
    yield
    threads.openblas("set_num_threads")(before)


@pytest.fixture
def seen(four: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads in use whenever a network computes, or a gradient has been computed."""
    numbers: list[int] = []

    def noted(original: Any) -> Any:
        def call(*arguments: Any) -> Any:
            numbers.append(backend.blas_threads())
            return original(*arguments)

        return call

    monkeypatch.setattr(nn.Module, "__call__", noted(nn.Module.__call__))
    monkeypatch.setattr(Optimizer, "clip_grad_norm", noted(Optimizer.clip_grad_norm))
    return numbers


def play(agent: Agent, steps: int) -> None:
    for _ in range(steps):
        agent.act(np.zeros((2, 4), np.float32))
        observation, nothing = np.zeros((2, 4), np.float32), np.zeros(2, np.bool_)
        agent.observe(observation, np.zeros(2), nothing, nothing)


SOON: dict[Any, dict[str, Any]] = {kind: {"n_steps": 4} for kind in (PPO, REINFORCE, TRPO)}
SOON |= {DQN: {"learning_starts": 4}, IQN: {"learning_starts": 4}}


@pytest.mark.parametrize("kind", [PPO, A2C, A3C, REINFORCE, TRPO, DQN, IQN])
def test_in_a_loop_of_your_own_small_networks_use_one_thread(kind: Any, seen: list[int]) -> None:
    agent = kind(OBSERVATION, ACTION, kind.Config(**SOON.get(kind, {})), num_envs=2)
    play(agent, 6)
    assert agent.num_updates > 0 and len(seen) > 8 and set(seen) == {1}
    assert backend.blas_threads() == 4  # the number of all else is left as it was
    agent.act(np.zeros((500, 4), np.float32), explore=False)
    assert set(seen) == {1}


def test_large_products_use_more_threads(seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_most", lambda: 2)
    agent = PPO(OBSERVATION, ACTION, PPO.Config(n_steps=1024, batch_size=2048, hidden_sizes=(256, 256)), num_envs=2)
    assert agent.largest_matmul == 2048 * 256 * 256  # 2**27
    seen.clear()
    play(agent, 1)
    assert set(seen) == {2} and agent.blas_threads == 2


def test_a_number_that_was_given_is_kept(seen: list[int]) -> None:
    agent = PPO(OBSERVATION, ACTION, num_envs=2)
    agent.compiled = False  # the products of a program are not seen
    seen.clear()
    with backend.using_blas_threads(3):
        play(agent, 1)
    assert set(seen) == {3} and backend.blas_threads() == 4
    play(agent, 1)
    backend.set_blas_threads(2)
    play(agent, 1)
    assert list(dict.fromkeys(seen)) == [3, 1, 2] and backend.blas_threads() == 2


def test_a_smaller_number_is_never_raised(seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "auto_blas_threads", lambda work: 8)
    agent = PPO(OBSERVATION, ACTION, num_envs=2)
    seen.clear()
    play(agent, 1)
    assert set(seen) == {4}


def test_initial_weights_are_made_by_one_thread(four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, made = [], PPO.make_network

    def noted(*arguments: Any) -> Any:
        numbers.append(backend.blas_threads())
        return made(*arguments)

    monkeypatch.setattr(PPO, "make_network", noted)
    PPO(OBSERVATION, ACTION)
    assert numbers == [1] and backend.blas_threads() == 4


def test_an_error_puts_the_number_back(four: None) -> None:
    agent = PPO(OBSERVATION, ACTION, num_envs=2)
    with pytest.raises(ShapeError):
        agent.act(np.zeros((2, 9), np.float32))
    assert backend.blas_threads() == 4


def test_an_agent_that_learns_in_observe_is_limited_in_it(four: None) -> None:
    numbers = []

    class Own(Stub):
        def observe(self, *arguments: Any) -> None:
            numbers.append(backend.blas_threads())

    play(Own(OBSERVATION, ACTION, num_envs=2), 2)
    assert numbers == [1, 1] and backend.blas_threads() == 4


def test_agents_in_threads_of_python_leave_the_number_as_it_was(four: None) -> None:
    scope = threads._scope
    scope.enter(2)
    scope.enter(1)  # another agent, before the first is done
    scope.leave()
    assert backend.blas_threads() == 1
    scope.leave()
    assert backend.blas_threads() == 4
