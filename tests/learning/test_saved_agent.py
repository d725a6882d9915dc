"""Agents that are loaded with other settings, another number of environments, or another network."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, nn, testing
from dbrrl.agents import A2C, A3C, DQN, PPO
from dbrrl.autodiff.tensor import plain
from dbrrl.errors import ArgumentError, CheckpointError, ConfigError
from dbrrl.experiment import registry
from dbrrl.schedules import cosine
from tests import standin
from tests.standin import host

BOX, THREE = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(3)
SETTINGS: dict[Any, dict[str, Any]] = {
    PPO: {"n_steps": 4, "batch_size": 8, "n_epochs": 2, "normalize_observation": True, "normalize_reward": True},
    A2C: {"n_steps": 4, "recurrent": "gru", "recurrent_size": 4},
    A3C: {"n_steps": 4, "normalize_reward": True},
    DQN: {"batch_size": 4, "learning_starts": 4, "buffer_size": 40, "prioritized": True, "exploration": "ez_greedy"},
}


def trained(kind: Any, steps: int = 11, num_envs: int = 3) -> Any:
    agent = kind(BOX, THREE, kind.Config(**SETTINGS[kind]), num_envs=num_envs, seed=1)
    play(agent, steps)
    return agent


def play(agent: Any, steps: int) -> None:
    rng, count = np.random.default_rng(2), agent.num_envs
    observation = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    for step in range(steps):
        agent.act(observation)
        observation = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
        flags = np.full(count, step % 5 == 4), np.zeros(count, bool)
        agent.observe(observation, rng.normal(size=count), *flags, valid=np.ones(count, bool))


def greedy(agent: Any, observation: np.ndarray) -> np.ndarray:
    first = {"episode_start": True} if agent.recurrent else {}
    action: np.ndarray = agent.act(observation, explore=False, **first)
    return action


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_agent_goes_on_in_another_number_of_environments(kind: Any, tmp_path: Path) -> None:
    agent = trained(kind)
    agent.save(tmp_path / "x")
    observation = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    for count in (1, 5):
        other = kind.load(tmp_path / "x", num_envs=count)
        assert other.num_envs == count and other.config == agent.config
        assert np.array_equal(greedy(other, observation), greedy(agent, observation))
        assert other.statistics().keys() == agent.statistics().keys()
        before = other.num_updates
        play(other, 12)
        assert other.num_updates > before


@pytest.mark.parametrize("kind", SETTINGS)
def test_without_changes_it_is_exactly_what_was_saved(kind: Any, tmp_path: Path) -> None:
    agent = trained(kind)
    agent.save(tmp_path / "x")
    for options in ({}, {"num_envs": 3}, {"config": agent.config}, {"config": {}}):
        assert checkpoint.same(kind.load(tmp_path / "x", **options).record(), agent.record())


def test_statistics_counts_and_moments_stay_and_what_is_under_way_begins_anew(tmp_path: Path) -> None:
    agent = trained(PPO)
    agent.save(tmp_path / "x")
    other = PPO.load(tmp_path / "x", num_envs=2)
    assert (other.steps, other.num_updates) == (agent.steps, agent.num_updates)
    assert checkpoint.same(other.optimizer.state_dict(), agent.optimizer.state_dict())
    assert checkpoint.same(other.observation_norm.state_dict(), agent.observation_norm.state_dict())
    one, new = agent.reward_norm, other.reward_norm
    assert checkpoint.same(one.statistics.state_dict(), new.statistics.state_dict()) and one.statistics.count > 0
    assert new.returns.tolist() == [0, 0] and agent.rollout.size == 3 and other.rollout.size == 0


def test_other_settings_take_effect_and_keep_what_fits_them(tmp_path: Path) -> None:
    agent = trained(DQN)
    agent.save(tmp_path / "x")
    other = DQN.load(tmp_path / "x", config={"learning_rate": 0.5, "gamma": 0.5})
    assert (other.config.learning_rate, other.config.gamma, other.config.batch_size) == (0.5, 0.5, 4)
    assert checkpoint.same(other.replay.state_dict(), agent.replay.state_dict())
    larger = DQN.load(tmp_path / "x", config=DQN.Config(**{**SETTINGS[DQN], "buffer_size": 80}))
    assert len(larger.replay) == 0 and larger.num_updates == agent.num_updates
    policy = trained(PPO)
    policy.save(tmp_path / "y")
    same = PPO.load(tmp_path / "y", config={"n_epochs": 5})
    assert same.rollout.size == 3 and same.config.n_epochs == 5
    assert PPO.load(tmp_path / "y", config={"n_steps": 8}).rollout.size == 0
    assert PPO.load(tmp_path / "y", config={"normalize_reward": False}).reward_norm is None
    play(PPO.load(tmp_path / "y", config={"max_grad_norm": 1.0, "target_kl": 0.5}), 10)


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        (PPO, {"config": {"hidden_sizes": (8,)}}, "hidden_sizes: what the agent has learned does not fit this"),
        (PPO, {"config": {"activation": "relu"}}, "activation: the weights were learned with tanh, got relu: keep it"),
        (PPO, {"config": {"normalize_observation": False}}, "normalize_observation: the weights were learned"),
        (A2C, {"config": {"recurrent": "none"}}, "recurrent: the weights were learned with gru, got none"),
        (A2C, {"config": {"optimizer": "adam"}}, "optimizer: what the agent has learned does not fit this"),
        (PPO, {"config": {"learning_rat": 1}}, "unknown setting 'learning_rat'; did you mean 'learning_rate'"),
        (PPO, {"config": {"learning_rate": -1}}, "learning_rate: expected a number above 0, or a schedule .* got -1"),
        (PPO, {"config": 3}, r"config: expected a PPO.Config or a table of settings, got int"),
        (PPO, {"config": DQN.Config()}, r"config: expected a PPO.Config or a table of settings, got Config"),
        (PPO, {"num_envs": 0}, "num_envs: expected a whole number of at least 1, got 0"),
        (PPO, {"network": lambda agent: 3}, "^network: expected .* to return a dbrrl.nn.Module, got int"),
        (PPO, {"network": 3}, "network: expected a function that returns the network of an agent"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(
    kind: Any, options: dict[str, Any], line: str, tmp_path: Path
) -> None:
    trained(kind).save(tmp_path / "x")
    with pytest.raises((ConfigError, CheckpointError), match=line) as caught:
        kind.load(tmp_path / "x", **options)
    assert "\n" not in str(caught.value)


class Values(nn.Module):
    """Q-values by one layer."""

    def __init__(self, agent: Any) -> None:
        self.layer = nn.Linear(3, agent.actions, rng=np.random.default_rng(agent.seed))

    def forward(self, observation: Any) -> Any:
        return self.layer(observation)


def test_a_replaced_network_is_given_when_loading(tmp_path: Path) -> None:
    agent = DQN(BOX, THREE, DQN.Config(**SETTINGS[DQN]), num_envs=3, seed=1)
    agent.network = Values(agent)
    play(agent, 9)
    agent.save(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"whose network was replaced by another.*or load it with network="):
        DQN.load(tmp_path / "x")
    assert checkpoint.same(DQN.load(tmp_path / "x", network=Values).record(), agent.record())
    other = DQN.load(tmp_path / "x", network=lambda agent: Values(agent), num_envs=1)
    assert checkpoint.same(other.network.state_dict(), agent.network.state_dict()) and other.num_envs == 1


def test_a_loaded_agent_keeps_the_protocol(tmp_path: Path) -> None:
    trained(PPO).save(tmp_path / "x")
    testing.check_agent(lambda: PPO.load(tmp_path / "x", num_envs=2, config={"total_steps": 1000}))


@pytest.mark.parametrize("kind", [PPO, A2C, DQN])
def test_on_a_gpu_an_agent_is_looked_at_goes_elsewhere_and_loads_with_other_environments(
    kind: Any, tmp_path: Path
) -> None:
    with standin.installed(), np.errstate(all="ignore"):
        agent = kind(BOX, THREE, kind.Config(**SETTINGS[kind]), num_envs=3, seed=1, device="cuda")
        play(agent, 6)
        agent.save(tmp_path / "x")
        batch = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
        first = {"episode_start": True} if agent.recurrent else {}
        here = kind.load(tmp_path / "x")
        assert np.allclose(agent.value(batch, **first), here.value(batch, **first), atol=1e-5)
        if kind is not DQN:
            probs = [np.asarray(host(plain(one.action_distribution(batch, **first).probs))) for one in (agent, here)]
            assert np.allclose(*probs, atol=1e-5)
        agent.begin_elsewhere()
        play(agent, 6)
        other = kind.load(tmp_path / "x", num_envs=2, device="cuda")
        play(other, 12)
        assert other.device == "cuda" and other.num_updates > here.num_updates


@pytest.mark.parametrize("name", registry.agent_names())
def test_every_agent_takes_a_schedule_goes_elsewhere_and_loads_with_one_environment(name: str, tmp_path: Path) -> None:
    kind: Any = registry.agent_class(name)
    fields = kind.Config.__dataclass_fields__
    small = {"batch_size": 8, "learning_starts": 8, "buffer_size": 200, "n_steps": 4, "hidden_sizes": (8,)}
    settings: dict[str, Any] = {field: value for field, value in small.items() if field in fields}
    settings |= {field: cosine(1e-2, 1e-3) for field in fields if field.endswith("learning_rate")}
    space = THREE if gym.spaces.Discrete in kind.action_spaces else gym.spaces.Box(-1, 1, (2,), np.float32)
    agent = kind(BOX, space, kind.Config(**settings, total_steps=200), num_envs=3, seed=0)
    play(agent, 20)
    agent.save(tmp_path / "x")
    alone, observation = kind.load(tmp_path / "x", num_envs=1), np.full((4, 3), 0.5, np.float32)
    assert np.array_equal(greedy(alone, observation), greedy(agent, observation))
    first = {"episode_start": True} if agent.recurrent else {}
    assert np.isfinite(agent.value(observation, **first)).all() and agent.value(observation, **first).shape == (4,)
    try:
        policy = agent.action_distribution(observation, **first)
        assert np.asarray(plain(policy.log_prob(policy.mode()))).shape == (4,)
    except ArgumentError as error:
        assert str(error).startswith(f"{name} has no distribution of actions")  # noqa: PT017
    for one in (agent, alone):
        before = one.num_updates
        one.begin_elsewhere()
        play(one, 30)
        assert one.num_updates > before
