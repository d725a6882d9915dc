"""Hindsight in agents: goal spaces, where rewards of goals come from, in the runner and in a loop of one's own."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import C51, DDPG, DQN, IQN, QRDQN, SAC, TD3, TQC, DoubleDQN, Rainbow
from dbrrl.buffers import HindsightReplayBuffer, PrioritizedHindsightReplayBuffer, ReplayBuffer
from dbrrl.envs.bit_flipping import BitFlipping
from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment
from dbrrl.learning import goals
from dbrrl.networks.preprocessor import Preprocessor
from tests.agents.feeding import content
from tests.agents.probes import RUN, train

Box, Dict = gym.spaces.Box, gym.spaces.Dict
GOAL = Box(-9.0, 9.0, (2, 1), np.float64)
PARTS: dict[str, Any] = {
    "achieved_goal": GOAL,
    "desired_goal": GOAL,
    "observation": Dict({"eye": Box(0, 255, (36, 36, 1), np.uint8), "arm": Box(-1.0, 1.0, (3,))}),
}
QUICK: dict[str, Any] = {"her": True, "learning_starts": 8, "batch_size": 8, "update_interval": 2, "buffer_size": 100}
env_id = "dbrrl/BitFlipping-v0"


class Reach(gym.Env[Any, Any]):
    """A goal environment with an image, whose functions take one pair of goals; nothing terminates it."""

    observation_space, action_space = Dict(PARTS), gym.spaces.Discrete(2)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: dict[str, Any]) -> float:
        assert achieved_goal.shape == desired_goal.shape == (2, 1)
        return 0.0 if np.array_equal(achieved_goal, desired_goal) else -1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), -1.0, False, False, {}


class Pointless(Reach):
    """The same without rewards of goals."""

    compute_reward: Any = property()


def test_goals_are_found_in_the_vector() -> None:
    space = Dict(PARTS)
    given = Preprocessor(space)
    layout = goals.layout_of(space, given)
    space.seed(0)
    sample = space.sample()
    vector = given({key: _batch(part) for key, part in sample.items()})["vector"]
    np.testing.assert_allclose(layout.goals(vector[:, layout.achieved]), sample["achieved_goal"][None], rtol=1e-6)
    np.testing.assert_allclose(layout.goals(vector[:, layout.desired]), sample["desired_goal"][None], rtol=1e-6)
    assert layout.shape == (2, 1) and layout.dtype == np.float64


def _batch(part: Any) -> Any:
    return {key: _batch(inner) for key, inner in part.items()} if isinstance(part, dict) else part[None]


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (GOAL, {}, "expected a goal environment"),
        (Dict({"achieved_goal": GOAL, "observation": GOAL}), {}, "expected a goal environment"),
        (Dict(PARTS | {"desired_goal": Box(0, 9, (36, 36, 1), np.uint8)}), {}, "desired_goal to be a Box, and no im"),
        (Dict(PARTS | {"achieved_goal": gym.spaces.Discrete(3)}), {}, "achieved_goal to be a Box"),
        (Dict(PARTS | {"achieved_goal": Box(-1, 1, (3,))}), {}, r"goals of one shape, got \(3,\) and \(2, 1\)"),
        (Dict(PARTS), {"scale_observation": True}, "got scale_observation=true"),
    ],
)
def test_spaces_without_goals_are_refused_when_the_agent_is_made(
    space: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^her: .*{message}"):
        DQN(space, gym.spaces.Discrete(2), DQN.Config(**QUICK, **settings))


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, C51, QRDQN, IQN, Rainbow])
@pytest.mark.parametrize("settings", [{}, {"n_step": 3, "her_goals": "final"}])
def test_every_agent_with_replay_learns_in_a_loop_of_ones_own(kind: Any, settings: dict[str, Any]) -> None:
    env: Any = gym.make(env_id, size=4)
    agent = kind(env.observation_space, env.action_space, kind.Config(**QUICK, **settings))
    prioritized = getattr(agent.config, "prioritized", False)
    assert type(agent.replay) is (PrioritizedHindsightReplayBuffer if prioritized else HindsightReplayBuffer)
    agent.use_goals_of(env)
    observation, _ = env.reset(seed=0)
    for _ in range(40):
        following, reward, terminated, truncated, info = env.step(agent.act(observation))
        agent.observe(following, reward, terminated, truncated, info)
        observation = env.reset()[0] if terminated or truncated else following
    assert agent.num_updates > 10
    batch = agent.sample()
    bits, goal = batch.next_observation[:, :4], batch.next_observation[:, 4:8]
    if "n_step" not in settings and not prioritized:
        np.testing.assert_array_equal(batch.reward == 0, (bits == goal).all(1))
        np.testing.assert_array_equal(batch.discount == 0, (bits == goal).all(1))


@pytest.mark.parametrize("kind", [DDPG, TD3, SAC, TQC])
@pytest.mark.parametrize("prioritized", [False, True])
def test_continuous_actions_reach_for_goals_too(kind: Any, prioritized: bool) -> None:
    env, actions = Reach(), Box(-2.0, 2.0, (2,))
    config = kind.Config(**QUICK, hidden_sizes=(8, 8), prioritized=prioritized, reward_scale=0.5)
    agent = kind(env.observation_space, actions, config, num_envs=1)
    agent.use_goals_of(env)
    observation, _ = env.reset(seed=0)
    for t in range(14):
        action = agent.act(observation)
        observation = env.step(action)[0]
        agent.observe(observation, -1.0, False, t % 5 == 4)
    batch = agent.sample()
    assert agent.num_updates > 0 and actions.contains(action) and set(batch.reward) == {0.0, -0.5}


def test_goals_of_an_image_environment_that_answers_for_one_pair(tmp_path: Path) -> None:
    env, config = Reach(), DQN.Config(**QUICK, hidden_sizes=(8,))
    agent = DQN(env.observation_space, env.action_space, config)
    agent.use_goals_of(gym.wrappers.TimeLimit(env, 5))
    observation, _ = env.reset(seed=0)
    for t in range(12):
        action = agent.act(observation)
        observation = env.step(action)[0]
        agent.observe(observation, -1.0, False, t % 5 == 4)
    batch = agent.sample()
    assert agent.num_updates > 0 and set(batch.reward) <= {0.0, -1.0} and (batch.discount > 0).all()
    agent.save(tmp_path / "agent")
    again = DQN.load(tmp_path / "agent")
    with pytest.raises(ConfigError, match=r"^her: .*call agent.use_goals_of\(env\) before act"):
        again.act(observation)
    again.act(observation, explore=False)  # no goal is needed to play
    again = DQN.load(tmp_path / "agent")
    again.use_goals_of(env)
    assert content(again) == content(agent)


def test_functions_are_found_through_wrappers_and_vectors() -> None:
    one = gym.make(env_id)
    sync = gym.vector.SyncVectorEnv([lambda: gym.make(env_id)] * 2)
    for env in (one, one.unwrapped, sync, gym.wrappers.vector.RecordEpisodeStatistics(sync)):
        reward, terminated = goals.functions_of(env)
        assert reward(np.ones(10), np.ones(10), {}) == 0 and terminated is not None
        assert terminated(np.zeros(10), np.ones(10), {}) == False  # noqa: E712 - NumPy's
    assert goals.functions_of(Reach())[1] is None
    for env in (gym.make("CartPole-v1"), Pointless()):
        with pytest.raises(ConfigError, match=r"^her: expected an environment with compute_reward\(achieved_goal, "):
            goals.functions_of(env)


def test_what_cannot_be_served_is_said_at_the_start(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {**RUN, "preset": False, "steps": 100, "out": tmp_path}
    for agent, env in (("dqn", "CartPole-v1"), ("drqn", env_id)):
        with pytest.raises(ConfigError, match=r"^her: "):
            Experiment(agent, env, her=True, **quiet).run()
    with pytest.raises(ConfigError, match=r"^her: expected an environment with compute_reward"):
        Experiment("dqn", Pointless, her=True, max_episode_steps=5, **quiet).run()
    with pytest.raises(ConfigError, match="use_goals_of: expected an agent with her"):
        DQN(GOAL, gym.spaces.Discrete(2)).use_goals_of(BitFlipping())
    with pytest.raises(ConfigError, match="her_ratio"):
        Experiment("dqn", env_id, her_ratio=0.5, **quiet)
    assert type(DQN(GOAL, gym.spaces.Discrete(2)).replay) is ReplayBuffer


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_runner_knows_the_goals_of_its_environments(vectorization: str) -> None:
    settings = {"num_envs": 2, "steps": 60, "env_kwargs": {"size": 4}, "vectorization": vectorization, **QUICK}
    run = train("dqn", env_id, 0, **settings)
    agent: Any = run.agent
    assert agent.num_updates > 20 and agent.replay.compute_reward is not None


HINDSIGHT: dict[str, Any] = {
    "num_envs": 8, "gamma": 0.98, "learning_starts": 500, "update_interval": 8, "updates_per_interval": 2,
    "target_update_interval": 1, "tau": 0.05, "epsilon_steps": 2000, "epsilon_end": 0.1, "buffer_size": 20_000,
    "hidden_sizes": (128,), "final_episodes": 100,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"her_goals": "final"}, {"n_step": 3}, {"prioritized": True}])
def test_bits_are_flipped_with_hindsight_and_not_without(settings: dict[str, Any]) -> None:
    """Section 3.1, n = 10: half of the bits are wrong at first, and the last right flip pays 0, so -4 is the best."""
    run = train("dqn", env_id, 0, steps=16_000, her=True, **HINDSIGHT, **settings)
    assert run.score > -4.5
    if "her_goals" not in settings:
        assert train("dqn", env_id, 0, steps=16_000, **HINDSIGHT, **settings).score < -9.5


@pytest.mark.slow
def test_a_few_bits_are_flipped_with_hindsight_and_not_without() -> None:
    settings = {**HINDSIGHT, "env_kwargs": {"size": 8}, "steps": 6000}
    assert train("dqn", env_id, 0, her=True, **settings).score > -4.5
    assert train("dqn", env_id, 0, **settings).score < -7.0
