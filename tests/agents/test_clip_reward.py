"""Rewards are clipped to [-1, 1] before an agent learns from them, if its Config says so."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import A2C, A3C, DQN, PPO, REINFORCE, TRPO

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize("kind", [A2C, A3C, DQN, PPO, REINFORCE, TRPO])
@pytest.mark.parametrize(("clip", "expected"), [(False, [-7, -1.5, 0.5, 1.5, 9]), (True, [-1, -1, 0.5, 1, 1])])
def test_rewards_are_clipped_on_both_sides_where_that_is_set(kind: Any, clip: bool, expected: list[float]) -> None:
    agent = kind(BOX, gym.spaces.Discrete(2), kind.Config(clip_reward=clip), num_envs=5)
    agent.act(np.zeros((5, 3), np.float32))
    given = np.array([-7.0, -1.5, 0.5, 1.5, 9.0])
    agent.observe(np.zeros((5, 3), np.float32), given, np.zeros(5, bool), np.zeros(5, bool))
    if kind is A3C:
        rewards = np.concatenate([agent.learner(env).rollout.rewards[0] for env in range(5)])
    else:
        rewards = agent.replay.rewards[:5] if kind is DQN else agent.rollout.rewards[0]
    np.testing.assert_array_equal(rewards, expected)
    np.testing.assert_array_equal(given, [-7.0, -1.5, 0.5, 1.5, 9.0])
