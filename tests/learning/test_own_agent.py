"""Mistakes in an agent of one's own are named in one line, where they are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dbrrl
from dbrrl import agents, nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.config import setting
from dbrrl.errors import ArgumentError, ConfigError, DtypeError, ShapeError
from dbrrl.learning.agent import Agent
from dbrrl.learning.config import OffPolicyConfig
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.optim import Adam

BOX, TORQUE = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-2, 2, (1,))


class Own(OffPolicyAgent):
    """An agent whose actions, loss and statistics are what a test says."""

    Config = OffPolicyConfig
    explored: Any = np.zeros((4, 1), np.float32)
    greedy: Any = np.zeros((4, 1), np.float32)
    returned: Any = None

    def make_networks(self, rng: np.random.Generator) -> None:
        """One layer."""
        self.network = nn.mlp((3, 1), rng=rng)
        self.step = self.gradient_step_for(self.loss, Adam(self.network, 1e-3))

    def explore(self, observation: Any) -> Any:
        return self.explored

    def act_greedily(self, observation: Any) -> Any:
        return self.greedy

    def loss(self, batch: Any) -> Any:
        return self.network(batch.observation).mean()

    def update(self, batch: Any) -> Any:
        return self.step(batch) if self.returned == "step" else self.returned


def play(num_envs: int = 4, explore: bool = True, **values: Any) -> None:
    """One act, and one `observe` that makes an update due."""
    kind = type("Mine", (Own,), values)
    agent = kind(BOX, TORQUE, OffPolicyConfig(learning_starts=1, update_interval=1), num_envs=num_envs, seed=0)
    observation, no = np.zeros((num_envs, 3), np.float32), np.zeros(num_envs, bool)
    agent.act(observation, explore)
    agent.observe(observation, np.zeros(num_envs), no, no)
    agent.statistics()


@pytest.mark.parametrize(
    ("values", "error", "line"),
    [
        (
            {"explored": np.zeros(4, np.float32)},
            ShapeError,
            r"^explore: expected actions of shape \(4, 1\), one row per observation, got \(4,\): reshape them",
        ),
        (
            {"explored": np.zeros((1, 1), np.float32)},
            ShapeError,
            r"^explore: expected actions of shape \(4, 1\), one row per observation, got \(1, 1\)",
        ),
        (
            {"explored": np.zeros(1, np.float32), "num_envs": 1},
            ShapeError,
            r"^explore: expected actions of shape \(1, 1\), one row per observation, got \(1,\)",
        ),
        (
            {"greedy": np.zeros(4, np.float32), "explore": False},
            ShapeError,
            r"^act_greedily: expected actions of shape \(4, 1\), .*got \(4,\)",
        ),
        (
            {"greedy": Tensor(np.zeros((4, 1), np.float32)), "explore": False},
            DtypeError,
            r"^act_greedily: expected actions as a NumPy array of shape \(4, 1\), got dbrrl\..*: return its \.array",
        ),
        ({"explored": [[0.0]] * 4}, DtypeError, r"^explore: expected actions as a NumPy array .*got builtins\.list"),
        ({"returned": None}, ArgumentError, r"^update: expected a dict of statistics, got NoneType: return"),
        (
            {"returned": "step", "loss": lambda self, batch: (self.network(batch.observation), dict)},
            ShapeError,
            r"^loss: expected a scalar, or one number per transition, \(n,\), got a tensor \(\d+, 1\): take its mean",
        ),
        ({"returned": "step"}, ArgumentError, r"^loss: expected two values, the loss and a function .* got Tensor"),
    ],
)
def test_what_a_method_returns(values: dict[str, Any], error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        play(**values)


def test_statistics_of_an_agent_with_rollouts_that_returns_none() -> None:
    class Mine(agents.A2C):
        def update(self, rollout: Any) -> Any:
            super().update(rollout)

    agent = Mine(BOX, TORQUE, agents.A2C.Config(n_steps=1), seed=0)
    agent.act(np.zeros((1, 3), np.float32))
    with pytest.raises(ArgumentError, match=r"^update: expected a dict of statistics, got NoneType"):
        agent.observe(np.zeros((1, 3), np.float32), 0.0, False, False)


def without(*names: str) -> dict[str, Any]:
    """The methods of `Own`, without some of them."""
    return {name: value for name, value in vars(Own).items() if not name.startswith("__") and name not in names}


@pytest.mark.parametrize(
    ("base", "members", "line"),
    [
        (Agent, {}, r"^Mine has no Config: expected the dataclass of its settings"),
        (OffPolicyAgent, without("update"), r"^Mine: expected 'update' in the class, as its base class calls it"),
        (OffPolicyAgent, without("update", "make_networks"), r"^Mine: expected 'make_networks', 'update' in the class"),
        (agents.A2C, {"saved_attributes": ("network",)}, r"^Mine\.saved_attributes: expected 'optimizer', .*A2C"),
    ],
)
def test_what_a_class_of_ones_own_lacks_is_said_when_the_agent_is_made(base: Any, members: Any, line: str) -> None:
    kind = type("Mine", (base,), members)
    with pytest.raises(ArgumentError, match=line):
        kind(BOX, TORQUE, seed=0)


def test_a_class_may_be_completed_after_it_was_made() -> None:
    kind: Any = type("Mine", (OffPolicyAgent,), without("update"))
    kind.update = Own.update
    kind.saved_attributes = property(lambda self: OffPolicyAgent.saved_attributes)
    assert kind(BOX, TORQUE, seed=0).num_updates == 0


def test_a_saved_attribute_that_there_is_not_is_said_when_it_is_to_be_saved() -> None:
    kind = type("Mine", (agents.A2C,), {"saved_attributes": (*agents.A2C.saved_attributes, "noise", "later")})
    agent: Any = kind(BOX, TORQUE, seed=0)
    with pytest.raises(
        ArgumentError, match=r"^Mine\.saved_attributes: .* it has no 'noise', 'later': check the spelling"
    ):
        agent.state_dict()
    agent.noise = agent.later = 1.0
    assert agent.state_dict()["noise"] == 1.0


def test_a_saved_attribute_that_there_is_not_is_said_before_a_run_has_a_folder(tmp_path: Path) -> None:
    kind = type("Mine", (agents.A2C,), {"saved_attributes": (*agents.A2C.saved_attributes, "noise")})
    with pytest.raises(ArgumentError, match=r"it has no 'noise'"):
        dbrrl.Experiment(kind, "Pendulum-v1", out=tmp_path, progress=False).run(steps=100)
    assert not list(tmp_path.iterdir())


def test_what_a_class_of_ones_own_lacks_is_said_before_a_run_is_begun() -> None:
    kind = type("Mine", (OffPolicyAgent,), without("update"))
    with pytest.raises(ArgumentError, match=r"^Mine: expected 'update' in the class"):
        dbrrl.Experiment(kind, "Pendulum-v1")


def test_a_method_that_acting_alone_needs_is_named() -> None:
    agent = type("Mine", (OffPolicyAgent,), without("act_greedily"))(BOX, TORQUE, seed=0)
    with pytest.raises(NotImplementedError, match=r"^Mine has no act_greedily\(\): expected one"):
        agent.act(np.zeros((1, 3), np.float32), explore=False)


def test_the_config_of_another_agent_is_named() -> None:
    with pytest.raises(ConfigError, match=r"expected the Config of ppo, got dbrrl\.agents\.a2c\.Config: write PPO"):
        agents.PPO(BOX, TORQUE, agents.A2C.Config())


def test_fields_of_a_class_that_is_no_dataclass_are_refused() -> None:
    class Annotated(OffPolicyConfig):
        actor_rate: float = 1e-3

    class Undeclared(OffPolicyConfig):
        actor_rate: float = setting(1e-3, above=0)

    for kind in (Annotated, Undeclared):
        with pytest.raises(ArgumentError, match=r"actor_rate has no effect: write @dataclass\(frozen=True\) above"):
            kind()


def test_a_default_without_a_type_is_refused() -> None:
    @dataclass(frozen=True)
    class Untyped(OffPolicyConfig):
        gamma = 0.5

    with pytest.raises(ArgumentError, match=r"Untyped: gamma = \.\.\. has no effect: write its type too"):
        Untyped()


def test_a_class_that_only_renames_a_config_is_one() -> None:
    class Same(OffPolicyConfig):
        """As its base."""

    assert Same(gamma=0.5).to_dict() == OffPolicyConfig(gamma=0.5).to_dict()
