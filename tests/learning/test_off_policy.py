"""What agents with a replay buffer share: when they learn and from what, offline data, an agent of one's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn, testing
from dbrrl.agents import C51, DQN, IQN, QRDQN, DoubleDQN, Rainbow
from dbrrl.buffers import Batch, PrioritizedReplayBuffer
from dbrrl.config import setting
from dbrrl.errors import AnomalyError
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.optim import Adam
from dbrrl.types import Metrics
from tests import standin

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
THREE = gym.spaces.Discrete(3, start=-1)


@dataclass(frozen=True)
class Config(OffPolicyConfig):
    """The least that an off-policy agent has."""

    learning_rate: float = setting(1e-2, above=0, help="step size of Adam")


class Rewarded(OffPolicyAgent):
    """Chooses the action of the largest mean reward; explores at random."""

    Config = Config
    saved_attributes = ("network", "optimizer", *OffPolicyAgent.saved_attributes)
    action_spaces = (gym.spaces.Discrete,)

    def make_networks(self, rng: np.random.Generator) -> None:
        self.actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self.network = nn.mlp((self.preprocessor.vector_size, 16, self.actions), "tanh", rng=rng).to(self.device)
        self.optimizer = Adam(self.network, self.config.learning_rate)
        self.gradient_step = self.gradient_step_for(self.loss, self.optimizer)

    def act_greedily(self, observation: Any) -> np.ndarray:
        with nn.evaluation():
            found: np.ndarray = self.network(observation).array.argmax(axis=1)
        return found

    def explore(self, observation: Any) -> np.ndarray:
        rng = self.explorer.rng
        return rng.integers(self.actions, size=len(observation))

    def update(self, batch: Batch) -> Metrics:
        metrics = self.gradient_step(batch)
        self.num_updates += 1
        return {"loss": float(metrics["loss"])}

    def loss(self, batch: Batch) -> Any:
        loss = F.mse_loss(F.pick(self.network(batch.observation), batch.action), batch.reward)
        return loss, lambda: {"loss": loss.array}


def own(**settings: Any) -> Any:
    config = {"buffer_size": 40, "batch_size": 8, "learning_starts": 8, "update_interval": 2} | settings
    return Rewarded(BOX, THREE, Config(**config), num_envs=2, seed=0)


def feed(agent: Any, steps: int, first: int = 0) -> None:
    """Random transitions in which action 1 (the space's number for row 2) alone pays."""
    for t in range(first, first + steps):
        rng = np.random.default_rng(t)
        action = agent.act(rng.normal(size=(agent.num_envs, 3)).astype(np.float32))
        ends = rng.random((2, agent.num_envs)) < 0.1
        following = rng.normal(size=(agent.num_envs, 3)).astype(np.float32)
        agent.observe(following, np.where(action == 1, 1.0, 0.0), ends[0], ends[1] & ~ends[0])


def test_an_agent_of_ones_own_keeps_the_protocol() -> None:
    testing.check_agent(own)


class Broken(Rewarded):
    """Its `update` fails."""

    def update(self, batch: Batch) -> Metrics:
        raise RuntimeError("never seen before")


class Uncounted(Rewarded):
    """It learns, and does not count its updates."""

    def update(self, batch: Batch) -> Metrics:
        return {"loss": float(self.gradient_step(batch)["loss"])}


class Forgetful(Rewarded):
    """The state of its optimizer, which only an update reads, is not saved."""

    saved_attributes = tuple(name for name in Rewarded.saved_attributes if name != "optimizer")


class Silent(Rewarded):
    """Its statistics are not saved."""

    found: Metrics = {}  # noqa: RUF012

    def update(self, batch: Batch) -> Metrics:
        self.found = super().update(batch)
        return self.found

    def statistics(self) -> Metrics:
        return self.found


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        (Broken, {}, RuntimeError, "never seen before"),
        (Uncounted, {}, AssertionError, r"num_updates is 0: add self\.num_updates \+= 1 to `update`"),
        (Forgetful, {}, AssertionError, "went on otherwise: .*not in its state: optimizer"),
        (Silent, {}, AssertionError, "loaded from its state differs, in its statistics: loss$"),
        (Rewarded, {"learning_starts": 10**6}, AssertionError, r"no update in 300 steps .*learning_starts=8"),
    ],
)
def test_the_check_of_an_agent_reaches_an_update_with_the_default_settings(
    kind: Any, settings: dict[str, Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "_LIMIT", 300, raising=False)
    with pytest.raises(error, match=message):
        testing.check_agent(lambda: kind(BOX, THREE, Config(**settings), num_envs=4, seed=0))


def test_an_agent_that_never_learns_is_checked_where_that_is_said() -> None:
    settings = Config(learning_starts=10**6)
    testing.check_agent(lambda: Broken(BOX, THREE, settings, num_envs=4, seed=0), learns=False)


def test_it_learns() -> None:
    agent = own(learning_starts=32)
    feed(agent, 200)
    assert agent.act(np.zeros((2, 3), np.float32), explore=False).tolist() == [1, 1]
    assert agent.statistics()["loss"] < 0.1 and agent.num_updates == (400 - 32) // 2 + 1


@pytest.mark.parametrize(("interval", "each"), [(1, 1), (2, 1), (3, 2), (7, 1)])
def test_updates_come_once_per_interval_from_the_first_due_step_on(interval: int, each: int) -> None:
    agent = own(update_interval=interval, updates_per_interval=each, learning_starts=10)
    feed(agent, 25)
    steps = range(2, 51, 2)
    due = [s // interval - (s - 2) // interval for s in steps if s >= 10]
    assert agent.steps == 50 and agent.num_updates == each * sum(due)


def test_nothing_is_learned_from_acts_outside_training() -> None:
    agent = own()
    feed(agent, 10)
    agent.training = False
    before = agent.replay.state_dict()
    agent.act(np.zeros((7, 3), np.float32))
    np.testing.assert_equal(agent.replay.state_dict(), before)


def offline(rng: np.random.Generator, n: int = 64) -> Batch:
    """Transitions of one step, without an environment: action a in s pays s[a]; each is the end of its episode."""
    observation = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
    action = rng.integers(0, 3, n)
    return Batch(
        observation=observation,
        action=action,
        reward=observation[np.arange(n), action],
        discount=np.zeros(n, np.float32),
        next_observation=observation,
        index=np.arange(n),
        weight=None,
    )


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, C51, QRDQN, IQN])
def test_offline_data_need_no_environment(kind: type[DQN]) -> None:
    """The best action is that of the largest entry of the observation."""
    atoms = {"value_min": -1.0, "value_max": 1.0, "atoms": 21} if kind is C51 else {}
    config = kind.Config(buffer_size=1, learning_rate=1e-2, hidden_sizes=(32,), target_update_interval=10, **atoms)
    agent = kind(BOX, THREE, config, seed=0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        metrics = agent.update(offline(rng))
    observation = rng.uniform(-1, 1, (200, 3)).astype(np.float32)
    chosen = agent.act(observation, explore=False) + 1
    regret = observation.max(axis=1) - observation[np.arange(200), chosen]
    assert regret.mean() < 0.05 and agent.num_updates == 300 and len(agent.replay) == 0
    numbers = metrics.numbers()
    assert {"loss", "error", "grad_norm"} == numbers.keys() and np.isfinite(list(numbers.values())).all()


@pytest.mark.parametrize("kind", [DQN, Rainbow])
def test_sampling_follows_the_settings(kind: type[DQN]) -> None:
    config = kind.Config(buffer_size=40, batch_size=5, n_step=2, gamma=0.5, learning_starts=1000, prioritized=True)
    agent = kind(BOX, THREE, config, num_envs=2, seed=0)
    for _ in range(6):
        agent.act(np.zeros((2, 3), np.float32))
        agent.observe(np.zeros((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
    batch = agent.sample()
    newest = batch.index >= 10  # of the last step: one reward only
    np.testing.assert_array_equal(batch.reward, np.where(newest, 1.0, 1.5))
    np.testing.assert_array_equal(batch.discount, np.where(newest, 0.5, 0.25))
    assert isinstance(agent.replay, PrioritizedReplayBuffer) and batch.weight.max() <= 1 and len(batch) == 5


def test_the_schedule_of_a_setting_follows_the_steps_of_the_run() -> None:
    agent = DQN(BOX, THREE, DQN.Config(learning_rate_schedule="linear", total_steps=20, buffer_size=40), num_envs=2)
    for expected in (1e-3, 0.5e-3, 0.0, 0.0):
        assert agent.scheduled("learning_rate") == pytest.approx(expected)
        feed(agent, 5)


def test_on_a_gpu_the_statistics_tell_that_an_update_was_not_finite() -> None:
    """No step waits for the GPU to see it."""
    settings = {"buffer_size": 40, "batch_size": 8, "learning_starts": 8, "hidden_sizes": (8,)}
    with standin.installed(), np.errstate(all="ignore"):
        agent = DQN(BOX, THREE, DQN.Config(**settings), num_envs=2, device="cuda")
        feed(agent, 8)
        assert np.isfinite(list(agent.statistics().values())).all()
        agent.replay.rewards[:] = np.nan
        feed(agent, 4, first=8)
        with pytest.raises(AnomalyError, match=r"dqn: expected finite statistics, got .*'loss': nan"):
            agent.statistics()


def test_statistics_that_are_arrays_are_saved_as_numbers(tmp_path: Path) -> None:
    class Careless(Rewarded):
        def update(self, batch: Batch) -> Any:
            metrics = self.gradient_step(batch)
            self.num_updates += 1
            return {"loss": np.asarray(metrics["loss"]), "each": np.full(4, 2.0, np.float32)}

    agent = Careless(BOX, THREE, Config(learning_starts=4, batch_size=4, update_interval=1), num_envs=1, seed=0)
    for _ in range(8):
        agent.act(np.zeros((1, 3), np.float32))
        agent.observe(np.zeros((1, 3), np.float32), np.ones(1), np.zeros(1, bool), np.zeros(1, bool))
    assert agent.num_updates and agent.statistics()["each"] == 2.0
    agent.save(tmp_path / "agent.dbrrl")
    assert Careless.load(tmp_path / "agent.dbrrl").statistics() == agent.statistics()
