"""What one process acts and another learns from is what one process does by itself."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, nn
from dbrrl.agents import DQN, SAC
from dbrrl.envs import make
from dbrrl.learning.experience import Recorder, acting_parameters, rows_of
from dbrrl.seeding import sequence

SETTINGS: dict[str, Any] = {"buffer_size": 400, "hidden_sizes": (8,), "learning_starts": 100_000}


def steps_of(kind: Any, env: str, seed: int, count: int, *, recorded: bool, invalid: bool = False) -> Any:
    """Act for some steps, and return the agent: with what its replay buffer holds, or with what was recorded."""
    envs = make(env, 2, seed=sequence(seed, "environments"), vectorization="sync", max_episode_steps=15)
    agent = kind(envs.observation_space, envs.action_space, kind.Config(**SETTINGS), num_envs=2, seed=seed)
    if recorded:
        Recorder(agent)
    envs.reset()
    for t in range(count):
        step = envs.step(agent.act(envs.observation))
        valid = np.array([True, t % 7 > 0]) if invalid else None
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=valid)
    return agent


@pytest.mark.parametrize(("kind", "env"), [(DQN, "CartPole-v1"), (SAC, "Pendulum-v1"), (DQN, "dict")])
@pytest.mark.parametrize("invalid", [False, True])
def test_a_replay_buffer_holds_what_was_recorded(kind: Any, env: str, invalid: bool) -> None:
    env = "tests.learning.test_experience:Places" if env == "dict" else env
    direct, acted = (steps_of(kind, env, 3, 60, recorded=x, invalid=invalid) for x in (False, True))
    learner = kind(direct.observation_space, direct.action_space, direct.config, num_envs=2, seed=3)
    for row in rows_of([acted.replay.taken()]):
        learner.replay.add_action(row["observation"], row["action"])
        valid = None if row["valid"].all() else row["valid"]
        learner.store_outcome(row["next"], row["reward"], row["terminated"], row["truncated"], valid)
    assert checkpoint.same(learner.replay.state_dict(), direct.replay.state_dict())
    assert learner.steps == direct.steps
    assert not acted.replay.rows and not len(acted.replay)


def test_chunks_stand_side_by_side() -> None:
    chunks = [steps_of(DQN, "CartPole-v1", seed, 30, recorded=True).replay.taken() for seed in range(2)]
    rows = list(rows_of(chunks))
    assert len(rows) == 30 and all(len(row["reward"]) == 4 for row in rows)
    for i in range(2):
        for t, (row, own) in enumerate(zip(rows, rows_of([chunks[i]]), strict=True)):
            for name in ("action", "reward", "terminated"):
                np.testing.assert_array_equal(row[name][2 * i : 2 * i + 2], own[name], err_msg=f"{name} at {t}")
            np.testing.assert_array_equal(row["next"][0][2 * i : 2 * i + 2], own["next"][0])


def test_weights_that_act_are_those_that_learn_but_not_the_targets() -> None:
    envs = make("Pendulum-v1", 1, seed=sequence(0))
    one, other = (SAC(envs.observation_space, envs.action_space, SAC.Config(**SETTINGS), seed=seed) for seed in (0, 1))
    nn.vector_to_parameters(nn.parameters_to_vector(acting_parameters(one)), acting_parameters(other))
    observation = np.array([1.0, 0.0, 2.0], np.float32)
    np.testing.assert_array_equal(one.act(observation, explore=False), other.act(observation, explore=False))
    targets = [[p.array for p in agent.target_critics.parameters()] for agent in (one, other)]
    assert not all(np.array_equal(a, b) for a, b in zip(*targets, strict=True))


class Places(gym.Env[Any, Any]):
    """An observation of two arrays; the episode ends by chance."""

    observation_space = gym.spaces.Dict(
        {"near": gym.spaces.Box(-1, 1, (2,)), "place": gym.spaces.Discrete(3)}  # type: ignore[dict-item]
    )
    action_space = gym.spaces.Discrete(2)

    def _observation(self) -> dict[str, Any]:
        near = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return {"near": near, "place": np.int64(self.np_random.integers(3))}

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=options.get("seed"))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return self._observation(), float(action), bool(self.np_random.random() < 0.1), False, {}
