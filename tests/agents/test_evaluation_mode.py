"""Dropout, noise and running statistics in the networks of all agents: where a policy is evaluated, and in targets."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn
from dbrrl.agents import A2C, A3C, C51, DQN, DRQN, IQN, PPO, QRDQN, REINFORCE, TRPO, DoubleDQN, Rainbow
from dbrrl.buffers.batch import Rollout
from tests import standin

from .feeding import content
from .prepared import Prepared

BOX, THREE = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(3)
ROWS = np.random.default_rng(0).uniform(-1, 1, (64, 4)).astype(np.float32)
QUICK: dict[str, Any] = {"learning_starts": 8, "update_interval": 2, "batch_size": 8, "target_update_interval": 2}
SHORT: dict[str, Any] = {"n_steps": 4}
ON_POLICY, Q_LEARNERS = (PPO, A2C, A3C, REINFORCE, TRPO), (DQN, DoubleDQN, C51, QRDQN, IQN, Rainbow)
CASES = [(kind, SHORT) for kind in ON_POLICY]
CASES += [(kind, {**SHORT, "recurrent": "lstm"}) for kind in ON_POLICY]
CASES += [(kind, QUICK) for kind in (*Q_LEARNERS, DRQN)]
NAMES = [kind.__name__ + settings.get("recurrent", "").title() for kind, settings in CASES]
every_agent = pytest.mark.parametrize(("kind", "settings"), CASES, ids=NAMES)
every_q_learner = pytest.mark.parametrize("kind", Q_LEARNERS)


def make(kind: Any, settings: dict[str, Any]) -> Any:
    agent = kind(BOX, THREE, kind.Config(**settings), num_envs=2, seed=1)
    agent.network = Prepared(agent.network)
    return agent


def feed(agent: Any, steps: int, look: Any = lambda agent: None) -> None:
    """Transitions that are always the same, and `look(agent)` before each."""
    rng = np.random.default_rng(3)
    for _ in range(steps):
        look(agent)
        agent.act(rng.uniform(-1, 1, (2, 4)).astype(np.float32))
        truncated = rng.random(2) < 0.2
        agent.observe(rng.uniform(-1, 1, (2, 4)).astype(np.float32), rng.normal(size=2), np.zeros(2, bool), truncated)


def judge(agent: Any) -> np.ndarray:
    """Actions without exploration."""
    start: dict[str, Any] = {"episode_start": True} if agent.recurrent else {}
    found: np.ndarray = agent.act(ROWS, explore=False, **start)
    return found


def statistics(network: Any) -> list[np.ndarray]:
    """The buffers of its running mean."""
    return [np.array(network.running.mean), np.array(network.running.batches)]


@every_agent
def test_two_evaluations_of_one_state_are_equal(kind: Any, settings: dict[str, Any]) -> None:
    agent = make(kind, settings)
    feed(agent, 20)
    before = content(agent)
    assert len({judge(agent).tobytes() for _ in range(4)}) == 1
    assert content(agent) == before
    assert all(module.training for module in agent.network.modules())


@every_agent
def test_how_often_a_policy_is_evaluated_does_not_change_what_is_learned(kind: Any, settings: dict[str, Any]) -> None:
    often, never = make(kind, settings), make(kind, settings)
    feed(often, 24, judge)
    feed(never, 24)
    assert often.num_updates > 1 and content(often) == content(never)


@every_agent
def test_modules_that_the_user_put_into_evaluation_mode_stay_in_it(kind: Any, settings: dict[str, Any]) -> None:
    agent = make(kind, settings)
    for network in [agent.learner(i).network for i in range(2)] if kind is A3C else [agent.network]:
        network.running.eval()
    feed(agent, 20, judge)
    networks = [agent.learner(i).network for i in range(2)] if kind is A3C else [agent.network]
    for network in networks:
        assert not network.running.training and network.dropout.training
        assert statistics(network)[1] == 0


@pytest.mark.parametrize("tau", [1.0, 0.25])
@pytest.mark.parametrize("kind", [*Q_LEARNERS, DRQN])
def test_buffers_are_copied_into_the_target_and_moved_by_nothing_else(kind: Any, tau: float) -> None:
    agent = make(kind, {**QUICK, "tau": tau, "update_interval": 100})
    feed(agent, 8)
    start = statistics(agent.target_network)
    agent.update(agent.sample())
    assert [x.tolist() for x in statistics(agent.target_network)] == [x.tolist() for x in start]
    assert statistics(agent.network)[1] == 1 and statistics(agent.network)[0].any()
    agent.update(agent.sample())  # the second: the target's turn
    for own, other in zip(statistics(agent.network), statistics(agent.target_network), strict=True):
        np.testing.assert_array_equal(own, other)
    assert agent.network.running.mean is not agent.target_network.running.mean
    assert statistics(agent.network)[1] == 2


@every_q_learner
def test_a_target_is_computed_without_dropout(kind: Any) -> None:
    agent = make(kind, {**QUICK, "noisy": False, "update_interval": 100})
    feed(agent, 8)
    batch = agent.sample()
    if kind is IQN:  # its update adds fractions
        batch = batch.add(target_tau=np.linspace(0, 0.9, 8, dtype=np.float32)[None].repeat(len(batch), axis=0))
    assert len({np.asarray(agent.target(batch)).tobytes() for _ in range(4)}) == 1


@every_q_learner
def test_the_noise_of_a_target_is_drawn_apart_and_is_on(kind: Any) -> None:
    """Fortunato et al. 2018, section 3.1: the target network has an independent sample of the noise."""
    agent = make(kind, {**QUICK, "noisy": True})
    feed(agent, 12, judge)
    assert agent.num_updates > 2
    for own, other in zip(agent.noisy_layers, agent.noisy_target_layers, strict=True):
        assert own.training and other.training
        assert np.all(own.noise_in != other.noise_in) and np.all(own.noise_out != other.noise_out)
    assert not agent.target_network.dropout.training
    before = [layer.noise_in.copy() for layer in agent.noisy_target_layers]
    agent.update(agent.sample())
    assert all(np.any(layer.noise_in != old) for layer, old in zip(agent.noisy_target_layers, before, strict=True))


@pytest.mark.parametrize("kind", [PPO, A2C])
@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_a_rollout_is_acted_and_valued_in_evaluation_mode_and_learned_from_in_training_mode(
    kind: Any, recurrent: str
) -> None:
    """So only learning moves the running mean, and V(s) and log π(a|s) of a rollout have no chance in them."""
    agent = make(kind, {"n_steps": 8, "recurrent": recurrent})
    feed(agent, 7)
    agent.rollout.close(agent.preprocess(ROWS[:2]))
    assert statistics(agent.network)[1] == 0
    rollout = Rollout(agent.rollout, agent.memory, "cpu")
    for first, second in zip(rollout.values(), rollout.values(), strict=True):
        np.testing.assert_array_equal(first, second)
    batch = rollout.batch()
    np.testing.assert_array_equal(agent.log_prob(batch), agent.log_prob(batch))
    assert statistics(agent.network)[1] == 0
    agent.update(rollout)
    assert statistics(agent.network)[1] > 0


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_noise_of_an_on_policy_network_stays_on_while_it_explores(kind: Any) -> None:
    """It is kept between draws: actions, values and gradients are those of one noisy policy (NoisyNet-A3C)."""
    agent = kind(BOX, THREE, kind.Config(n_steps=64), num_envs=2, seed=1)
    agent.network.actor.layers[-1] = nn.NoisyLinear(64, 3, sigma=2.0, rng=0)
    agent.network = agent.network
    observation = agent.preprocess(ROWS)
    noisy = agent.network.policy(observation).numpy().argmax(axis=1)
    still = agent.network.eval().policy(observation).numpy().argmax(axis=1)
    agent.network.train()
    np.testing.assert_array_equal(judge(agent), still)
    agent.training = False  # so that rollouts stay as they are
    drawn = np.stack([agent.act(ROWS) for _ in range(200)])
    likely = np.array([np.bincount(column, minlength=3).argmax() for column in drawn.T])
    assert np.mean(likely == noisy) > 0.9 > np.mean(likely == still)


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_the_policy_that_a3c_evaluates_has_the_buffers_of_its_learners(recurrent: str) -> None:
    agent = make(A3C, {"n_steps": 4, "recurrent": recurrent})
    feed(agent, 9)  # each learner has committed twice, in turn
    judge(agent)
    assert statistics(agent.network)[1] == 4 == agent.num_updates
    for got, last in zip(statistics(agent.network), statistics(agent.learner(1).network), strict=True):
        np.testing.assert_array_equal(got, last)
    assert agent.shared["buffers.running.batches"] == 4 and agent.shared["buffers.running.mean"].any()
    blocks = {name: vector.copy() for name, vector in agent.shared.items()}
    agent.attach(blocks)
    feed(agent, 4)
    assert blocks["buffers.running.batches"] == 6
    other = make(A3C, {"n_steps": 4, "recurrent": recurrent})
    other.load_state_dict(agent.state_dict())
    feed(agent, 8)
    feed(other, 8)
    assert content(other) == content(agent)
    np.testing.assert_array_equal(judge(other), judge(agent))


def test_on_a_gpu_buffers_are_copied_too(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    agent = DQN(BOX, THREE, DQN.Config(**QUICK), num_envs=2, seed=1, device="cuda")
    network = Prepared(agent.network)
    network.dropout = nn.Dropout(0.0, rng=0)
    agent.network = network
    feed(agent, 11, judge)
    assert agent.num_updates == 8
    own, other = agent.network.running, agent.target_network.running
    assert own.mean.get().any() and other.mean is not own.mean
    np.testing.assert_array_equal(other.mean.get(), own.mean.get())
