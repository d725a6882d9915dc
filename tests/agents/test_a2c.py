"""A2C: returns and gradient by hand, the optimizer's step, every space, its state, schedules."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import A2C
from dbrrl.errors import AnomalyError, ConfigError, SpaceError
from dbrrl.optim import Adam, RMSprop

from .feeding import ACTIONS, BOX, OBSERVATIONS, TWO, content, feed
from .formulas import ACTIONS as LOSS_ACTIONS
from .formulas import advantages, column, mlp, play, policy, unpacked
from .making import Known


def make(
    observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> A2C:
    return A2C(observation, action, A2C.Config(**settings), num_envs=num_envs, seed=seed, device=device)


def known(num_envs: int, **settings: Any) -> Any:
    """An agent whose V(s) is the observation and whose logits are (w, 0)."""
    agent = make(gym.spaces.Box(-9.0, 9.0, (1,), np.float32), num_envs=num_envs, **settings)
    agent.network = Known()
    return agent


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], device=device))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    testing.check_agent(lambda: make(OBSERVATIONS[observation], n_steps=4, device=device), steps=6)


def test_the_protocol_is_kept_with_normalizers_and_adam(device: str) -> None:
    settings: dict[str, Any] = dict.fromkeys(("normalize_observation", "normalize_reward", "normalize_advantage"), True)
    settings |= {"optimizer": "adam", "gae_lambda": 0.9}
    testing.check_agent(lambda: make(action=ACTIONS["box"], **settings, device=device))


def test_other_spaces_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SpaceError, match="a2c serves actions of the spaces"):
        make(action=gym.spaces.Text(3))
    with pytest.raises(ConfigError, match="rmsprop_alpha"):
        A2C.Config(rmsprop_alpha=1.0)


def test_returns_by_hand_across_an_end_and_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    agent = known(2, n_steps=4, gamma=0.5)
    agent.compiled = False  # a program does not call the loss
    monkeypatch.setattr(agent.step, "loss", lambda batch: found.append(batch) or agent.loss(batch))
    # Both environments see V 1, 2, 3, 4 and then 6, with rewards 1, 2, 4, 8. After the second step the first one's
    # episode ends, and the second one's is cut by a time limit in an observation with V = 8.
    no = np.zeros(2, bool)
    for v, following, reward in ((1, 2, 1), (2, 8, 2), (3, 4, 4), (4, 6, 8)):
        agent.act(column(v, v))
        cut = v == 2
        ended, limited = (np.array([True, False]), np.array([False, True])) if cut else (no, no)
        agent.observe(column(following, following), np.full(2, float(reward)), ended, limited)
    advantage, value = found[0].advantage, found[0].value
    # G₃ = 8 + 6/2 = 11, G₂ = 4 + 11/2 = 9.5;  G₁ = 2, or with the limit 2 + 8/2 = 6;  G₀ = 1 + G₁/2
    np.testing.assert_array_equal((advantage + value).reshape(4, 2), [[2, 4], [2, 6], [9.5, 9.5], [11, 11]])
    np.testing.assert_array_equal(value.reshape(4, 2), [[1, 1], [2, 2], [3, 3], [4, 4]])
    np.testing.assert_array_equal(found[0].target, advantage + value)


@pytest.mark.parametrize("kind", LOSS_ACTIONS)
@pytest.mark.parametrize("gae_lambda", [1.0, 0.8])
def test_the_gradient_is_that_of_the_loss_written_out_again(kind: str, gae_lambda: float) -> None:
    c = A2C.Config(
        n_steps=12, gamma=0.9, gae_lambda=gae_lambda, entropy_coef=0.03, max_grad_norm=1e6, hidden_sizes=(6,)
    )
    agent = A2C(BOX, LOSS_ACTIONS[kind], c, num_envs=3, seed=1)
    flat = nn.parameters_to_vector(agent.network).astype(np.float64)
    first = unpacked(agent, flat)
    played = play(agent, 12)
    assert any(np.any(t) for t in played.truncated) and agent.num_updates == 1
    x, action = np.concatenate(played.observation).astype(np.float64), np.concatenate(played.action)
    advantage = advantages(played, lambda o: mlp(first, "critic", o)[:, 0], c.gamma, gae_lambda).reshape(-1)
    target = mlp(first, "critic", x)[:, 0] + advantage

    def loss(values: np.ndarray) -> float:
        weights = unpacked(agent, values)
        log_prob, entropy = policy(kind, weights, x, action)
        error = (mlp(weights, "critic", x)[:, 0] - target) ** 2
        return float(-(log_prob * advantage).mean() + 0.5 * error.mean() - 0.03 * entropy.mean())

    expected = np.zeros(len(flat))
    for i in range(len(flat)):
        shift = 1e-6 * (np.arange(len(flat)) == i)
        expected[i] = (loss(flat + shift) - loss(flat - shift)) / 2e-6
    np.testing.assert_allclose(agent.optimizer.gradient, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("optimizer", "start"), [("rmsprop", 0.0), ("rmsprop_tf", 1.0)])
def test_the_first_step_is_that_of_rmsprop_with_eps_inside_the_root(optimizer: str, start: float) -> None:
    settings = {"learning_rate": 0.5, "rmsprop_alpha": 0.9, "optimizer_eps": 0.01, "max_grad_norm": 9.0}
    agent = known(8, n_steps=1, gamma=0.0, optimizer=optimizer, **settings)
    action = agent.act(column(*[0.0] * 8))
    agent.observe(column(*[0.0] * 8), np.where(action == 0, 3.0, -1.0), np.ones(8, bool), np.zeros(8, bool))
    # At w = 0 both actions have probability 1/2: d log π / dw is 1/2 for action 0 and -1/2 for action 1, and the
    # gradient of the entropy is 0.
    gradient = -np.where(action == 0, 0.5 * 3.0, -0.5 * -1.0).mean()
    expected = -0.5 * gradient / np.sqrt(0.9 * start + 0.1 * gradient**2 + 0.01)
    np.testing.assert_allclose(agent.network.w.numpy(), [expected], rtol=1e-5)
    assert agent.statistics()["entropy"] == pytest.approx(np.log(2))


def test_the_defaults_are_those_of_openai_baselines() -> None:
    c = A2C.Config()  # against the arguments of `learn` in its a2c.py
    assert (c.learning_rate, c.learning_rate_schedule, c.n_steps, c.gamma) == (7e-4, "linear", 5, 0.99)
    assert (c.entropy_coef, c.value_coef, c.max_grad_norm, c.gae_lambda) == (0.01, 0.5, 0.5, 1.0)
    one = make().optimizer  # against tf.train.RMSPropOptimizer(learning_rate, decay=0.99, epsilon=1e-5)
    assert isinstance(one, RMSprop) and one.eps_inside_root and not (one.centered or one.momentum)
    assert (one.alpha, one.eps) == (0.99, 1e-5) and (one.mean_square == 1).all()


def test_the_optimizer_is_the_one_asked_for() -> None:
    one, other = make(optimizer="rmsprop").optimizer, make(optimizer="adam", optimizer_eps=1e-3).optimizer
    assert isinstance(one, RMSprop) and one.eps_inside_root and (one.mean_square == 0).all()
    assert isinstance(other, Adam) and other.eps == 1e-3


def test_a_file_from_before_the_choice_of_a_start_keeps_its_meaning(tmp_path: Path) -> None:
    agent = make(optimizer="rmsprop")  # what such a file says of its optimizer, whose mean square began at 0
    agent.save(tmp_path / "agent.dbrrl")
    back = A2C.load(tmp_path / "agent.dbrrl")
    assert back.config == agent.config and (back.optimizer.mean_square == 0).all()


def test_the_gradient_is_clipped_and_a_gradient_that_is_no_number_ends_the_run() -> None:
    agent = make(max_grad_norm=1e-3)
    feed(agent, 5, scale=10.0)
    assert np.linalg.norm(agent.optimizer.gradient) == pytest.approx(1e-3, rel=1e-4)
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match=r"a2c: .*gradient.* update 0.*learning rate"):
        feed(make(), 5, scale=1e30)


def test_updates_come_when_the_rollout_is_full_or_the_run_ends_and_the_rate_falls() -> None:
    agent = make(n_steps=8, total_steps=44, learning_rate=1e-2, learning_rate_schedule="linear")
    updates, rates = [], []
    for t in range(22):
        feed(agent, 1, first=t)
        updates.append(agent.num_updates)
        rates.append(agent.statistics().get("learning_rate", 0.0))
    assert updates == [0] * 7 + [1] * 8 + [2] * 6 + [3]
    np.testing.assert_allclose([rates[7], rates[15], rates[21]], 1e-2 * (1 - np.array([0, 16, 32]) / 44))


def test_rows_without_a_transition_take_no_part() -> None:
    agents = [make(n_steps=n) for n in (4, 5)]
    for agent in agents:
        play(agent, 3)
        agent.act(np.ones((2, 3), np.float32))
        agent.observe(np.zeros((2, 3), np.float32), np.ones(2), np.ones(2, bool), np.zeros(2, bool))
    agents[1].act(np.zeros((2, 3), np.float32))
    nothing = np.zeros(2, bool)
    agents[1].observe(np.zeros((2, 3), np.float32), np.full(2, 99.0), nothing, nothing, valid=nothing)
    assert [agent.num_updates for agent in agents] == [1, 1] and agents[0].steps == agents[1].steps == 8
    np.testing.assert_allclose(*(nn.parameters_to_vector(agent.network) for agent in agents), atol=1e-6)


def test_rows_after_the_last_transition_of_an_environment_do_not_affect_it() -> None:
    agents, found = [make(n_steps=4, gae_lambda=0.9) for _ in range(2)], []
    no, first = np.zeros(2, bool), np.array([True, False])
    for agent, last in zip(agents, (99.0, -99.0), strict=True):
        agent.compiled = False
        agent.step.loss = lambda batch, agent=agent: found.append(batch) or agent.loss(batch)
        play(agent, 3)
        agent.act(np.ones((2, 3), np.float32))
        agent.observe(np.ones((2, 3), np.float32), np.full(2, last), no, no, valid=first)
    high, low = (batch.advantage for batch in found)  # rows of step 0, 1, 2 of both environments, and one of step 3
    assert len(high) == len(low) == 7
    np.testing.assert_array_equal(high[1:6:2], low[1:6:2])
    assert high[6] > low[6]


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
@pytest.mark.parametrize("steps", [3, 5, 13])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, optimizer: str, recurrent: str, tmp_path: Path) -> None:
    settings = {"normalize_observation": True, "normalize_reward": True, "learning_rate_schedule": "linear"}
    agent = make(total_steps=100, optimizer=optimizer, recurrent=recurrent, **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = A2C.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0
