"""Batched environments on a device: the same steps as on the CPU, and not one copy between the two while they play."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import backend, seeding
from dbrrl.agents import A2C, PPO, REINFORCE
from dbrrl.envs import device as on_device
from dbrrl.envs.registration import BATCHED
from tests import standin
from tests.envs.test_batched import lead

NONE = standin.Copies()


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)


@pytest.mark.parametrize("env_id", BATCHED)
def test_a_step_on_a_gpu_is_the_step_on_the_cpu(env_id: str) -> None:
    """From states all over the place, those of the CPU put on the device before each step."""
    xp, rng = backend.module_on("cuda"), np.random.default_rng(0)
    here, there = (gym.make_vec(f"dbrrl/{env_id}", 20, xp=module).unwrapped for module in (np, xp))
    here.reset(seed=0)
    there.reset(seed=0)
    for _ in range(200):
        action = lead(env_id, here.state, rng)
        there.state[...] = xp.asarray(here.state)
        with standin.copies() as count:
            actions = xp.asarray(action)
            results = [*there.advance(actions), there.observe()]
        assert count == standin.Copies(to_device=1)
        for far, near in zip(results, [*here.advance(action), here.observe()], strict=True):
            assert far.dtype == near.dtype
            np.testing.assert_allclose(far.get(), near, rtol=1e-6, atol=1e-6)
        here.reset() if rng.random() < 0.02 else None


@pytest.mark.parametrize("env_id", BATCHED)
def test_episodes_end_and_begin_without_a_copy(env_id: str) -> None:
    env = gym.make_vec(f"dbrrl/{env_id}", 5, xp=backend.module_on("cuda"), max_episode_steps=7).unwrapped
    first, _ = env.reset(seed=0)
    action = backend.to_device(env.action_space.sample(), "cuda")
    kept = []
    with standin.copies() as count:
        for _ in range(21):
            observation, _, terminated, truncated, info = env.step(action)
            kept.append((observation.copy(), (terminated | truncated).copy(), info["final_obs"].copy()))
    assert count == NONE
    ended = np.array([row[1].get() for row in kept])
    assert ended.sum(axis=0).min() >= 3 and first.shape == observation.shape
    for observation, ends, final in kept:
        same = (observation.get() == final.get()).reshape(5, -1).all(axis=1)
        np.testing.assert_array_equal(same, ~ends.get())  # only who ended sees another observation than its last


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PPO, {"n_steps": 16, "batch_size": 64, "n_epochs": 2}),
        (PPO, {"n_steps": 16, "batch_size": 64, "normalize_observation": True, "normalize_reward": True}),
        (A2C, {"n_steps": 16}),
        (REINFORCE, {"n_steps": 16}),
        (REINFORCE, {"n_steps": 16, "baseline": "none"}),
    ],
    ids=["ppo", "ppo normalizing", "a2c", "reinforce", "reinforce without baseline"],
)
def test_an_agent_plays_on_a_gpu_without_a_copy(kind: Any, settings: dict[str, Any], env_id: str) -> None:
    """None in a step; in an update no array, only the few numbers that are its statistics."""
    envs = on_device.make(env_id, 8, device="cuda", seed=seeding.sequence(0, "environments"))
    agent = kind(envs.observation_space, envs.action_space, kind.Config(**settings), num_envs=8, seed=0, device="cuda")
    observation, before = envs.reset(), 0
    for t in range(1, 81):
        with standin.copies() as count:
            step = envs.step(agent.act(observation))
            agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
            observation = step.observation
        if agent.num_updates > before:
            before = agent.num_updates
            assert (count.to_device, count.waits) == (0, 0) and count.to_host < 12
        elif t % on_device.KEPT == 0:
            assert count.to_device == 0 and count.to_host <= 2  # the ends of episodes, together
        elif t > 1:  # the first step makes what stays: constants, and what is recorded for later ones
            assert count == NONE, t
    assert before >= 4


def test_a_copy_in_a_step_would_be_seen() -> None:
    envs = on_device.make("CartPole-v1", 4, device="cuda", seed=seeding.sequence(0, "environments"))
    envs.reset()
    action = backend.to_device(np.zeros(4, np.int64), "cuda")
    with standin.copies() as count:
        step = envs.step(action)
        assert count == NONE
        float(step.reward.sum())
    assert count == standin.Copies(to_host=1)
