"""From a network's outputs to a distribution over the actions of a space, and from its samples to actions."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl.backend import device_name, to_device_of
from dbrrl.distributions.base import Distribution
from dbrrl.distributions.categorical import Bernoulli, Categorical, MultiCategorical
from dbrrl.distributions.normal import Normal
from dbrrl.errors import ConfigError, undefined

ACTION_SPACES = (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary, gym.spaces.Box)


class Head:
    """Maps network outputs to an action distribution for one space.

    Attributes:
        size: outputs the network must give per observation.
        continuous: whether a log standard deviation (size,) is learned with them.
        sample_shape, sample_dtype: of one sample, as rollouts store it.
    """

    size: int
    continuous = False
    sample_shape: tuple[int, ...] = ()
    sample_dtype: Any = np.int64

    def distribution(self, outputs: Any, log_std: Any = None) -> Distribution:
        """The distribution over samples, one per row of `outputs` (B, size)."""
        raise undefined(self, "distribution")

    def to_action(self, sample: Any) -> Any:
        """Return actions of the space for a batch of samples, on their device."""
        raise undefined(self, "to_action")

    def constants(self, sample: Any, *arrays: np.ndarray) -> tuple[Any, ...]:
        """Return constants on the device of `sample`, cached per device."""
        copies: dict[str, tuple[Any, ...]] = self.__dict__.setdefault("_copies", {})
        device = device_name(sample)
        if device not in copies:
            copies[device] = to_device_of(sample, arrays)
        return copies[device]


class DiscreteHead(Head):
    """Discrete(n): a Categorical over n logits."""

    def __init__(self, space: gym.spaces.Discrete) -> None:
        self.size, self.start = int(space.n), int(space.start)
        self.dtype = None if space.dtype == np.int64 else space.dtype

    def distribution(self, outputs: Any, log_std: Any = None) -> Categorical:
        """One of n."""
        return Categorical(outputs)

    def to_action(self, sample: Any) -> Any:
        """Counted from the space's `start`, of its dtype."""
        action = sample + self.start if self.start else sample
        return action if self.dtype is None else action.astype(self.dtype)


class MultiDiscreteHead(Head):
    """MultiDiscrete(nvec): one Categorical per entry."""

    def __init__(self, space: gym.spaces.MultiDiscrete) -> None:
        self.sizes = [int(n) for n in space.nvec.ravel()]
        self.size, self.space = sum(self.sizes), space
        self.sample_shape = (len(self.sizes),)

    def distribution(self, outputs: Any, log_std: Any = None) -> MultiCategorical:
        """One choice per entry."""
        return MultiCategorical(outputs, self.sizes)

    def to_action(self, sample: Any) -> Any:
        """In the shape of `nvec`, counted from `start`."""
        (start,) = self.constants(sample, self.space.start)
        return (sample.reshape(-1, *self.space.shape) + start).astype(self.space.dtype)


class MultiBinaryHead(Head):
    """MultiBinary(n): n Bernoulli variables."""

    sample_dtype = np.int8

    def __init__(self, space: gym.spaces.MultiBinary) -> None:
        self.size, self.shape = int(np.prod(space.shape)), space.shape
        self.sample_shape = (self.size,)

    def distribution(self, outputs: Any, log_std: Any = None) -> Bernoulli:
        """Yes or no per entry."""
        return Bernoulli(outputs)

    def to_action(self, sample: Any) -> Any:
        """In the shape of the space."""
        return sample.reshape(-1, *self.shape)


class BoxHead(Head):
    """Box: independent normals with a learned, state-independent log standard deviation; actions are clipped to it.

    In a Box of integers they are rounded too.
    """

    continuous = True
    sample_dtype = np.float32

    def __init__(self, space: gym.spaces.Box) -> None:
        self.size, self.space = int(np.prod(space.shape)), space
        self.is_integer = np.dtype(space.dtype).kind in "iu"
        self.sample_shape = (self.size,)

    def distribution(self, outputs: Any, log_std: Any = None) -> Normal:
        """One normal per entry."""
        if log_std is None:
            raise ConfigError(
                f"network: expected a Parameter log_std ({self.size},) for Box actions, got none: add it to the module"
            )
        return Normal(outputs, log_std)

    def to_action(self, sample: Any) -> Any:
        """Clipped to the bounds; the log-probability stays that of the sample."""
        space = self.space
        low, high = self.constants(sample, space.low, space.high)
        action: Any = np.minimum(np.maximum(sample.reshape(-1, *space.shape), low), high)
        if self.is_integer:
            action = np.rint(action)
        return action.astype(space.dtype, copy=False)


HEADS: dict[type[gym.Space[Any]], Callable[[Any], Head]] = {
    gym.spaces.Discrete: DiscreteHead,
    gym.spaces.MultiDiscrete: MultiDiscreteHead,
    gym.spaces.MultiBinary: MultiBinaryHead,
    gym.spaces.Box: BoxHead,
}


def head_for(space: gym.Space[Any]) -> Head:
    """The head for an action space, one of ACTION_SPACES (the agent has checked it)."""
    return next(make(space) for kind, make in HEADS.items() if isinstance(space, kind))
