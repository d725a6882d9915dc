"""MountainCar-v0 and MountainCarContinuous-v0: an underpowered car rocks itself out of a valley."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from .batched import BatchedEnv, SingleEnv

LOW = np.array([-1.2, -0.07], np.float32)
HIGH = np.array([0.6, 0.07], np.float32)


class _Valley(BatchedEnv):
    """Base of both versions: the state (position, velocity), its limits and its start."""

    variables = 2
    observation: ClassVar[spaces.Box] = spaces.Box(LOW, HIGH, dtype=np.float32)
    goal: ClassVar[float]

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._bounds = self.constants(-1.2, 0.6, -0.07, 0.07, self.goal, 0.0)

    def draw(self, count: int) -> np.ndarray:
        """Return starting states: position uniform in [-0.6, -0.4], velocity 0."""
        start: np.ndarray = self.xp.zeros((2, count))
        start[0] = self.np_random.uniform(-0.6, -0.4, count)
        return start

    def _roll(self, acceleration: Any) -> Any:
        """Accelerate, move, stop at the left wall; return which cars are at the goal, moving right."""
        xp = self.xp
        position, velocity = self.rows
        left, right, slowest, fastest, goal, zero = self._bounds
        velocity += acceleration
        xp.minimum(xp.maximum(velocity, slowest), fastest, out=velocity)
        position += velocity
        xp.minimum(xp.maximum(position, left), right, out=position)
        velocity[...] = xp.where((position == left) & (velocity < zero), zero, velocity)
        return (position >= goal) & (velocity >= zero)

    def observe(self) -> Any:
        """Return the state in float32."""
        return self.state.T.astype(np.float32, order="C")


class MountainCar(_Valley):
    """Moore 1990, "Efficient memory-based learning for robot control"; equal to Gymnasium's MountainCar-v0.

    Action: Discrete(3), push left (0), not at all (1), right (2).
    Observation: float32 (2,): position in [-1.2, 0.6], velocity in [-0.07, 0.07] (per step).
    Reward: -1 for every step. Start: position uniform in [-0.6, -0.4], at rest.
    Termination: position at least 0.5, moving right. Truncation: 200 steps.
    """

    action: ClassVar[spaces.Discrete] = spaces.Discrete(3)
    goal = 0.5

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._push = xp.asarray([-0.001, 0.0, 0.001])
        self._slope = self.constants(3.0, -0.0025)
        self._cost = -xp.ones(num_envs)

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Velocity and position: v' = v + (a - 1) 0.001 - 0.0025 cos(3 x); x' = x + v'."""
        three, gravity = self._slope
        terminated = self._roll(self._push[action] + self.xp.cos(three * self.rows[0]) * gravity)
        return self._cost.copy(), terminated


class MountainCarContinuous(_Valley):
    """The version with a continuous force; equal to Gymnasium's for actions in its space.

    Its state is float32, as Gymnasium's is from the first step on (only its start is float64).

    Action: Box(-1, 1, (1,)), the force, clipped to the range.
    Observation: float32 (2,): position in [-1.2, 0.6], velocity in [-0.07, 0.07] (per step).
    Reward: -0.1 a^2 for every step, and 100 at the goal. Start: position uniform in [-0.6, -0.4], at rest.
    Termination: position at least 0.45, moving right. Truncation: 999 steps.
    """

    dtype = np.float32
    action: ClassVar[spaces.Box] = spaces.Box(-1.0, 1.0, (1,), np.float32)
    goal = 0.45

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        super().__init__(num_envs, max_episode_steps, xp=xp)
        self._force = self.constants(-1.0, 1.0, 0.0015, 3.0)
        self._wide = [xp.asarray(value) for value in (0.0025, 0.1, 100.0)]  # float64, as in Gymnasium

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Advance as above with a push of 0.0015 a, rounding to float32 at the same points as Gymnasium."""
        xp = self.xp
        weakest, strongest, power, three = self._force
        gravity, cost, prize = self._wide
        action = action[:, 0]
        force = xp.minimum(xp.maximum(action, weakest), strongest)
        slope = gravity * xp.cos((three * self.rows[0]).astype(np.float64))
        terminated = self._roll(force * power - slope.astype(np.float32))
        wide = action.astype(np.float64)
        return prize * terminated - wide * wide * cost, terminated


class MountainCarEnv(SingleEnv):
    """One car; see `MountainCar`."""

    batched = MountainCar
    renderer = "gymnasium.envs.classic_control.mountain_car:MountainCarEnv"


class MountainCarContinuousEnv(SingleEnv):
    """One car; see `MountainCarContinuous`."""

    batched = MountainCarContinuous
    renderer = "gymnasium.envs.classic_control.continuous_mountain_car:Continuous_MountainCarEnv"
