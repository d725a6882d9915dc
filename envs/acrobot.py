"""Acrobot-v1: swing the tip of a two-link pendulum above a line with a torque at the joint of the links."""

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from .batched import BatchedEnv, SingleEnv

HIGH = np.array([1.0, 1.0, 1.0, 1.0, 4 * math.pi, 9 * math.pi], np.float32)


class Acrobot(BatchedEnv):
    """Sutton 1996, "Generalization in reinforcement learning"; Gymnasium's Acrobot-v1 up to rounding.

    Links of 1 m and 1 kg, centers of mass at 0.5 m, moments of inertia 1 kg m^2, g = 9.8 m/s^2; the
    equations are simplified for these numbers, hence the differences in rounding.

    Action: Discrete(3), torque -1 (0), 0 (1) or 1 N m (2).
    Observation: float32 (6,): cos and sin of both angles (0 hangs down; the second is relative to the first),
    and both angular velocities (rad/s), bounded by 4 pi and 9 pi.
    Reward: -1 for every step, 0 for the one that reaches the goal.
    Start: each variable uniform in [-0.1, 0.1].
    Termination: -cos(t1) - cos(t1 + t2) > 1. Truncation: 500 steps. Step: one Runge-Kutta step of 0.2 s.
    """

    variables = 4
    observation: ClassVar[spaces.Box] = spaces.Box(-HIGH, HIGH, dtype=np.float32)
    action: ClassVar[spaces.Discrete] = spaces.Discrete(3)

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._torque = xp.asarray([-1.0, 0.0, 1.0])
        self._equation = self.constants(3.5, 1.25, 0.5, 2.0, 4.9, 14.7)
        self._times = self.constants(0.1, 0.2, 0.2 / 6.0, 2.0)
        self._one, self._pi, self._turn = self.constants(1.0, math.pi, 2 * math.pi)
        self._fastest = xp.asarray([[4 * math.pi], [9 * math.pi]])

    def draw(self, count: int) -> np.ndarray:
        """Return starting states, uniform in [-0.1, 0.1], rounded to float32 as in Gymnasium."""
        return self.np_random.uniform(-0.1, 0.1, (4, count)).astype(np.float32)

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Take one step of the classical Runge-Kutta method, then wrap angles and bound velocities."""
        xp, state = self.xp, self.state
        half, whole, sixth, two = self._times
        torque = self._torque[action]
        k1 = self._slope(state, torque)
        k2 = self._slope(state + half * k1, torque)
        k3 = self._slope(state + half * k2, torque)
        k4 = self._slope(state + whole * k3, torque)
        state += sixth * (k1 + two * (k2 + k3) + k4)
        angles, velocities = state[:2], state[2:]
        self._wrap(angles)
        xp.minimum(xp.maximum(velocities, -self._fastest), self._fastest, out=velocities)
        first, second = angles
        terminated = -xp.cos(first) - xp.cos(first + second) > self._one
        return terminated - self._one, terminated

    def _slope(self, state: Any, torque: Any) -> Any:
        """Return the derivative of the state by Sutton and Barto's equations, a new array (4, B)."""
        xp = self.xp
        inertia1, inertia2, half, two, weight2, weight1 = self._equation
        first, second, first_dot, second_dot = state
        cos2, sin2 = xp.cos(second), xp.sin(second)
        d1 = inertia1 + cos2
        d2 = inertia2 + half * cos2
        phi2 = weight2 * xp.sin(first + second)
        half_sin2 = half * sin2
        phi1 = phi2 + weight1 * xp.sin(first) - half_sin2 * second_dot * (second_dot + two * first_dot)
        ratio = d2 / d1
        slope = xp.empty_like(state)
        slope[:2] = state[2:]
        acceleration2 = (torque + ratio * phi1 - half_sin2 * (first_dot * first_dot) - phi2) / (inertia2 - d2 * ratio)
        slope[3] = acceleration2
        slope[2] = -(d2 * acceleration2 + phi1) / d1
        return slope

    def _wrap(self, angles: Any) -> None:
        """Shift angles into [-pi, pi] by multiples of 2 pi."""
        xp = self.xp
        if xp is not np:  # no synchronization with the GPU: a step turns by less than 4 pi
            for _ in range(2):
                angles -= xp.copysign(self._turn, angles) * (abs(angles) > self._pi)
            return
        while xp.count_nonzero(out := abs(angles) > self._pi):
            angles -= xp.copysign(self._turn, angles) * out

    def observe(self) -> Any:
        """Return cosines and sines of the angles, and the angular velocities."""
        observation = self.xp.empty((self.num_envs, 6), np.float32)
        angles = self.state[:2].T
        observation[:, 0:4:2] = self.xp.cos(angles)
        observation[:, 1:4:2] = self.xp.sin(angles)
        observation[:, 4:] = self.state[2:].T
        return observation


class AcrobotEnv(SingleEnv):
    """One acrobot; see `Acrobot`."""

    batched = Acrobot
    renderer = "gymnasium.envs.classic_control.acrobot:AcrobotEnv"
