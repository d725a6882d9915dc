"""CartPole-v1: balance a pole on a cart that is pushed left or right."""

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from .batched import BatchedEnv, SingleEnv

POSITION_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * 2 * math.pi / 360  # rad
HIGH = np.array([2 * POSITION_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)


class CartPole(BatchedEnv):
    """Barto, Sutton and Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning
    control problems"; equal, bit for bit, to Gymnasium's CartPole-v1.

    Action: Discrete(2), push with 10 N to the left (0) or right (1).
    Observation: float32 (4,): cart position (m), velocity (m/s), pole angle (rad), angular velocity (rad/s).
    Reward: 1 for every step. Start: each variable uniform in [-0.05, 0.05].
    Termination: cart beyond 2.4 m or pole beyond 12 degrees. Truncation: 500 steps. Step: Euler, 0.02 s.
    """

    variables = 4
    observation: ClassVar[spaces.Box] = spaces.Box(-HIGH, HIGH, dtype=np.float32)
    action: ClassVar[spaces.Discrete] = spaces.Discrete(2)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._force = xp.asarray([-10.0, 10.0])
        self._ones = xp.ones(num_envs)
        self._dynamics = self.constants(9.8, 0.05, 0.1, 1.1, 0.5, 4.0 / 3.0, 0.02)
        self._limits = self.constants(POSITION_LIMIT, ANGLE_LIMIT)

    def draw(self, count: int) -> np.ndarray:
        """Uniform in [-0.05, 0.05]."""
        return self.np_random.uniform(-0.05, 0.05, (4, count))

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Euler's method on Florian 2007, "Correct equations for the dynamics of the cart-pole system"."""
        xp = self.xp
        gravity, pole_moment, pole_mass, mass, length, four_thirds, dt = self._dynamics
        x, x_dot, theta, theta_dot = self.rows
        cos, sin = xp.cos(theta), xp.sin(theta)
        push = (self._force[action] + pole_moment * (theta_dot * theta_dot) * sin) / mass
        theta_acceleration = (gravity * sin - cos * push) / (
            length * (four_thirds - pole_mass * (cos * cos) / mass)
        )
        x_acceleration = push - pole_moment * theta_acceleration * cos / mass
        x += dt * x_dot
        x_dot += dt * x_acceleration
        theta += dt * theta_dot
        theta_dot += dt * theta_acceleration
        position_limit, angle_limit = self._limits
        return self._ones.copy(), (abs(x) > position_limit) | (abs(theta) > angle_limit)

    def observe(self) -> Any:
        """The state in float32."""
        return self.state.T.astype(np.float32, order="C")


class CartPoleEnv(SingleEnv):
    """One cart and pole; see `CartPole`."""

    batched = CartPole
    renderer = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
