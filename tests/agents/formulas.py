"""PPO's and A2C's arithmetic written out again in float64, and rollouts written down to compute it from."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

ACTIONS = {
    "discrete": gym.spaces.Discrete(3),
    "multi-discrete": gym.spaces.MultiDiscrete([2, 3]),
    "multi-binary": gym.spaces.MultiBinary(2),
    "box": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
}


@dataclass
class Played:
    """A rollout as arrays (T, B, ...), written down by the test itself."""

    observation: list[Any] = field(default_factory=list)
    action: list[Any] = field(default_factory=list)
    reward: list[Any] = field(default_factory=list)
    terminated: list[Any] = field(default_factory=list)
    truncated: list[Any] = field(default_factory=list)
    following: list[Any] = field(default_factory=list)


def play(agent: Any, rows: int) -> Played:
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


def unpacked(agent: Any, flat: np.ndarray) -> dict[str, np.ndarray]:
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


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)[:, None]
