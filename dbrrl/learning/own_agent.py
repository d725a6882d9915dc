"""What the author of an agent may get wrong: a method that returns something else than its base class expects."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dbrrl.errors import ArgumentError, DtypeError, ShapeError


def check_actions(method: str, actions: Any, shape: tuple[int, ...]) -> None:
    """Check what `method` of an agent returned, "explore" or "act_greedily".

    Args:
        method: its name.
        actions: what it returned.
        shape: the shape that is expected: one row per observation, each as the replay buffer stores an action.

    Raises:
        ShapeError: the actions have another shape.
        DtypeError: they are not a NumPy array.
    """
    if not isinstance(actions, np.ndarray):
        cure = "return its .array" if hasattr(actions, "array") else "convert it with dbrrl.backend.to_numpy"
        kind = f"{type(actions).__module__}.{type(actions).__qualname__}"
        raise DtypeError(f"{method}: expected actions as a NumPy array of shape {shape}, got {kind}: {cure}")
    if actions.shape != shape:
        raise ShapeError(
            f"{method}: expected actions of shape {shape}, one row per observation, got {actions.shape}: reshape them"
        )


def distribution(policy: Any) -> Any:
    """Return what the actor of a stochastic policy gave; DtypeError if it is no distribution with `of_noise`."""
    if not hasattr(policy, "of_noise"):
        raise DtypeError(
            f"actor: expected a distribution such as SquashedNormal(mean, log_std), got {type(policy).__name__}"
        )
    return policy


def wrong_loss(found: Any) -> ArgumentError:
    """Return the error for what the loss of a gradient step returned in place of a loss and its metrics."""
    return ArgumentError(
        f"loss: expected two values, the loss and a function of its metrics, got {type(found).__name__}: write "
        "return loss, lambda: {'loss': loss.array}"
    )


def wrong_shape(shape: tuple[int, ...]) -> ShapeError:
    """Return the error for a loss of a gradient step that is neither a scalar nor one number per transition."""
    return ShapeError(
        f"loss: expected a scalar, or one number per transition, (n,), got a tensor {shape}: take its mean, or drop an "
        "axis with .reshape(-1)"
    )


def statistics_of(found: Any) -> Mapping[str, Any]:
    """Return what `update` of an agent returned.

    Raises:
        ArgumentError: it is no mapping of statistics.
    """
    if not isinstance(found, Mapping):
        raise ArgumentError(
            f"update: expected a dict of statistics, got {type(found).__name__}: return the metrics of a gradient "
            "step, numbers by name, or {}"
        )
    return found
