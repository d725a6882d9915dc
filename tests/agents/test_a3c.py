"""A3C's learners in one process: returns and commits by hand, weights held within a rollout, state, spaces."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import A3C
from dbrrl.errors import CheckpointError, ConfigError, GraphError, ShapeError

from .feeding import ACTIONS, BOX, OBSERVATIONS, TWO, content, feed
from .formulas import column
from .making import Known, Shared

NO, YES = np.zeros(1, bool), np.ones(1, bool)


def make(observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, **settings: Any) -> A3C:
    return A3C(observation, action, A3C.Config(**settings), num_envs=num_envs, seed=seed)


def known(num_envs: int, **settings: Any) -> Any:
    """An agent whose V(s) is the observation and whose logits are (w, 0)."""
    agent = make(gym.spaces.Box(-9.0, 9.0, (1,), np.float32), num_envs=num_envs, **settings)
    agent.network = Known()
    return agent


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(action: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], total_steps=150, normalize_reward=action == "box"))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(observation: str) -> None:
    testing.check_agent(lambda: make(OBSERVATIONS[observation], n_steps=4), steps=6)


def test_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="a3c shares its weights in memory"):
        A3C(BOX, TWO, device="cuda")


def test_returns_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, found = known(1, n_steps=4, gamma=0.5), []
    learner = agent.learner(0)
    learner.compiled = False
    monkeypatch.setattr(learner.step, "loss", lambda batch: found.append(batch) or learner.loss(batch))
    for v, following, reward, ended in ((1, 2, 1, NO), (2, 8, 2, YES), (3, 4, 4, NO), (4, 6, 8, NO)):
        agent.act(column(v))
        agent.observe(column(following), np.full(1, float(reward)), ended, NO)
    advantage, value = found[0].advantage, found[0].value
    # R = V = 6 after the last step: G₃ = 8 + 6/2 = 11, G₂ = 4 + 11/2 = 9.5; the end: G₁ = 2, G₀ = 1 + 2/2 = 2
    np.testing.assert_array_equal(advantage + value, [2, 2, 9.5, 11])
    np.testing.assert_array_equal(value, [1, 2, 3, 4])


def test_two_commits_by_hand() -> None:
    # Rewards 3 for action 0 and -1 for action 1, no future: A = G, as V = 0. At w = 0, d log π / dw is ±1/2.
    agent = known(
        2, n_steps=1, gamma=0.0, learning_rate=0.5, rmsprop_alpha=0.9, rmsprop_eps=0.01, entropy_coef=0.0, total_steps=4
    )
    action = agent.act(column(0, 0))
    agent.observe(column(0, 0), np.where(action == 0, 3.0, -1.0), np.ones(2, bool), np.zeros(2, bool))
    gradients = -np.where(action == 0, 0.5 * 3.0, -0.5 * -1.0)  # both from w = 0: each learner's own weights
    w = v = 0.0
    for rate, g in zip((0.5, 0.5 * 3 / 4), gradients, strict=True):  # the second when 1 of 4 steps was learned from
        v = 0.9 * v + 0.1 * g * g
        w -= rate * g / np.sqrt(v + 0.01)
    np.testing.assert_allclose(agent.shared["values"], [w], rtol=1e-5)
    np.testing.assert_allclose(agent.shared["mean_square"], [v], rtol=1e-5)
    assert agent.shared["learned"].tolist() == [1, 1] and agent.num_updates == 2


def test_weights_are_held_within_a_rollout_whatever_others_commit() -> None:
    agent = make(n_steps=4, learning_rate=0.1)
    one, other = agent.learner(0), agent.learner(1)
    held = nn.parameters_to_vector(one.network)
    row = np.ones((1, 3), np.float32)
    seen = []
    for _ in range(4):
        one.act(row)
        for _ in range(4):  # a whole rollout of the other between any two steps of the one
            other.act(row)
            other.observe(row, np.ones(1), NO, NO)
        np.testing.assert_array_equal(nn.parameters_to_vector(one.network), held)
        assert np.any(agent.shared["values"] != held)
        before = agent.shared["values"].copy()
        seen.append(one.rollout.actions[one.rollout.size])
        one.observe(row, np.ones(1), NO, NO)
    assert other.num_updates == 4 and one.num_updates == 1 and len(seen) == 4
    assert np.any(agent.shared["values"] != before)
    np.testing.assert_array_equal(nn.parameters_to_vector(one.network), agent.shared["values"])


def test_the_gradient_is_that_of_the_held_weights() -> None:
    agents = [make(n_steps=4, learning_rate=0.1) for _ in range(2)]
    for agent, disturbed in zip(agents, (False, True), strict=True):
        for t in range(4):
            agent.learner(0).act(np.full((1, 3), t, np.float32))
            if disturbed:
                agent.shared["values"] += 0.5
            agent.learner(0).observe(np.full((1, 3), t + 1, np.float32), np.ones(1), NO, NO)
    gradients = [agent.learner(0).optimizer.flat.grads for agent in agents]
    np.testing.assert_array_equal(*gradients)


def test_evaluation_is_by_the_shared_weights() -> None:
    agent = make(action=ACTIONS["box"])
    feed(agent, 3)
    agent.shared["values"] += 0.1
    wanted = agent.central.network
    row = np.ones((1, 3), np.float32)
    action = agent.act(row, explore=False)
    np.testing.assert_array_equal(nn.parameters_to_vector(wanted), agent.shared["values"])
    assert np.any(action != agent.learner(0).act(row, explore=False))


def test_the_network_is_of_the_shared_weights_at_any_time() -> None:
    agent = make(n_steps=2)
    before = nn.parameters_to_vector(agent.network)
    feed(agent, 4)
    assert agent.num_updates > 0
    np.testing.assert_array_equal(nn.parameters_to_vector(agent.network), agent.shared["values"])
    assert np.any(before != agent.shared["values"])
    agent.attach({name: vector + 1 for name, vector in agent.shared.items()})  # as where processes share memory
    np.testing.assert_array_equal(nn.parameters_to_vector(agent.network), agent.shared["values"])


def test_weights_given_to_the_network_are_learned_from() -> None:
    agent, other = make(n_steps=2), make(n_steps=2, seed=1)
    agent.network.load_state_dict(other.network.state_dict())
    np.testing.assert_array_equal(agent.shared["values"], other.shared["values"])
    np.testing.assert_array_equal(agent.learner(0).optimizer.flat.values, other.shared["values"])


def test_a_graph_of_the_network_notices_an_update() -> None:
    agent = make(n_steps=2)
    row = np.ones((1, 3), np.float32)
    agent.network.value([row]).sum().backward()
    graph = agent.network.value([row]).sum()
    agent.network.value([row]).sum().backward()  # to look at it changes nothing
    feed(agent, 2)
    with pytest.raises(GraphError):
        graph.backward()


def test_acting_outside_training_changes_nothing() -> None:
    agent = make()
    feed(agent, 3)
    agent.training, before = False, content(agent)
    assert len(agent.act(np.ones((7, 3), np.float32))) == 7
    assert content(agent) == before


def test_rows_without_a_transition_are_left_out() -> None:
    agent = make(n_steps=2)
    for _ in range(2):
        agent.act(np.ones((2, 3), np.float32))
        valid = np.array([True, False])
        agent.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool), valid=valid)
    assert [agent.learner(i).steps for i in range(2)] == [2, 0] and agent.num_updates == 1


def test_learners_have_streams_of_their_own() -> None:
    agent = make(action=ACTIONS["box"])
    actions = agent.act(np.ones((2, 3), np.float32))
    assert np.any(actions[0] != actions[1])


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])
@pytest.mark.parametrize("steps", [3, 5, 13])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, recurrent: str, tmp_path: Path) -> None:
    agent = make(total_steps=100, recurrent=recurrent)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = A3C.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


@pytest.mark.parametrize("rows", [1, 3])
def test_another_number_of_environments_is_refused(rows: int) -> None:
    with pytest.raises(ShapeError, match=rf"act\(\): expected observations of 2 environments \(num_envs\), got {rows}"):
        make(num_envs=2).act(np.stack([BOX.sample()] * rows))


def test_a_state_of_other_sizes_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a3c: values: expected shape"):
        make().load_state_dict(make(hidden_sizes=(5,)).state_dict())


def test_a_network_of_your_own_takes_the_place() -> None:
    agent = make()
    agent.network = Shared(2)
    before = agent.shared["values"].copy()
    feed(agent, 5)
    assert agent.num_updates == 2 and before.shape == (3 * 16 + 16 + 16 * 3 + 3,)
    assert np.any(agent.shared["values"] != before)
