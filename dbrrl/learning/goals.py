"""Goal environments: where their goals are in what agents see, and their functions of goals."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from dbrrl.buffers.hindsight import GoalLayout
from dbrrl.errors import ConfigError
from dbrrl.networks.preprocessor import Preprocessor, is_image

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"


def layout_of(space: gym.Space[Any], preprocessor: Preprocessor) -> GoalLayout:
    """Return where the goals are in the vector of an observation of `space`.

    Raises:
        ConfigError: it is not the space of a goal environment, or its goals are not two equal arrays of numbers.
    """
    if not isinstance(space, gym.spaces.Dict) or not {ACHIEVED, DESIRED} <= set(space.spaces):
        raise ConfigError(
            "her: expected a goal environment, whose observations are a Dict with achieved_goal, desired_goal and "
            f"observation, got {space}: leave her out, or wrap the environment"
        )
    achieved, desired = space[ACHIEVED], space[DESIRED]
    for name, goal in ((ACHIEVED, achieved), (DESIRED, desired)):
        if not isinstance(goal, gym.spaces.Box | gym.spaces.MultiBinary) or is_image(goal):
            raise ConfigError(f"her: expected {name} to be a Box, and no image, or MultiBinary, got {goal}: wrap it")
    if achieved.shape != desired.shape:
        raise ConfigError(f"her: expected goals of one shape, got {achieved.shape} and {desired.shape}: wrap them")
    if preprocessor.range is not None:
        raise ConfigError(
            "her: expected goals as they are, got scale_observation=true: leave that out, and scale in the environment"
        )
    places = preprocessor.vector_places()
    return GoalLayout(places[ACHIEVED,], places[DESIRED,], tuple(desired.shape or ()), desired.dtype)


def functions_of(env: Any) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """Return an environment's `compute_reward`, and its `compute_terminated` or None.

    Args:
        env: an environment, wrapped or not, or a vector of environments in this process, of which the first is taken.

    Raises:
        ConfigError: it has no `compute_reward`.
    """
    if isinstance(env, gym.vector.VectorEnv) and getattr(env.unwrapped, "envs", None):
        env = env.unwrapped.envs[0]  # type: ignore[attr-defined]
    reward = _attribute(env, "compute_reward")
    if reward is None:
        raise ConfigError(
            "her: expected an environment with compute_reward(achieved_goal, desired_goal, info), as those of "
            f"gymnasium-robotics are, got {getattr(env, 'unwrapped', env)}: add it, or leave her out"
        )
    return reward, _attribute(env, "compute_terminated")


def _attribute(env: Any, name: str) -> Any:
    """Return an attribute of an environment, or of what its wrappers hold; None if there is none."""
    if hasattr(env, "get_wrapper_attr"):
        try:
            return env.get_wrapper_attr(name)
        except AttributeError:
            return None
    return getattr(env, name, getattr(getattr(env, "unwrapped", None), name, None))
