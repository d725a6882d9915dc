"""The adapter: three autoreset modes, its accounts, exact budgets, and broken contracts named."""

import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fragile import Ours, Walk
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from dbrrl.envs import Environments, Step, failures, make
from dbrrl.errors import EnvError, ShapeError

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
Transition = tuple[Any, ...]


def seed(number: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(number)


def row(observation: Any, index: int) -> tuple[bytes, ...]:
    leaves = observation.values() if isinstance(observation, dict) else [observation]
    return tuple(leaf[index].tobytes() for leaf in leaves)


def transitions(environments: Environments, needed: int) -> list[list[Transition]]:
    """The first `needed` valid transitions of each copy; the k-th of a copy always takes the same action."""
    copies = environments.num_envs
    generators = [np.random.default_rng(index) for index in range(copies)]
    space = environments.action_space
    sizes = space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else space.n

    observation = environments.reset()
    seen: list[list[Transition]] = [[] for _ in range(copies)]
    action = [np.asarray(generator.integers(sizes)) for generator in generators]
    while min(map(len, seen)) < needed:
        step = environments.step(np.stack(action))
        for index in np.flatnonzero(step.valid):
            seen[index].append(
                (
                    row(observation, index),
                    action[index].tobytes(),
                    row(step.next_observation, index),
                    step.reward[index],
                    step.terminated[index],
                    step.truncated[index],
                )
            )
            action[index] = np.asarray(generators[index].integers(sizes))
        observation = step.observation
    return [copy[:needed] for copy in seen]


@pytest.mark.parametrize("environment", ["CartPole-v1", "Walk"])
def test_three_autoreset_modes_give_the_same_transitions(environment: str) -> None:
    def copy() -> gym.Env[Any, Any]:
        return Walk() if environment == "Walk" else gym.make(environment, max_episode_steps=15)

    results = []
    for mode in MODES:
        vector = SyncVectorEnv([copy] * 3, autoreset_mode=mode)
        results.append(transitions(Environments(vector, environment, seed=seed()), 100))
    assert results[0] == results[1] == results[2]
    ends = [(t[4], t[5]) for copy_transitions in results[0] for t in copy_transitions]
    assert (True, False) in ends and (False, True) in ends


def finished(environments: Environments, steps: int) -> list[tuple[float, int]]:
    environments.reset()
    done = []
    for _ in range(steps):
        environments.step(np.ones(environments.num_envs, np.int64))
        done += environments.finished
    return done


@pytest.mark.parametrize("mode", MODES)
def test_accounts_in_every_mode(mode: AutoresetMode) -> None:
    """CartPole pays 1 a step: a finished episode's return is its length; none is lost or counted twice."""
    vector = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=mode)
    environments = Environments(vector, "CartPole-v1", seed=seed())
    environments.reset()
    counted = np.zeros(2, int)
    for _ in range(100):
        step = environments.step(np.array([0, 1]))
        counted += step.valid
        ended = step.terminated | step.truncated
        assert len(environments.finished) == ended.sum()
        for (total, length), index in zip(environments.finished, np.flatnonzero(ended), strict=True):
            assert total == length == counted[index]
        counted[ended] = 0
        assert np.array_equal(environments.episode_length, counted)
        assert np.array_equal(environments.episode_return, counted)


def test_reward_of_a_row_that_only_began_counts_nowhere() -> None:
    environments = Environments(Ours(4), "Ours", seed=seed())
    environments.reset()
    began = 0
    for _ in range(60):
        step = environments.step(np.zeros(4, np.int64))
        began += int((~step.valid).sum())
        assert (step.reward[~step.valid] == 0.0).all()
        assert (environments.episode_return[~step.valid] == 0.0).all()
    assert began > 10


def test_accounts_agree_between_kinds() -> None:
    kinds = [make("FrozenLake-v1", 3, seed=seed(), vectorization=kind) for kind in ("sync", "async")]
    results = [finished(environments, 60) for environments in kinds]
    assert results[0] == results[1] and len(results[0]) > 5
    for environments in kinds:
        environments.close()


def test_step_fields() -> None:
    environments = make("CartPole-v1", 4, seed=seed(), max_episode_steps=5)
    assert environments.kind == "batched"
    observation = environments.reset()
    assert observation.shape == (4, 4) and observation.dtype == np.float32
    for number in range(5):
        step = environments.step(np.zeros(4, np.int64))
        assert isinstance(step, Step) and step.reward.dtype == np.float64
        assert step.terminated.dtype == step.truncated.dtype == step.valid.dtype == np.bool_
        assert (step.next_observation is step.observation) == (number < 4)
    assert step.truncated.all() and step.all_valid and "final_obs" not in step.info
    assert not np.array_equal(step.observation, step.next_observation)
    assert environments.finished == [(5.0, 5)] * 4
    assert environments.observation is step.observation


def test_next_step_rows_are_marked() -> None:
    environments = make("CartPole-v1", 2, seed=seed(), vectorization="vector", max_episode_steps=3)
    environments.reset()
    for _ in range(3):
        step = environments.step(np.zeros(2, np.int64))
    assert step.truncated.all() and step.valid.all()
    assert np.array_equal(step.observation, step.next_observation)
    step = environments.step(np.zeros(2, np.int64))
    assert not step.valid.any() and not step.all_valid
    assert environments.episode_length.tolist() == [0, 0]


def test_exact_budget() -> None:
    environments = make("CartPole-v1", 4, seed=seed(), max_episode_steps=2)
    environments.reset()
    environments.step(np.zeros(4, np.int64), limit=4)
    step = environments.step(np.zeros(4, np.int64), limit=3)
    assert step.valid.tolist() == [True, True, True, False]
    assert not step.all_valid
    assert environments.finished == [(2.0, 2)] * 3


def test_budget_counts_transitions_not_rows() -> None:
    """Rows that only began an episode (NEXT_STEP) use none of the budget."""
    environments = Environments(Ours(6), "Ours", seed=seed(3))
    environments.reset()
    for _ in range(50):
        step = environments.step(np.zeros(6, np.int64))
        if not step.valid.all():
            continue
        ended = step.terminated
        if 0 < ended.sum() < 4:
            break
    step = environments.step(np.zeros(6, np.int64), limit=2)
    assert step.valid.sum() == 2 and not step.valid[ended].any()


def test_nested_observations_are_dicts_of_arrays() -> None:
    environments = make("fragile:Walk", 3, seed=seed())
    observation = environments.reset()
    assert observation["where"].shape == (3, 2) and observation["picture"].shape == (3, 2, 2, 1)
    assert observation["cell"].shape == (3,) and observation["cell"].dtype == np.int64
    ends = 0
    for _ in range(30):
        step = environments.step(np.zeros((3, 2), np.int64))
        ended = step.terminated | step.truncated
        ends += int(ended.sum())
        assert (step.next_observation["cell"][ended] == 0).all()
        assert (step.observation["cell"] > 0).all()
    assert ends > 5


def test_first_reset_is_seeded_and_later_ones_go_on() -> None:
    for kind in ("batched", "sync", "vector"):
        one, two, other = (make("CartPole-v1", 3, seed=seed(n), vectorization=kind) for n in (4, 4, 5))
        first = one.reset()
        assert np.array_equal(first, two.reset())
        assert not np.array_equal(first, other.reset())
        again = one.reset()
        assert not np.array_equal(first, again)
        assert np.array_equal(again, two.reset())
        assert len(np.unique(first[:, 0])) == 3


def test_missing_final_observation_and_mode_are_named() -> None:
    class Silent(Ours):
        metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    environments = Environments(Silent(5), "Silent", seed=seed())
    with pytest.raises(EnvError, match=r"Silent: expected info\['final_obs'\]"):
        finished(environments, 50)

    class Modeless(Ours):
        metadata = {}  # noqa: RUF012

    with pytest.raises(EnvError, match=r"Modeless: expected metadata\['autoreset_mode'\]"):
        Environments(Modeless(2), "Modeless")


def test_wrong_number_of_actions() -> None:
    environments = make("CartPole-v1", 3, seed=seed())
    environments.reset()
    with pytest.raises(ShapeError, match=r"action: expected shape \(3,\), got \(2,\)"):
        environments.step(np.zeros(2, np.int64))


def test_render_gives_one_frame_per_environment() -> None:
    pytest.importorskip("pygame")
    environments = make("CartPole-v1", 2, seed=seed(), render_mode="rgb_array")
    assert environments.kind == "sync"
    environments.reset()
    frames = environments.render()
    assert len(frames) == 2 and frames[0].shape == (400, 600, 3)
    environments.close()
    environments.close()


@pytest.mark.parametrize("read", [0, 1])
def test_closing_ends_the_processes_of_a_call_that_was_broken_off(read: int) -> None:
    environments = make("fragile:Walk", 2, seed=seed(), vectorization="async")
    base: Any = environments.vector_env
    environments.reset()
    base.step_async(np.zeros((2, 2), np.int64))
    for pipe in base.parent_pipes[:read]:
        pipe.recv()
    environments.close()
    assert [worker.exitcode for worker in base.processes] == [0, 0]  # by themselves
    environments.close()


def test_closing_after_ctrl_c_in_the_middle_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = make("fragile:Walk", 2, seed=seed(), vectorization="async")
    base: Any = environments.vector_env
    environments.reset()

    def interrupted(infos: Any, info: Any, row: int) -> Any:
        if row == 1:
            raise KeyboardInterrupt
        return infos

    monkeypatch.setattr(base, "_add_info", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.step(np.zeros((2, 2), np.int64))
    environments.close()
    assert [worker.exitcode for worker in base.processes] == [0, 0]


class Stuck(Walk):
    """Its first step takes for ever."""

    def step(self, action: Any) -> Any:
        threading.Event().wait()


def test_an_environment_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "CLOSING_TIME", 0.05)
    environments = make("test_vector:Stuck", 2, seed=seed(), vectorization="async")
    base: Any = environments.vector_env
    environments.reset()
    base.step_async(np.zeros((2, 2), np.int64))
    environments.close()
    assert [worker.exitcode for worker in base.processes] == [-9, -9]


@pytest.mark.slow
def test_closing_after_ctrl_c_between_two_processes_that_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "CLOSING_TIME", 0.05)
    environments = make("test_vector:Stuck", 2, seed=seed(), vectorization="async")
    base: Any = environments.vector_env
    environments.reset()

    def interrupted(message: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(base.parent_pipes[1], "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.step(np.zeros((2, 2), np.int64))
    assert base._state is AsyncState.DEFAULT  # Gymnasium has not noted the call
    environments.close()
    assert not any(worker.is_alive() for worker in base.processes)
