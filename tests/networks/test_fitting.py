"""Networks of your own: what does not fit an agent is refused when it is set, and nothing of a network changes."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, nn
from dbrrl import functional as F
from dbrrl.agents import A2C, A3C, C51, DQN, IQN, PPO, QRDQN, REINFORCE, TRPO, DoubleDQN, Rainbow
from dbrrl.backend.trees import leaves
from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.types import Observation

BOX, TWO = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
IMAGE = gym.spaces.Dict({"seen": gym.spaces.Box(0, 255, (36, 36, 1), np.uint8), "felt": BOX})
SMALL: dict[type[DQN], dict[str, Any]] = {
    DQN: {},
    DoubleDQN: {},
    C51: {"atoms": 5},
    Rainbow: {"atoms": 5},
    QRDQN: {"quantiles": 5},
    IQN: {"action_quantiles": 5},
}


class Layer(nn.Module):
    """A layer on the vector, whose outputs come in a shape for each observation."""

    def __init__(self, *shape: int, inputs: int = 4) -> None:
        self.layer, self.shape = nn.Linear(inputs, int(np.prod(shape)), rng=0), shape

    def forward(self, observation: Observation) -> Any:
        return self.layer(leaves(observation)[0]).reshape(-1, *self.shape)


class Fractions(Layer):
    """The same in the place of IQN's network, at each fraction."""

    def forward(self, observation: Observation, fractions: Any) -> Any:  # type: ignore[override]
        values, n = super().forward(observation), fractions.shape[-1]
        return F.stack([values] * n, axis=1)


def made(kind: Any, space: Any = BOX, action: Any = TWO, **settings: Any) -> Any:
    """An agent with small buffers."""
    buffers = {"buffer_size": 100} if issubclass(kind, DQN) else {"n_steps": 2}
    return kind(space, action, kind.Config(**buffers, **settings))


@pytest.mark.parametrize("kind", SMALL)
def test_a_q_network_of_another_number_of_actions_or_outputs_is_refused(kind: type[DQN]) -> None:
    agent = made(kind, **SMALL[kind])
    shape = () if kind in (DQN, DoubleDQN, IQN) else (5,)
    network = Fractions if kind is IQN else Layer
    wrong = [(3, *shape), (1, *shape)] + [(2, 4), (2, 1), (5, 2)] * bool(shape)
    before = agent.network
    for one in wrong:
        with pytest.raises(ConfigError, match=r"^network: expected (outputs|values|one that takes)"):
            agent.network = network(*one)
    assert agent.network is before
    agent.network = right = network(2, *shape)
    assert agent.network is right
    agent.act(np.zeros(4, np.float32))


def test_the_message_says_both_shapes() -> None:
    with pytest.raises(ConfigError) as caught:
        made(DQN).network = Layer(5)
    expected = "expected outputs of shape (3, 2) for 3 observations, got (3, 5): change its last layer"
    assert str(caught.value) == f"network: {expected}"
    with pytest.raises(ConfigError, match=r"takes 3 observations \(float32 \(3, 4\)\), got ShapeError: "):
        made(DQN).network = Layer(2, inputs=9)
    for odd in (None, len, "MlpPolicy"):
        with pytest.raises(ConfigError, match=r"^network: expected an nn\.Module, got "):
            made(DQN).network = odd


class Policy(nn.Module):
    """Policy and values, of any number of outputs."""

    def __init__(self, outputs: int, values: tuple[int, ...] = (-1,), log_std: int | None = None) -> None:
        self.actor, self.critic, self.values = nn.Linear(4, outputs, rng=0), nn.Linear(4, 1, rng=1), values
        self.log_std = None if log_std is None else nn.Parameter(np.zeros(log_std, np.float32))

    def policy(self, observation: Observation) -> Any:
        return self.actor(observation)

    def value(self, observation: Observation) -> Any:
        return self.critic(observation).reshape(*self.values)

    def forward(self, observation: Observation) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)


class Remembering(nn.Module):
    """The same with a memory that is never used."""

    def __init__(self, outputs: int) -> None:
        self.inner = Policy(outputs)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return (np.zeros((1, batch, 1), np.float32),)

    def forward(self, observation: Observation, state: Any, reset: Any) -> tuple[Any, Any, Any]:
        return self.inner.actor(observation), self.inner.critic(observation)[..., 0], state


@pytest.mark.parametrize("kind", [PPO, A2C, A3C, REINFORCE])
def test_a_policy_of_another_shape_is_refused(kind: Any) -> None:
    agent = made(kind)
    for network, line in (
        (Policy(3), r"outputs of forward of shape \(3, 2\) for 3 observations, got \(3, 3\)"),
        (Policy(2, (-1, 1)), r"values of forward of shape \(3,\) for 3 observations, got \(3, 1\)"),
        (Remembering(3), r"outputs of forward of shape \(3, 2\) for 3 observations, got \(3, 3\)"),
    ):
        with pytest.raises(ConfigError, match=line):
            agent.network = network
    box = made(kind, action=gym.spaces.Box(-1.0, 1.0, (2,), np.float32))
    for log_std, got in ((None, "NoneType"), (1, r"\(1,\)")):
        with pytest.raises(ConfigError, match=rf"log_std of shape \(2,\) for 3 observations, got {got}"):
            box.network = Policy(2, log_std=log_std)
    box.network = Policy(2, log_std=2)
    for network in (Policy(2), Remembering(2)):
        agent.network = network
        agent.act(np.zeros((1, 4), np.float32))


class Noted(Layer):
    """Counts how often it is called, draws at random, and may hold what cannot be copied."""

    def __init__(self, held: Any = None) -> None:
        super().__init__(2)
        self.calls, self.held, self.dropout = 0, held, nn.Dropout(0.5, rng=0)

    def forward(self, observation: Observation) -> Any:
        self.calls += 1
        return self.dropout(super().forward(observation))


@pytest.mark.parametrize("held", [None, (i for i in range(3))], ids=["", "held"])
def test_nothing_of_the_network_changes_and_one_that_cannot_be_copied_is_taken(held: Any) -> None:
    network = Noted()
    before = network.state_dict()
    policy = Policy(2)
    policy.held = held  # type: ignore[attr-defined]
    made(DQN).network = network
    made(PPO).network = policy
    assert network.calls == 0 and network.training
    np.testing.assert_equal(network.state_dict(), before)


def test_images_and_dicts_are_tried_too() -> None:
    agent = made(DQN, IMAGE)
    agent.network = Layer(2)  # reads the vector alone
    with pytest.raises(ConfigError, match=r"\(vector: float32 \(3, 4\), seen: uint8 \(3, 1, 36, 36\)\)"):
        agent.network = Layer(2, inputs=36)


@pytest.mark.parametrize("kind", [PPO, A2C, A3C, REINFORCE, TRPO, DQN, QRDQN])
def test_load_refuses_a_file_with_another_network_and_names_the_way_back(kind: Any, tmp_path: Path) -> None:
    def replaced() -> Any:
        agent = made(kind)
        agent.network = other = copy.deepcopy(agent.network)  # of the same shapes, so that its weights would fit
        other.note = "its forward may be another"
        return agent

    agent, path = replaced(), tmp_path / "agent.dbrrl"
    agent.save(path)
    way = r"replaced.*agent\.network = .*agent\.restore\('.*agent.dbrrl'\); or load it with network="
    with pytest.raises(CheckpointError, match=way):
        kind.load(path)
    with pytest.raises(CheckpointError, match="network was replaced: give this one that network"):
        made(kind).restore(path)
    back = replaced()
    back.restore(path)
    assert checkpoint.encode(back.record(), kind="agent") == path.read_bytes()
    plain = made(kind)
    plain.save(path)
    assert "replaced" not in plain.record() and kind.load(path).replaced is False


class Given(DQN):
    """An agent that gives itself another network."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.network = Layer(self.actions)


def test_an_agent_that_gives_itself_a_network_is_loaded(tmp_path: Path) -> None:
    agent = made(Given)
    agent.save(tmp_path / "agent.dbrrl")
    assert type(Given.load(tmp_path / "agent.dbrrl").network) is Layer


class Several(DQN):
    """Values as the mean of several, by a number that the constructor sets last."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scale = 2.0

    def make_network(self, rng: Any, atoms: int | None = None) -> nn.Module:
        return Layer(self.actions, 7)

    def values(self, network: Any, observation: Observation) -> Any:
        return F.mean(network(observation), axis=-1) * self.scale


def test_an_agent_of_your_own_may_read_other_outputs() -> None:
    agent = made(Several)
    agent.network = Layer(2, 7)
    with pytest.raises(ConfigError, match=r"outputs of shape \(3, 2, 7\) for 3 observations, got \(3, 2, 6\)"):
        agent.network = Layer(2, 6)


def test_a_network_that_an_agent_of_your_own_builds_is_tried_when_it_is_made() -> None:
    class Wrong(PPO):
        def make_network(self, rng: Any) -> nn.Module:
            return Policy(5)

    with pytest.raises(ConfigError, match=r"outputs of forward of shape \(3, 2\) for 3 observations, got \(3, 5\)"):
        made(Wrong)
