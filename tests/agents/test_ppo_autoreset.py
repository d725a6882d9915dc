"""PPO in Gymnasium's three autoreset modes: the same bits, and no reset among the transitions."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dbrrl.agents import PPO
from dbrrl.envs.vector import Environments

from .feeding import content
from .making import make_ppo as make


def train(mode: AutoresetMode, recurrent: str = "none") -> tuple[PPO, list[int]]:
    """A short training in Gymnasium's own CartPole, cut at 15 steps so that both ends occur; transitions per update."""
    makers = [lambda: gym.make("CartPole-v1", max_episode_steps=15)] * 4
    envs = Environments(
        SyncVectorEnv(makers, autoreset_mode=mode), "CartPole-v1", kind="sync", seed=np.random.SeedSequence(1)
    )
    config = PPO.Config(n_steps=16, batch_size=16, n_epochs=2, normalize_reward=True, recurrent=recurrent)
    agent = PPO(envs.observation_space, envs.action_space, config, num_envs=4)
    sizes, epochs = [], agent.epochs

    def noted(batch: Any, clip_range: float) -> Any:
        sizes.append(len(batch))
        return epochs(batch, clip_range)

    agent.epochs = noted  # type: ignore[method-assign]
    envs.reset()
    for _ in range(16 * 10):
        step = envs.step(agent.act(envs.observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=step.valid)
    envs.close()
    return agent, sizes


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_autoreset_modes_that_reset_at_once_give_the_same_bits(recurrent: str) -> None:
    (same, sizes), (disabled, _) = (
        train(mode, recurrent) for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
    )
    assert content(same) == content(disabled) and sizes == [64] * 10


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_next_step_resets_take_no_part_in_an_update(recurrent: str) -> None:
    agent, sizes = train(AutoresetMode.NEXT_STEP, recurrent)
    assert sum(sizes) == agent.steps and len(sizes) == 10 and max(sizes) < 64


def test_raw_final_observations_are_put_in_place() -> None:
    agents = [make(n_steps=1), make(n_steps=1)]
    final, begun = np.full((2, 3), 0.5, np.float32), np.full((2, 3), -0.5, np.float32)
    shown = np.where([[True], [False]], final, begun)
    ended, no = np.array([True, False]), np.zeros(2, bool)
    for agent in agents:
        agent.act(np.ones((2, 3), np.float32))
    agents[0].observe(shown, np.ones(2), no, ended)
    raw = np.array([final[0], None], dtype=object)
    agents[1].observe(begun, np.ones(2), no, ended, {"final_obs": raw, "final_info": raw})
    assert content(agents[0]) == content(agents[1])
