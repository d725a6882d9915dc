"""Old import paths: each gives today's module itself, and warns at the line that imports it."""

import importlib
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dbrrl
from dbrrl import nn, renamed
from dbrrl.agents import A3C, C51, DQN, PPO
from dbrrl.buffers import ReplayBuffer, RolloutBuffer
from dbrrl.errors import ConfigError
from dbrrl.experiment import evaluation
from dbrrl.explorers import EZGreedy, LazyValues
from dbrrl.networks.preprocessor import Preprocessor
from dbrrl.networks.q_network import QNetwork

BOX, TWO = gym.spaces.Box(-1.0, 1.0, (3,), np.float32), gym.spaces.Discrete(2)


@pytest.mark.parametrize("old", sorted(renamed.MODULES))
def test_a_module_is_found_by_its_old_name(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, new = f"dbrrl.{old}", f"dbrrl.{renamed.MODULES[old]}"
    for known in [known for known in sys.modules if renamed.new_name(known)]:
        monkeypatch.delitem(sys.modules, known)
    with warnings.catch_warnings(record=True) as caught:  # a renamed package above warns first
        warnings.simplefilter("always")
        module = importlib.import_module(name)
    assert module is importlib.import_module(new) and module.__spec__.name == new
    assert str(caught[-1].message) == f"{name} is {new} now: import that"
    assert caught[-1].category is DeprecationWarning and caught[-1].filename != renamed.__file__


def test_a_module_of_a_renamed_package_is_loaded_once() -> None:
    from dbrrl.kernels.cuda import graph

    with pytest.warns(DeprecationWarning, match="dbrrl.cuda"):
        assert importlib.import_module("dbrrl.cuda.graph") is graph


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dbrrl.attic")
    assert renamed.new_name("numpy.agent") == "" and renamed.new_name("dbrrl.agents.ppo") == ""
    assert dbrrl.__version__


def warns(line: str) -> Any:
    return pytest.warns(DeprecationWarning, match=line)


def test_names_in_modules_warn() -> None:
    with warns("dbrrl.networks.preprocessor.Encoder is Preprocessor now: use that"):
        from dbrrl.networks.preprocessor import Encoder  # type: ignore[attr-defined]
    with warns("dbrrl.explorers.Deferred is LazyValues now: use that"):
        from dbrrl.explorers import Deferred
    assert Encoder is Preprocessor and Deferred is LazyValues
    import dbrrl.explorers

    with pytest.raises(AttributeError, match=r"module 'dbrrl\.explorers' has no attribute 'Boltzman'"):
        _ = dbrrl.explorers.Boltzman


def test_attributes_of_agents_and_explorers_warn() -> None:
    ppo, dqn, lasting = PPO(BOX, TWO), DQN(BOX, TWO), EZGreedy(0.1, 2, np.random.default_rng(0))
    x = np.ones((2, 3), np.float32)
    ppo.act(x[0])
    ppo.observe(x[0], np.ones(1), np.zeros(1, bool), np.zeros(1, bool))
    with warns("PPO.captured is PPO.use_cuda_graphs now: use that") as caught:
        ppo.captured = False
    assert ppo.use_cuda_graphs is False and caught[0].filename == __file__
    for old, new in (
        (lambda: ppo.captured, ppo.use_cuda_graphs),
        (lambda: ppo.encoder, ppo.preprocessor),
        (lambda: ppo.encode(x), ppo.preprocess(x)),
        (lambda: ppo.resident, ppo.keeps_data_on_gpu),
        (lambda: PPO.resident_at(PPO.Config()), True),
        (lambda: PPO.resident_at(PPO.Config(recurrent="lstm")), False),
        (lambda: ppo.largest_product, 64 * 64 * 64),
        (lambda: dqn.encoder, dqn.preprocessor),
        (lambda: dqn.judged(x).tolist(), dqn.action_values(x).tolist()),
        (lambda: lasting.lasting, True),
        (lambda: type(lasting.momentary), type(lasting.stateless)),
    ):
        with warns(r"\w+ is \w+\.\w+ now: use that") as caught:
            found: Any = old()
        assert found is new or found == new
        assert caught[0].filename == __file__


def test_a_method_that_a_class_defines_by_an_old_name_is_called_by_the_new_one() -> None:
    with warns("Wide defines build, which is make_network now: rename it") as caught:

        class Wide(DQN):
            def build(self, rng: Any, atoms: int | None = None) -> nn.Module:
                with warns("build is"):
                    network: nn.Module = super().build(rng, atoms)
                network.mine = True  # type: ignore[attr-defined]
                return network

    assert caught[0].filename == __file__
    agent = Wide(BOX, TWO)
    assert isinstance(agent.network, QNetwork) and agent.network.mine is True  # type: ignore[attr-defined]

    class Wider(Wide):
        pass

    assert Wider(BOX, TWO).network.mine is True
    with warns("Both defines build"):

        class Both(C51):
            def build(self, rng: Any, atoms: int | None = None) -> nn.Module:
                with warns("build is"):
                    network: nn.Module = super().build(rng, atoms)
                return network

    assert Both(BOX, TWO).network(np.zeros((1, 3), np.float32)).shape == (1, 2, 51)


def test_an_attribute_that_an_agent_sets_by_an_old_name_is_read_by_the_new_one() -> None:
    agent = PPO(BOX, TWO)
    with warns("PPO.resident is PPO.keeps_data_on_gpu now"):
        agent.resident = True
    assert agent.keeps_data_on_gpu is True and PPO.keeps_data_on_gpu is False
    with warns("PPO.resident is"):
        assert agent.resident is True


def test_an_agent_that_answers_by_old_names_is_asked_by_the_new_ones() -> None:
    with warns("Own defines") as caught:

        class Own(PPO):
            @classmethod
            def resident_at(cls, config: Any) -> bool:
                return False

            @property
            def largest_product(self) -> int:
                return 7

    assert [str(one.message) for one in caught] == [
        "Own defines resident_at, which is supports_device_envs now: rename it",
        "Own defines largest_product, which is largest_matmul now: rename it",
    ]
    assert Own.supports_device_envs(PPO.Config()) is False and Own(BOX, TWO).largest_matmul == 7


def test_buffers_are_filled_by_the_old_names_too() -> None:
    one, no = np.zeros((1, 3), np.float32), np.zeros(1, bool)
    for buffer, outcome in (
        (ReplayBuffer(4, 1, [(3,)], [np.float32], (), np.int64), [[one]]),
        (RolloutBuffer(4, 1, [(3,)], [np.float32], (), np.int64), []),
    ):
        with warns(r"\w+Buffer.begin is \w+Buffer.add_action now: use that"):
            buffer.begin([one], np.zeros(1, np.int64))
        with warns(r"\w+Buffer.end is \w+Buffer.add_outcome now: use that"):
            buffer.end(*outcome, np.ones(1), no, no)
        assert buffer.size == 1


@pytest.mark.parametrize("kind", [PPO, A3C])
def test_the_beginning_of_an_episode_is_said_by_the_old_name_too(kind: Any) -> None:
    agent = kind(BOX, TWO, kind.Config(recurrent="lstm"), num_envs=2, seed=0)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    with warns("the argument first is episode_start now: use that") as caught:
        action = agent.act(x, explore=False, first=True)
    assert caught[0].filename == __file__ and len(caught) == 1
    np.testing.assert_array_equal(action, agent.act(x, explore=False, episode_start=True))
    with warns("the argument first"):
        agent.act(x, explore=False, first=np.array([False, True]))


def test_an_act_that_takes_the_old_name_is_given_it() -> None:
    given: list[Any] = []
    with warns("Own.act takes first, which is episode_start now: rename it") as caught:

        class Own(PPO):
            recurrent = True

            def act(self, observation: Any, explore: bool = True, first: Any = None) -> Any:
                given.append(first)
                return super().act(observation, explore, first)

    assert caught[0].filename == __file__
    agent = Own(BOX, TWO, PPO.Config(recurrent="lstm"), seed=0)
    evaluation.act(agent, np.zeros((1, 3), np.float32), False, np.ones(1, bool))
    agent.act(np.zeros((1, 3), np.float32), explore=False, first=False)
    assert [np.ravel(one).tolist() for one in given] == [[True], [False]]


def test_an_explorer_that_says_by_its_old_name_that_it_has_state_is_reset() -> None:
    with warns("Own defines lasting, which is per_episode_state now: rename it") as caught:

        class Own(EZGreedy):
            lasting = False

    assert caught[0].filename == __file__ and Own.per_episode_state is False


def test_a_network_that_reads_parts_is_told_what_it_is_given() -> None:
    class Old(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(3, 2, rng=0)

        def forward(self, parts: Any) -> Any:
            return self.layer(parts[0])

    with pytest.raises(ConfigError, match="it reads the first row alone; networks take an array or a dict of arrays"):
        DQN(BOX, TWO).network = Old()
