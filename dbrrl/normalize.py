"""Running mean and variance, and the normalizers of observations and rewards made of them.

Statistics are float64 whatever comes in, so that millions of small updates lose nothing; what goes out
is float32. All of them are kept by the agent, saved with it, and only read in evaluation.
"""

import numpy as np

from dbrrl.backend import device_name, replaceable, to_device, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import ShapeError
from dbrrl.types import Array, Scalar, State

EPSILON = 1e-8  # added to a variance before its root: a constant input gives 0, not NaN


class RunningMeanStd:
    """Mean and variance of a stream of arrays, merged batch by batch.

    Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances": the result is that of one pass over everything seen, to rounding.

    Args:
        shape: shape of one item.
    """

    mean: Array
    var: Array
    count: int

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.mean = np.zeros(shape)
        self.var = np.ones(shape)
        self.count = 0
        self.device = "cpu"

    @property
    def std(self) -> Array:
        """The root of the variance plus `EPSILON`, of the shape of one item."""
        return np.sqrt(self.var + EPSILON)

    def update(self, x: Array) -> None:
        """Merge a batch of shape (N, *shape); N may be 0.

        Raises:
            ShapeError: an item of the batch has another shape.
        """
        if x.ndim == 0 or x.shape[1:] != self.mean.shape:
            raise ShapeError(
                f"RunningMeanStd.update: expected a batch of shape {self.mean.shape}, got {x.shape}: "
                "add the leading axis"
            )
        if len(x):
            self.move_to(device_name(x))
            self.mean, self.var = merged(x, self.mean, self.var, self.count)
            self.count += len(x)

    def move_to(self, device: str) -> None:
        """Keep the statistics on `device`, that of the arrays to normalize."""
        if device != self.device:
            self.mean, self.var, self.device = to_device(self.mean, device), to_device(self.var, device), device

    def state_dict(self) -> State:
        """Mean, variance and count."""
        return {"mean": np.array(to_numpy(self.mean)), "var": np.array(to_numpy(self.var)), "count": self.count}

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` gave.

        Raises:
            CheckpointError: the statistics are of items of another shape, or are no statistics.
        """
        with untrusted.state_of("RunningMeanStd", "load a state made for these spaces"):
            state, shape = untrusted.table(state, "statistics", "mean", "var", "count"), self.mean.shape
            mean = untrusted.array(state["mean"], "statistics: mean", np.float64, shape)
            var = untrusted.array(state["var"], "statistics: var", np.float64, shape, at_least=0)
            count = untrusted.whole(state["count"], "statistics: count")
        self.mean, self.var, self.count = np.array(mean, np.float64), np.array(var, np.float64), count
        self.device = "cpu"


@replaceable
def merged(x: Array, mean: Array, var: Array, count: int) -> tuple[Array, Array]:
    """Return mean and variance, of `count` items so far, with a batch of N >= 1 items x (N, ...) merged in."""
    new = len(x)
    total = count + new
    # The sums are written out: on a batch of 8 small rows `x.var(0)` costs four times as much.
    batch_mean = np.add.reduce(x, 0, dtype=np.float64) / new
    deviation = x - batch_mean
    squares = np.add.reduce(deviation * deviation, 0)
    delta = batch_mean - mean
    var = (var * count + squares + delta * delta * (count * new / total)) / total
    return mean + delta * (new / total), var


class ObservationNormalizer:
    """(x - mean) / std, clipped: each entry of an observation by its own running statistics.

    Args:
        shape: shape of one observation.
        clip: largest absolute value that comes out, in standard deviations.
    """

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0) -> None:
        self.clip = clip
        self.statistics = RunningMeanStd(shape)
        self._low, self._high = np.float32(-clip), np.float32(clip)
        self._narrow: tuple[Array, Array] | None = None  # the mean and 1 / std in float32, made when they are wanted

    def update(self, x: Array) -> None:
        """Merge observations of shape (N, *shape) into the statistics."""
        self.statistics.update(x)
        self._narrow = None

    def __call__(self, x: Array) -> Array:
        """Observations of shape (..., *shape) as float32 of the same shape; `x` is left as it is."""
        if x.dtype != np.float32:  # in float64: a large mean must not eat the difference
            self.statistics.move_to(device_name(x))
            y = (x - self.statistics.mean) / self.statistics.std
            return np.minimum(np.maximum(y, -self.clip), self.clip).astype(np.float32)
        if self._narrow is None or type(self._narrow[0]) is not type(x):
            self.statistics.move_to(device_name(x))
            self._narrow = self.statistics.mean.astype(np.float32), (1 / self.statistics.std).astype(np.float32)
        mean, inverse_std = self._narrow
        return normalized(x, mean, inverse_std, self._low, self._high)

    def state_dict(self) -> State:
        """The running statistics."""
        return self.statistics.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` gave; CheckpointError where it is of other observations."""
        self.statistics.load_state_dict(state)
        self._narrow = None


class RewardNormalizer:
    """Rewards divided by the running standard deviation of the discounted return, clipped.

    Engstrom et al. 2020, "Implementation Matters in Deep Policy Gradients" (arXiv:2005.12729), section
    3.2: the scale of the return becomes about 1, the sign of a reward stays. The mean is not subtracted:
    that would change what an episode's length is worth.

    The 0 at which the return of each environment starts counts as one of its values. The first returns alone
    have a deviation of 0 where all rewards are equal (with one environment they always are), and whatever the
    reward, `clip` would come out. With the 0, equal rewards come out as 2.0, 1.2, 0.9, ..., in every unit of
    reward whose returns are well above √`EPSILON`; after n steps the 0 is one value in n + 1. Other codes begin with a
    variance of 1 that counts as 1e-4 values (OpenAI Baselines, Gymnasium, Stable-Baselines3): a reward of 0.001 then
    comes out as 0.1, 0.14, 0.17, ..., and any reward from 0.1 on as `clip`. That of Engstrom et al. divides the first
    return by itself.

    Args:
        num_envs: B, the number of environments stepped together.
        gamma: discount factor of the return.
        clip: largest absolute value that comes out.
    """

    def __init__(self, num_envs: int, gamma: float, clip: float = 10.0) -> None:
        self.gamma = gamma
        self.clip = clip
        self.statistics = RunningMeanStd()
        self._low, self._high = np.float32(-clip), np.float32(clip)
        self.returns = np.zeros(num_envs)

    def __call__(self, reward: Array, boundary: Array, valid: Array | None = None) -> Array:
        """Merge one step of rewards into the statistics and scale them.

        Args:
            reward: (B,) rewards.
            boundary: (B,) bool; an episode ended with this step, its return starts again at 0.
            valid: (B,) bool; rows that carry no transition (False) leave everything as it is. None: all do.

        Returns:
            (B,) float32.

        Raises:
            ShapeError: `reward` or `boundary` is not (B,).
        """
        if reward.shape != self.returns.shape or boundary.shape != self.returns.shape:
            raise ShapeError(
                f"RewardNormalizer: expected reward and boundary of shape {self.returns.shape}, got "
                f"{reward.shape} and {boundary.shape}: pass one entry per environment"
            )
        if type(reward) is not type(self.returns):
            self.returns = to_device(self.returns, device_name(reward))
        returns = self.returns * self.gamma + reward
        seen = returns if valid is None else returns[valid]
        if self.statistics.count == 0:
            self.statistics.update(np.zeros_like(seen))  # where these returns started
        self.statistics.update(seen)
        if valid is None:
            self.returns = np.where(boundary, 0.0, returns)
        else:
            self.returns = np.where(valid, np.where(boundary, 0.0, returns), self.returns)
        return self.scale(reward)

    def scale(self, reward: Scalar) -> Array:
        """Rewards of any shape by the present statistics, as float32; nothing is updated."""
        self.statistics.move_to(device_name(reward))
        return clipped(reward / self.statistics.std, self._low, self._high)

    def state_dict(self) -> State:
        """The running statistics and the returns of the episodes under way."""
        return {"statistics": self.statistics.state_dict(), "returns": np.array(to_numpy(self.returns))}

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` gave.

        Raises:
            CheckpointError: the state is of another number of environments, or is no such state.
        """
        with untrusted.state_of("RewardNormalizer", "load with the same num_envs"):
            untrusted.table(state, "", "returns", "statistics")
            returns = untrusted.array(state["returns"], "returns", np.float64, self.returns.shape)
        self.statistics.load_state_dict(state["statistics"])
        self.returns = np.array(returns, np.float64)


@replaceable
def normalized(x: Array, mean: Array, inverse_std: Array, low: np.float32, high: np.float32) -> Array:
    """(x - mean) inverse_std within the bounds, float32."""
    return clipped((x - mean) * inverse_std, low, high)


@replaceable
def clipped(x: Scalar, low: np.float32, high: np.float32) -> Array:
    """A fresh array or a number, as float32 within the bounds."""
    y = np.asarray(x, np.float32)
    np.maximum(y, low, out=y)
    np.minimum(y, high, out=y)
    return y


NEAR = 1e-5  # deviations below this share of the mean may be nothing but its rounding in float32


@replaceable
def standardized(x: Array) -> Array:
    """`x` (n,) less its mean, divided by its standard deviation plus 1e-8; 0 where all numbers are equal."""
    if x.dtype.char == "e":  # float16, whose sums overflow
        return standardized(x.astype(np.float32)).astype(x.dtype)
    mean = np.add.reduce(x) / len(x)
    centered = x - mean
    deviation = np.sqrt(np.dot(centered, centered) / len(x))
    if float(deviation) < NEAR * abs(float(mean)):
        # Differences of near numbers are exact: the mean of those rounds no more than they are apart.
        shifted = x - x[0]
        centered = shifted - np.add.reduce(shifted) / len(x)
        deviation = np.sqrt(np.dot(centered, centered) / len(x))
    return centered / (deviation + 1e-8)  # type: ignore[no-any-return]
