"""Batched environments on a GPU, or on the stand-in for one, against the same on the CPU."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import backend
from dbrrl.agents import PPO
from dbrrl.backend import CounterGenerator
from dbrrl.envs import Environments, make
from dbrrl.envs.device import KEPT, DeviceEnvironments
from dbrrl.envs.registration import BATCHED

pytestmark = pytest.mark.usefixtures("cuda")


def made(env_id: str, num_envs: int, **options: Any) -> Any:
    return make(f"dbrrl/{env_id}", num_envs, seed=np.random.SeedSequence(0), device="cuda", **options)


def host(x: Any) -> np.ndarray:
    assert backend.device_name(x) == "cuda:0"
    return backend.to_numpy(x)


def actions(env: Environments, rng: np.random.Generator) -> np.ndarray:
    space: Any = env.action_space
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(0, space.n, env.num_envs)
    return rng.uniform(space.low, space.high, (env.num_envs, *space.shape)).astype(np.float32)


@pytest.mark.parametrize("env_id", BATCHED)
def test_a_step_on_a_gpu_is_the_step_on_the_cpu(env_id: str) -> None:
    there = made(env_id, 5, max_episode_steps=7)
    here: Any = gym.make_vec(f"dbrrl/{env_id}", 5, max_episode_steps=7)
    here.reset(seed=0)
    there.reset()
    seed = np.random.SeedSequence(int(np.random.SeedSequence(0).generate_state(1)[0]))
    np.testing.assert_array_equal(
        host(there.vector_env.state), _drawn(here, CounterGenerator(seed, np)).astype(here.state.dtype)
    )
    rng, ends = np.random.default_rng(1), 0
    for _ in range(30):
        here.state[...] = host(there.vector_env.state)
        here._began[...] = here._clock - host(there.vector_env._age)
        action = actions(there, rng)
        step = there.step(backend.to_device(action, "cuda"))
        observation, reward, terminated, truncated, info = here.step(action)
        ended = terminated | truncated
        ends += ended.sum()
        np.testing.assert_allclose(host(step.next_observation), info.get("final_obs", observation), 1e-6, 1e-6)
        np.testing.assert_allclose(host(step.reward), reward, 1e-6, 1e-6)
        np.testing.assert_array_equal(host(step.terminated), terminated)
        np.testing.assert_array_equal(host(step.truncated), truncated)
        np.testing.assert_allclose(host(step.observation)[~ended], observation[~ended], 1e-6, 1e-6)
        assert host(step.observation).dtype == np.float32 and (host(there.vector_env._age)[ended] == 0).all()
    assert ends >= 20 and not there._step_graph.refused and there._step_graph._graphs


def _drawn(env: Any, generator: CounterGenerator) -> np.ndarray:
    """The random numbers that the environment draws for all its copies."""
    env._np_random = generator
    start: np.ndarray = env.draw(env.num_envs)
    return start


def test_episodes_are_counted_on_the_gpu_and_fetched_together() -> None:
    there = made("CartPole-v1", 6)
    there.reset()
    rng, told, returns = np.random.default_rng(0), [], np.zeros(6)
    seen: list[tuple[float, int]] = []
    for k in range(150):
        step = there.step(actions(there, rng))
        returns += host(step.reward)
        ended = host(step.terminated) | host(step.truncated)
        seen += [(r, int(r)) for r in returns[ended]]
        returns[ended] = 0
        assert not there.finished or (k + 1) % KEPT == 0
        told += there.finished
    told += there.flush_episodes()
    assert told == seen and len(seen) > 20 and there.flush_episodes() == []


def test_the_last_steps_of_a_budget_count_alone() -> None:
    there = made("CartPole-v1", 4, max_episode_steps=1)
    there.reset()
    step = there.step(np.zeros(4, np.int64), 2)
    assert host(step.valid).tolist() == [True, True, False, False]
    assert there.flush_episodes() == [(1.0, 1)] * 2


def test_environments_go_on_bit_for_bit() -> None:
    one, other = made("Acrobot-v1", 3, max_episode_steps=9), made("Acrobot-v1", 3, max_episode_steps=9)
    one.reset()
    for k in range(40):
        if k == 20:
            assert other.load_state_dict(one.state_dict()) == []
            np.testing.assert_array_equal(host(other.observation), host(one.observation))
        action = actions(one, np.random.default_rng(k))
        step = one.step(action)
        if k >= 20:
            again = other.step(action)
            for name in ("observation", "next_observation", "reward", "truncated"):
                np.testing.assert_array_equal(host(getattr(again, name)), host(getattr(step, name)))
    assert one.flush_episodes()[-3:] == other.flush_episodes()[-3:]


def test_a_second_reset_begins_anew() -> None:
    there = made("CartPole-v1", 2, max_episode_steps=5)
    for _ in range(2):
        there.reset()
        ends = [host(there.step(np.zeros(2, np.int64)).truncated).any() for _ in range(4)]
        assert not any(ends)


def test_bounded_observations_are_scaled_on_the_gpu() -> None:
    envs = made("MountainCar-v0", 3)
    spaces, config = (envs.observation_space, envs.action_space), PPO.Config(scale_observation=True, n_steps=4)
    learner = PPO(*spaces, config, num_envs=3, device="cuda")
    seen = envs.reset()
    learner.act(seen)
    low, high = envs.observation_space.low, envs.observation_space.high
    expected = 2 * (host(seen) - low) / (high - low) - 1
    np.testing.assert_allclose(host(learner.rollout.observations[0][0]), expected, 1e-4, 1e-5)


def test_only_our_array_programs_run_on_a_gpu() -> None:
    assert isinstance(made("CartPoleHidden-v0", 2), DeviceEnvironments)
    for name, options in (("dbrrl/Chain-v0", {}), ("CartPole-v1", {"vectorization": "sync"})):
        env = make(name, 2, seed=np.random.SeedSequence(0), device="cuda", **options)
        assert not isinstance(env, DeviceEnvironments)
        env.close()
