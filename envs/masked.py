"""Actions that are only now and then allowed: what they pay is known, and no observation but the mask tells when."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ALLOWED = ((0, 1), (1, 2), (0, 3), (0, 2), (1, 3))  # the actions of each step
SIZES = (4, 3)  # of the two choices, where there are two; of the second, step t allows t mod 3 alone


class Masked(gym.Env[Any, Any]):
    """Action a of 0 to 3 pays a, if it is one of the two that the step allows; any other ends the episode with 0.

    The observation is a dict: "observation", float32 (1,), always 0, and "action_mask", int8 (4,). The episode ends
    after 5 steps; then nothing is allowed. The best policy takes the largest allowed action, for a return of 11
    (`optimal_return`); one that takes each allowed action alike gets 6.5, and one that does not heed the mask at most
    3: action 1 is allowed in the first two steps, and pays 1 in each.

    Args:
        in_info: the mask is in `info` and not in the observation, which is then "observation" alone.
        two_choices: actions are MultiDiscrete([4, 3]), masks int8 (7,); the second choice pays nothing, and one of it
            is allowed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    optimal_return: ClassVar[float] = 11.0

    def __init__(self, in_info: bool = False, two_choices: bool = False) -> None:
        self.in_info, self.two_choices = in_info, two_choices
        self.action_space: gym.Space[Any] = spaces.Discrete(SIZES[0])
        if two_choices:
            self.action_space = spaces.MultiDiscrete(list(SIZES))
        seen, size = spaces.Box(0.0, 1.0, (1,), np.float32), sum(SIZES) if two_choices else SIZES[0]
        both = spaces.Dict({"observation": seen, "action_mask": spaces.MultiBinary(size)})
        self.observation_space: gym.Space[Any] = seen if in_info else both
        self._step, self._over = 0, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin at the first step."""
        super().reset(seed=seed)
        self._step, self._over = 0, False
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pay for an allowed action, or end the episode."""
        first, *second = np.ravel(action).tolist()
        right = first in ALLOWED[self._step] and second in ([], [self._step % 3])
        self._step += 1
        self._over = not right or self._step == len(ALLOWED)
        observation, info = self._shown()
        return observation, float(first) if right else 0.0, self._over, False, info

    def mask(self) -> np.ndarray:
        """Return which actions are allowed now, int8; none after the last step."""
        mask = np.zeros(sum(SIZES), np.int8)
        if not self._over:
            mask[[*ALLOWED[self._step], SIZES[0] + self._step % 3]] = 1
        return mask if self.two_choices else mask[: SIZES[0]]

    def _shown(self) -> tuple[Any, dict[str, Any]]:
        seen, mask = np.zeros(1, np.float32), self.mask()
        return (seen, {"action_mask": mask}) if self.in_info else ({"observation": seen, "action_mask": mask}, {})
