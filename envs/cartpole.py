"""CartPole-v1: balance a pole on a cart that is pushed left or right."""

import functools
import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy import cos, sin

from dbrrl.backend import array_module, replaceable

from .batched import BatchedEnv, SingleEnv

POSITION_LIMIT = 2.4  # m
ANGLE_LIMIT = 12 * 2 * math.pi / 360  # rad
TIME_STEP = 0.02  # s
FORCES = (-10.0, 10.0)  # N, by action
# Gravity (m/s²), mass of the pole times half its length (kg m), mass of the pole, of pole and cart (kg), half the
# pole's length (m), and a number of the equations.
CONSTANTS = (9.8, 0.05, 0.1, 1.1, 0.5, 4.0 / 3.0)
NUMBERS = (*CONSTANTS, TIME_STEP, POSITION_LIMIT, ANGLE_LIMIT)  # of a step, in the order in which it takes them
FEW = 6  # copies up to which Python's numbers are faster than NumPy's arrays
HIGH = np.array([2 * POSITION_LIMIT, np.inf, 2 * ANGLE_LIMIT, np.inf], np.float32)


def accelerations(
    cos: Any, sin: Any, theta_dot: Any, force: Any,
    gravity: Any, pole_moment: Any, pole_mass: Any, mass: Any, half_length: Any, four_thirds: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Return the accelerations of the cart (m/s²) and of the pole's angle (1/s²), without friction.

    Florian 2007, "Correct equations for the dynamics of the cart-pole system". Arrays of copies or numbers.
    """
    push = (force + pole_moment * (theta_dot * theta_dot) * sin) / mass
    theta_acceleration = (gravity * sin - cos * push) / (half_length * (four_thirds - pole_mass * (cos * cos) / mass))
    return push - pole_moment * theta_acceleration * cos / mass, theta_acceleration


@functools.cache
def _constants(xp: Any) -> tuple[Any, ...]:
    """Return the numbers of a step as arrays, which operations take in two thirds of a Python number's time."""
    return tuple(xp.asarray(x) for x in (*NUMBERS, FORCES))


@replaceable
def euler_step(state: Any, action: Any) -> Any:
    """Take one step of Euler's method in place; return which episodes ended, bool (B,).

    state: float64 (4, B). action: whole numbers (B,), 0 or 1.
    """
    if state.shape[1] <= FEW and type(state) is np.ndarray:
        return _step_of_few(state.T, np.asarray(action).tolist())
    xp = array_module(state)
    *constants, dt, position_limit, angle_limit, forces = _constants(xp)
    x, x_dot, theta, theta_dot = state
    x_acceleration, theta_acceleration = accelerations(
        xp.cos(theta), xp.sin(theta), theta_dot, forces[action], *constants
    )
    x += dt * x_dot
    x_dot += dt * x_acceleration
    theta += dt * theta_dot
    theta_dot += dt * theta_acceleration
    return (abs(x) > position_limit) | (abs(theta) > angle_limit)


def _step_of_few(state: np.ndarray, actions: list[int]) -> np.ndarray:
    """Take the same step with Python's numbers, copy by copy."""
    copies, ended = [], []
    for (x, x_dot, theta, theta_dot), action in zip(state.tolist(), actions, strict=True):
        x_acceleration, theta_acceleration = accelerations(
            float(cos(theta)), float(sin(theta)), theta_dot, FORCES[action], *CONSTANTS
        )
        x += TIME_STEP * x_dot
        theta += TIME_STEP * theta_dot
        x_dot += TIME_STEP * x_acceleration
        copies.append((x, x_dot, theta, theta_dot + TIME_STEP * theta_acceleration))
        ended.append(abs(x) > POSITION_LIMIT or abs(theta) > ANGLE_LIMIT)
    state[...] = copies
    return np.array(ended)


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
        self._ones = xp.ones(num_envs)

    def draw(self, count: int) -> np.ndarray:
        """Return starting states, uniform in [-0.05, 0.05]."""
        return self.np_random.uniform(-0.05, 0.05, (4, count))

    def advance(self, action: Any) -> tuple[Any, Any]:
        """Take one step of Euler's method."""
        return self._ones.copy(), euler_step(self.state, action)

    def observe(self) -> Any:
        """Return the state in float32."""
        return self.state.T.astype(np.float32, order="C")


class CartPoleEnv(SingleEnv):
    """One cart and pole; see `CartPole`."""

    batched = CartPole
    renderer = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


class CartPoleHidden(CartPole):
    """CartPole whose observations lack the velocities, which must be inferred from earlier observations.

    Observation: float32 (2,): cart position (m), pole angle (rad). All else as in `CartPole`.
    """

    observation: ClassVar[spaces.Box] = spaces.Box(-HIGH[::2], HIGH[::2], dtype=np.float32)

    def observe(self) -> Any:
        """Return position and angle in float32."""
        return self.state[::2].T.astype(np.float32, order="C")


class CartPoleHiddenEnv(CartPoleEnv):
    """One cart and pole with hidden velocities; see `CartPoleHidden`."""

    batched = CartPoleHidden
