"""Pendulum-v1: swing a pendulum up and hold it there with little torque."""

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from .batched import BatchedEnv, SingleEnv

HIGH = np.array([1.0, 1.0, 8.0], np.float32)


class Pendulum(BatchedEnv):
    """The frictionless pendulum; equal to Gymnasium's Pendulum-v1 (g = 10, mass 1 kg, length 1 m).

    Action: Box(-2, 2, (1,)), the torque (N m), clipped to the range.
    Observation: float32 (3,): cosine and sine of the angle (0 is upright), velocity in [-8, 8] (rad/s).
    Reward: -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), of the state before the step, angle in [-pi, pi).
    Start: angle uniform in [-pi, pi], velocity in [-1, 1].
    Termination: never. Truncation: 200 steps of 0.05 s.
    """

    variables = 2
    observation: ClassVar[spaces.Box] = spaces.Box(-HIGH, HIGH, dtype=np.float32)
    action: ClassVar[spaces.Box] = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._low, self._span = xp.asarray([[-math.pi], [-1.0]]), xp.asarray([[2 * math.pi], [2.0]])
        self._torque = xp.asarray(-2.0, np.float32), xp.asarray(2.0, np.float32)
        self._cost = [*self.constants(math.pi, 2 * math.pi, 0.1), xp.asarray(0.001, np.float32)]
        self._dynamics = [*self.constants(15.0, 0.05, -8.0, 8.0), xp.asarray(3.0, np.float32)]

    def draw(self, count: int) -> Any:
        """Return starting states: angle uniform in [-pi, pi], angular velocity in [-1, 1]."""
        return self._low + self._span * self.np_random.random((2, count))

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Velocity w' = w + (3 g / (2 l) sin(angle) + 3 u / (m l^2)) dt, bounded; angle' = angle + w' dt."""
        xp = self.xp
        pi, turn, velocity_cost, torque_cost = self._cost
        gravity, dt, slowest, fastest, three = self._dynamics
        weakest, strongest = self._torque
        angle, velocity = self.rows
        torque = xp.minimum(xp.maximum(action[:, 0], weakest), strongest)
        off = (angle + pi) % turn - pi
        cost = off * off + velocity_cost * (velocity * velocity) + torque_cost * (torque * torque)
        velocity += (gravity * xp.sin(angle) + three * torque) * dt
        xp.minimum(xp.maximum(velocity, slowest), fastest, out=velocity)
        angle += velocity * dt
        return -cost, xp.zeros(self.num_envs, np.bool_)

    def observe(self) -> Any:
        """Return cosine and sine of the angle, and the angular velocity."""
        angle, velocity = self.rows
        observation = self.xp.empty((self.num_envs, 3), np.float32)
        observation[:, 0] = self.xp.cos(angle)
        observation[:, 1] = self.xp.sin(angle)
        observation[:, 2] = velocity
        return observation


class PendulumEnv(SingleEnv):
    """One pendulum; see `Pendulum`."""

    batched = Pendulum
    renderer = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
