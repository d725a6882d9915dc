"""PPO's arithmetic: advantages and objective by hand, gradients against formulas written out again in float64."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import PPO
from dbrrl.buffers import Batch

from .feeding import BOX
from .formulas import ACTIONS, Played, advantages, column, mlp, play, policy, unpacked
from .making import Known


class Recorded(PPO):
    """Notes the weights and the gradient of every update."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []
        step = self.optimizer.step

        def noted() -> None:
            self.seen.append((self.optimizer.values.astype(np.float64), self.optimizer.gradient.copy()))
            step()

        self.optimizer.step = noted  # type: ignore[method-assign]


def loss(kind: str, weights: Any, first: Any, played: Played, c: Any) -> float:
    """Equation 9 for the whole rollout, with `first` the weights it was played with."""
    x = np.concatenate(played.observation).astype(np.float64)
    action = np.concatenate(played.action)
    advantage = advantages(played, lambda o: mlp(first, "critic", o)[:, 0], c.gamma, c.gae_lambda).reshape(-1)
    old_value, value = mlp(first, "critic", x)[:, 0], mlp(weights, "critic", x)[:, 0]
    target = old_value + advantage
    advantage = (advantage - advantage.mean()) / advantage.std()
    log_prob, entropy = policy(kind, weights, x, action)
    ratio = np.exp(log_prob - policy(kind, first, x, action)[0])
    limited = np.clip(ratio, 1 - c.clip_range, 1 + c.clip_range)
    error = (value - target) ** 2
    if c.clip_range_value is not None:
        moved = old_value + np.clip(value - old_value, -c.clip_range_value, c.clip_range_value)
        error = np.maximum(error, (moved - target) ** 2)
    surrogate = np.minimum(ratio * advantage, limited * advantage)
    return float(-surrogate.mean() + c.value_coef * error.mean() - c.entropy_coef * entropy.mean())


@pytest.mark.parametrize("clip_range_value", [None, 0.1])
@pytest.mark.parametrize("kind", ACTIONS)
def test_gradients_are_those_of_the_loss_written_out_again(kind: str, clip_range_value: float | None) -> None:
    config = PPO.Config(
        n_steps=12,
        batch_size=1_000,
        n_epochs=4,
        learning_rate=0.05,
        gamma=0.9,
        gae_lambda=0.8,
        entropy_coef=0.03,
        clip_range_value=clip_range_value,
        max_grad_norm=1e6,
        hidden_sizes=(6,),
        log_std_init=-0.5,
    )
    agent = Recorded(BOX, ACTIONS[kind], config, num_envs=3, seed=1)
    played = play(agent, 12)
    assert any(np.any(t) for t in played.truncated) and agent.num_updates == 4
    first = unpacked(agent, agent.seen[0][0])
    for flat, gradient in agent.seen:
        expected = np.zeros(len(flat))
        for i in range(len(flat)):
            up, down = flat.copy(), flat.copy()
            up[i] += 1e-6
            down[i] -= 1e-6
            sides = [loss(kind, unpacked(agent, side), first, played, config) for side in (up, down)]
            expected[i] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, atol=2e-4 * np.abs(expected).max())
    assert agent.statistics()["clip_fraction"] > 0.1  # the last update was one with clipped ratios


class Noted(PPO):
    """Keeps the batch of its latest update."""

    def epochs(self, batch: Batch, clip_range: float) -> Any:
        self.found = batch
        return super().epochs(batch, clip_range)


def known(agent_class: type[PPO], num_envs: int, **settings: Any) -> Any:
    space = gym.spaces.Box(-9.0, 9.0, (1,), np.float32)
    agent = agent_class(space, gym.spaces.Discrete(2), PPO.Config(**settings), num_envs=num_envs)
    agent.network = Known()
    return agent


def test_advantages_by_hand_across_an_end_and_a_time_limit() -> None:
    agent = known(Noted, 2, n_steps=3, gamma=0.5, gae_lambda=0.5)
    # environment 0: V 1, 2, 3 and then 4; a true end after its second step, whose last observation has V = 8
    # environment 1: V 1, 2, 3 and then 4; a time limit after its second step, with V = 8 in its last observation
    no = np.zeros(2, bool)
    agent.act(column(1, 1))
    agent.observe(column(2, 2), np.ones(2), no, no)
    agent.act(column(2, 2))
    agent.observe(column(8, 8), np.ones(2), np.array([True, False]), np.array([False, True]))
    agent.act(column(3, 3))
    agent.observe(column(4, 4), np.ones(2), no, no)
    found, value = agent.found.advantage.reshape(3, 2), agent.found.value.reshape(3, 2)
    np.testing.assert_array_equal(value, [[1, 1], [2, 2], [3, 3]])
    # δ₂ = 1 + 4/2 - 3 = 0;  δ₁ = 1 - 2 = -1, or with the limit 1 + 8/2 - 2 = 3;  δ₀ = 1 + 2/2 - 1 = 1;  A₀ = δ₀ + δ₁/4
    np.testing.assert_array_equal(found, [[0.75, 1.75], [-1, 3], [0, 0]])


def test_the_clipped_objective_by_hand() -> None:
    settings = {"n_steps": 1, "n_epochs": 2, "learning_rate": 0.5, "gamma": 0.0, "normalize_advantage": False}
    agent = known(PPO, 8, adam_eps=1e-12, **settings)
    action = agent.act(column(*[0.0] * 8))
    assert 0 < action.sum() < 8
    agent.observe(column(*[0.0] * 8), np.where(action == 0, 3.0, -1.0), np.ones(8, bool), np.zeros(8, bool))
    # Adam's first step is the learning rate: w = 0.5, and then the ratios are 2 σ(0.5) = 1.245 and 2 σ(-0.5) = 0.755.
    statistics = agent.statistics()
    assert statistics["policy_loss"] == pytest.approx(-np.where(action == 0, 1.2 * 3.0, 0.8 * -1.0).mean(), rel=1e-5)
    assert statistics["clip_fraction"] == 1.0
    ratio = np.where(action == 0, 1.2449187, 0.7550813)
    assert statistics["approx_kl"] == pytest.approx((ratio - 1 - np.log(ratio)).mean(), rel=1e-4)
    assert not np.any(agent.optimizer.gradient)  # beyond the clip nothing pulls


def test_rows_without_a_transition_are_as_if_they_had_not_been() -> None:
    agents = [Noted(BOX, ACTIONS["discrete"], PPO.Config(n_steps=n, gamma=0.9), num_envs=2) for n in (5, 6)]
    for agent in agents:
        play_ending(agent)
    reset = np.zeros((2, 3), np.float32)
    agents[1].act(reset)
    agents[1].observe(reset, np.full(2, 99.0), np.zeros(2, bool), np.zeros(2, bool), valid=np.zeros(2, bool))
    assert agents[0].num_updates == agents[1].num_updates == 10
    np.testing.assert_array_equal(agents[0].found.advantage, agents[1].found.advantage)
    for one, other in zip(*(agent.network.state_dict().values() for agent in agents), strict=True):
        np.testing.assert_array_equal(one, other)


def play_ending(agent: PPO) -> None:
    """Five steps, the last of which ends every episode, one of them by a time limit."""
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(2, 3)).astype(np.float32)
    for t in range(5):
        agent.act(observation)
        observation = rng.normal(size=(2, 3)).astype(np.float32)
        last = np.full(2, t == 4)
        agent.observe(observation, rng.normal(size=2), last & [True, False], last & [False, True])
