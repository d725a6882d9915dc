"""Updates of SAC and TD3 written by hand in NumPy, without checks or choices: what the agents are measured against."""

import math
from typing import Any

import numpy as np
from floor_network import FloorNetwork

ROWS = 10_000
HIDDEN, BATCH, TAU, GAMMA, STEP_SIZE = (256, 256), 256, 0.005, 0.99, 3e-4


class Floor:
    """What both have: a buffer, twin critics and their step.

    Args:
        observation: numbers of an observation.
        action: numbers of an action.
        outputs: of the policy network.
    """

    def __init__(self, observation: int, action: int, outputs: int) -> None:
        rng = self.rng = np.random.default_rng(0)
        self.k = action
        self.actor = FloorNetwork((observation, *HIDDEN, outputs), BATCH, rng)
        self.critics = [FloorNetwork((observation + action, *HIDDEN, 1), BATCH, rng) for _ in range(2)]
        self.observations = rng.standard_normal((ROWS + 1, observation)).astype(np.float32)
        self.actions = np.tanh(rng.standard_normal((ROWS, action)).astype(np.float32))
        self.rewards, self.discounts = np.ones(ROWS, np.float32), np.full(ROWS, GAMMA, np.float32)
        self.updates = 0

    def draw(self) -> tuple[Any, Any, Any, Any, Any]:
        """A batch: s, a, r, γ and s'."""
        index = self.rng.integers(0, ROWS, BATCH)
        s, following = self.observations.take(index, 0), self.observations.take(index + 1, 0)
        return s, self.actions.take(index, 0), self.rewards.take(index), self.discounts.take(index), following

    def step_critics(self, s: Any, a: Any, y: Any) -> None:
        """Move both critics towards y."""
        x = np.concatenate([s, a], 1)
        for critic in self.critics:
            outputs = critic.forward(x, critic.layers)
            g = outputs[-1] - y[:, None]
            g *= 2 / BATCH
            critic.backward(g, outputs)
            critic.adam(STEP_SIZE)

    def least_target(self, s: Any, a: Any) -> Any:
        """The lesser of the target critics' values, (n,)."""
        x = np.concatenate([s, a], 1)
        one, other = (critic.forward(x, critic.target_layers)[-1][:, 0] for critic in self.critics)
        return np.minimum(one, other)


class TD3Floor(Floor):
    """Algorithm 1 of Fujimoto et al. 2018, the policy at every second update."""

    def __init__(self, observation: int, action: int) -> None:
        super().__init__(observation, action, action)

    def update(self) -> None:
        """Draw a batch and learn from it."""
        s, a, r, discount, following = self.draw()
        noise = self.rng.standard_normal(a.shape, np.float32)
        noise *= 0.2
        np.clip(noise, -0.5, 0.5, out=noise)
        noise += np.tanh(self.actor.forward(following, self.actor.target_layers)[-1])
        np.clip(noise, -1, 1, out=noise)
        y = self.least_target(following, noise)
        y *= discount
        y += r
        self.step_critics(s, a, y)
        self.updates += 1
        if self.updates % 2:
            return
        outputs, critic = self.actor.forward(s, self.actor.layers), self.critics[0]
        action = np.tanh(outputs[-1])
        values = critic.forward(np.concatenate([s, action], 1), critic.layers)
        g = critic.backward(np.full((BATCH, 1), -1 / BATCH, np.float32), values, weights=False, inputs=True)
        self.actor.backward(g[:, -self.k :] * (1 - action * action), outputs)
        self.actor.adam(STEP_SIZE)
        for network in (self.actor, *self.critics):
            network.follow(TAU)


class SACFloor(Floor):
    """Haarnoja et al. 2018b, with a learned temperature."""

    def __init__(self, observation: int, action: int) -> None:
        super().__init__(observation, action, 2 * action)
        self.log_alpha, self.moments = 0.0, [0.0, 0.0]

    def sample(self, s: Any) -> tuple[list[Any], Any, Any, Any, Any]:
        """The policy's outputs, its action, noise, deviation, and log-density."""
        outputs = self.actor.forward(s, self.actor.layers)
        mean, log_std = outputs[-1][:, : self.k], np.clip(outputs[-1][:, self.k :], -20, 2)
        std, noise = np.exp(log_std), self.rng.standard_normal(mean.shape, np.float32)
        u = mean + std * noise
        each = noise * noise * -0.5 - 0.9189385 - log_std - 2 * (math.log(2) - u - np.logaddexp(0, -2 * u))
        return outputs, np.tanh(u), noise, std, each.sum(1)

    def update(self) -> None:
        """Draw a batch and learn from it."""
        s, a, r, discount, following = self.draw()
        alpha = math.exp(self.log_alpha)
        _, action, _, _, log_prob = self.sample(following)
        y = self.least_target(following, action)
        y -= alpha * log_prob
        y *= discount
        y += r
        self.step_critics(s, a, y)
        outputs, action, noise, std, log_prob = self.sample(s)
        x = np.concatenate([s, action], 1)
        values = [critic.forward(x, critic.layers) for critic in self.critics]
        first = values[0][-1] <= values[1][-1]
        chosen = first.astype(np.float32), (~first).astype(np.float32)
        gu = np.zeros_like(action)
        for critic, outs, mine in zip(self.critics, values, chosen, strict=True):
            gu += critic.backward(mine * np.float32(-1 / BATCH), outs, weights=False, inputs=True)[:, -self.k :]
        gu *= 1 - action * action
        gu += 2 * alpha / BATCH * action  # of -log(1 - tanh² u)
        g = np.empty_like(outputs[-1])
        g[:, : self.k] = gu
        g[:, self.k :] = gu * std * noise - alpha / BATCH
        g[:, self.k :] *= np.abs(outputs[-1][:, self.k :] + 9) <= 11  # within the limits of the deviation
        self.actor.backward(g, outputs)
        self.actor.adam(STEP_SIZE)
        self.step_temperature(-(float(log_prob.mean()) - self.k))
        for critic in self.critics:
            critic.follow(TAU)

    def step_temperature(self, g: float) -> None:
        """One step of Adam for log α."""
        self.updates += 1
        one, two = self.moments = [0.9 * self.moments[0] + 0.1 * g, 0.999 * self.moments[1] + 0.001 * g * g]
        one, two = one / (1 - 0.9**self.updates), two / (1 - 0.999**self.updates)
        self.log_alpha -= STEP_SIZE * one / (math.sqrt(two) + 1e-8)
