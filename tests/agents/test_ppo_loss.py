"""PPO's arithmetic: advantages and objective by hand, gradients against formulas written out again in float64."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.agents import PPO
from dbrrl.buffers import Batch

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTIONS = {
    "discrete": gym.spaces.Discrete(3),
    "multi-discrete": gym.spaces.MultiDiscrete([2, 3]),
    "multi-binary": gym.spaces.MultiBinary(2),
    "box": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
}


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


@dataclass
class Played:
    """A rollout as arrays (T, B, ...), written down by the test itself."""

    observation: list[Any] = field(default_factory=list)
    action: list[Any] = field(default_factory=list)
    reward: list[Any] = field(default_factory=list)
    terminated: list[Any] = field(default_factory=list)
    truncated: list[Any] = field(default_factory=list)
    following: list[Any] = field(default_factory=list)


def play(agent: PPO, rows: int) -> Played:
    """Random transitions with ends of both kinds; where an episode ended the next observation is of a new one."""
    rng, played, count = np.random.default_rng(5), Played(), agent.num_envs
    observation = rng.normal(size=(count, 3)).astype(np.float32)
    for _ in range(rows):
        agent.act(observation)
        following = rng.normal(size=(count, 3)).astype(np.float32)
        ends = rng.random((2, count)) < 0.2
        reward, terminated, truncated = rng.normal(size=count), ends[0], ends[1] & ~ends[0]
        sample = agent.rollout.actions[agent.rollout.size].copy()
        for name, value in (
            ("observation", observation),
            ("action", sample),
            ("reward", reward),
            ("terminated", terminated),
            ("truncated", truncated),
            ("following", following),
        ):
            getattr(played, name).append(value)
        agent.observe(following, reward, terminated, truncated)
        begun = rng.normal(size=(count, 3)).astype(np.float32)
        observation = np.where((terminated | truncated)[:, None], begun, following)
    return played


def unpacked(agent: PPO, flat: np.ndarray) -> dict[str, np.ndarray]:
    """The flat vector as weights by name."""
    weights, start = {}, 0
    for name, parameter in agent.network.named_parameters():
        weights[name] = flat[start : start + parameter.size].reshape(parameter.shape)
        start += parameter.size
    return weights


def mlp(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """One hidden layer of tanh."""
    hidden = np.tanh(x @ weights[f"{name}.layers.0.weight"].T + weights[f"{name}.layers.0.bias"])
    return hidden @ weights[f"{name}.layers.2.weight"].T + weights[f"{name}.layers.2.bias"]


def categorical(logits: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.log(p[np.arange(len(p)), action]), -(p * np.log(p)).sum(1)


def policy(kind: str, weights: dict[str, np.ndarray], x: np.ndarray, action: np.ndarray) -> tuple[Any, Any]:
    """Log-probability and entropy of each row."""
    outputs = mlp(weights, "actor", x)
    if kind == "discrete":
        return categorical(outputs, action)
    if kind == "multi-discrete":
        two, three = categorical(outputs[:, :2], action[:, 0]), categorical(outputs[:, 2:], action[:, 1])
        return two[0] + three[0], two[1] + three[1]
    if kind == "multi-binary":
        p = 1 / (1 + np.exp(-outputs))
        return np.log(np.where(action == 1, p, 1 - p)).sum(1), -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(1)
    sigma = np.exp(weights["log_std"])
    density = np.exp(-(((action - outputs) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    return np.log(density).sum(1), np.full(len(x), (np.log(sigma) + 0.5 * np.log(2 * np.pi * np.e)).sum())


def advantages(played: Played, value: Any, gamma: float, lambda_: float) -> np.ndarray:
    """Equation 16 of Schulman et al. 2016, an environment and a step at a time."""
    rows, count = np.shape(played.reward)
    found = np.zeros((rows, count))
    for env in range(count):
        carried = 0.0
        for t in reversed(range(rows)):
            here, after = value(played.observation[t])[env], value(played.following[t])[env]
            delta = played.reward[t][env] + gamma * (0 if played.terminated[t][env] else after) - here
            ended = played.terminated[t][env] or played.truncated[t][env]
            carried = delta + (0 if ended else gamma * lambda_ * carried)
            found[t, env] = carried
    return found


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


class Known(nn.Module):
    """V(s) is the first entry of s; logits (w, 0) with the one weight w."""

    def __init__(self) -> None:
        self.w = nn.Parameter(np.zeros(1, np.float32))

    def policy(self, observation: Any) -> Any:
        column = F.broadcast_to(self.w, (len(observation), 1))
        return F.concatenate([column, column * 0.0], axis=1)

    def value(self, observation: Any) -> Any:
        return observation[:, 0] + 0.0 * self.w.sum()

    def forward(self, observation: Any) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)


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


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None]


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
