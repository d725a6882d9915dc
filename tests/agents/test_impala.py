"""IMPALA: targets and gradient by hand with another policy's actions, the optimizer's step, every space, its state."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import A2C, IMPALA
from dbrrl.errors import AnomalyError, ConfigError, SpaceError
from dbrrl.optim import Adam, RMSprop

from .feeding import ACTIONS, BOX, OBSERVATIONS, TWO, content, feed
from .formulas import ACTIONS as LOSS_ACTIONS
from .formulas import mlp, play, policy, unpacked


def make(
    observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> IMPALA:
    settings = {"n_steps": 5} | settings
    return IMPALA(observation, action, IMPALA.Config(**settings), num_envs=num_envs, seed=seed, device=device)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], device=device))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    testing.check_agent(lambda: make(OBSERVATIONS[observation], n_steps=4, device=device), steps=6)


@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_the_protocol_is_kept_with_a_memory_and_normalizers(device: str, recurrent: str) -> None:
    settings = {"normalize_observation": True, "normalize_reward": True, "recurrent": recurrent, "recurrent_size": 4}
    testing.check_agent(lambda: make(action=ACTIONS["box"], device=device, **settings))


def test_other_spaces_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SpaceError, match="impala serves actions of the spaces"):
        make(action=gym.spaces.Text(3))
    with pytest.raises(ConfigError, match="rho_bar"):
        IMPALA.Config(rho_bar=0.0)


@pytest.mark.parametrize("kind", LOSS_ACTIONS)
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_gradient_is_that_of_the_loss_written_out_again(kind: str, shift: float) -> None:
    """The policy that acted has other weights, by `shift` each, than the one that learns."""
    c = IMPALA.Config(
        n_steps=12, gamma=0.9, vtrace_lambda=0.8, c_bar=0.9, rho_bar=1.2, entropy_coef=0.03, value_coef=0.7,
        max_grad_norm=None, hidden_sizes=(6,),
    )  # fmt: skip
    agent = IMPALA(BOX, LOSS_ACTIONS[kind], c, num_envs=3, seed=1)
    flat = nn.parameters_to_vector(agent.network).astype(np.float64)
    moved = flat + shift * np.sin(np.arange(len(flat)))
    acted, own = unpacked(agent, flat), unpacked(agent, moved)
    agent.learn, found = (lambda rollout: found.append(rollout)), []  # type: ignore[method-assign, var-annotated]
    clear, agent.rollout.clear = agent.rollout.clear, lambda: None  # type: ignore[method-assign]
    played = play(agent, 12)
    nn.vector_to_parameters(moved.astype(np.float32), agent.network)
    IMPALA.learn(agent, found[0])
    clear()
    assert any(np.any(t) for t in played.truncated) and agent.num_updates == 1

    x, action = np.concatenate(played.observation).astype(np.float64), np.concatenate(played.action)
    ratio = np.exp(policy(kind, own, x, action)[0] - policy(kind, acted, x, action)[0]).reshape(12, 3)
    assert (abs(ratio - 1).max() > 0.1) == (shift > 0)
    value = lambda o: mlp(own, "critic", np.asarray(o, np.float64))[:, 0]  # noqa: E731
    target, advantage = np.zeros((12, 3)), np.zeros((12, 3))
    for env in range(3):
        for t in reversed(range(12)):
            here, after = value(played.observation[t])[env], value(played.following[t])[env]
            r, end = played.reward[t][env], played.terminated[t][env]
            cut = end or played.truncated[t][env] or t == 11
            rho, c_t = min(1.2, ratio[t, env]), 0.8 * min(0.9, ratio[t, env])
            delta = rho * (r + 0.9 * (0.0 if end else after) - here)
            target[t, env] = here + delta + (0.0 if cut else 0.9 * c_t * (target[t + 1, env] - after))
            following = 0.0 if end else after if cut else target[t + 1, env]
            advantage[t, env] = rho * (r + 0.9 * following - here)

    def loss(values: np.ndarray) -> float:
        weights = unpacked(agent, values)
        log_prob, entropy = policy(kind, weights, x, action)
        error = (mlp(weights, "critic", x)[:, 0] - target.reshape(-1)) ** 2
        return float(-(log_prob * advantage.reshape(-1)).sum() + 0.7 / 2 * error.sum() - 0.03 * entropy.sum())

    expected = np.zeros(len(flat))
    for i in range(len(flat)):
        step = 1e-6 * (np.arange(len(flat)) == i)
        expected[i] = (loss(moved + step) - loss(moved - step)) / 2e-6
    np.testing.assert_allclose(agent.optimizer.gradient, expected, atol=3e-4 * np.abs(expected).max())
    assert agent.statistics()["mean_ratio"] == pytest.approx(ratio.mean(), rel=1e-4)


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])
def test_with_its_own_actions_it_takes_the_gradient_of_a2c(recurrent: str) -> None:
    one = make(n_steps=8, value_coef=1.0, max_grad_norm=None, recurrent=recurrent)
    other = A2C(BOX, TWO, A2C.Config(n_steps=8, max_grad_norm=None, recurrent=recurrent), num_envs=2, seed=0)
    for agent in (one, other):
        feed(agent, 8)
    sums = other.optimizer.gradient * 16  # A2C's are means over 16 transitions
    np.testing.assert_allclose(one.optimizer.gradient, sums, rtol=1e-3, atol=1e-4 * np.abs(sums).max())
    assert one.statistics()["mean_ratio"] == pytest.approx(1)


def test_the_defaults_are_those_of_table_g1() -> None:
    c = IMPALA.Config()
    assert (c.learning_rate, c.learning_rate_schedule, c.n_steps, c.gamma) == (6e-4, "linear", 20, 0.99)
    assert (c.entropy_coef, c.value_coef, c.max_grad_norm) == (0.01, 0.5, 40.0)
    assert (c.rho_bar, c.c_bar, c.vtrace_lambda) == (1.0, 1.0, 1.0)
    one = make().optimizer
    assert isinstance(one, RMSprop) and one.eps_inside_root and not (one.centered or one.momentum)
    assert (one.alpha, one.eps) == (0.99, 0.01) and (one.mean_square == 1).all()


def test_adam_takes_its_place() -> None:
    one = make(optimizer="adam", optimizer_eps=1e-3).optimizer
    assert isinstance(one, Adam) and one.eps == 1e-3


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match=r"impala: .*gradient.* update 0.*learning rate"):
        feed(make(), 5, scale=1e30)


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


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])
@pytest.mark.parametrize("steps", [3, 5, 13])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, recurrent: str, tmp_path: Path) -> None:
    agent = make(total_steps=100, recurrent=recurrent, normalize_observation=True, normalize_reward=True)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = IMPALA.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0
