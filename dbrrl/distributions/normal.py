"""Continuous distributions: independent normals, plain and squashed into an interval by tanh."""

import math
from typing import Any, Self

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import to_device_of
from dbrrl.distributions.base import Distribution, NoClosedForm, constant, sum_last, values
from dbrrl.errors import ShapeError

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Normal(Distribution):
    """n independent normals per row: mean (B, n), log_std (n,) or (B, n); samples (B, n)."""

    def __init__(self, mean: Any, log_std: Any) -> None:
        if len(mean.shape) < 2 or log_std.shape[-1:] != mean.shape[-1:]:
            raise ShapeError(
                f"Normal: expected mean (B, n) and log_std (n,) or (B, n), got {mean.shape} and {log_std.shape}"
            )
        if log_std.dtype != mean.dtype and not isinstance(log_std, Tensor):
            log_std = log_std.astype(mean.dtype)
        self.mean, self.log_std = mean, log_std

    @property
    def std(self) -> Any:
        """Standard deviation."""
        return F.exp(self.log_std)

    def _noise(self, rng: np.random.Generator) -> Any:
        mean = values(self.mean)
        dtype = np.float32 if mean.dtype == np.float32 else np.float64
        return to_device_of(mean, rng.standard_normal(mean.shape, dtype))

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """mean + std ε, ε standard normal, as a plain array."""
        return values(self.mean) + np.exp(values(self.log_std)) * self._noise(rng)  # type: ignore[no-any-return]

    def rsample(self, rng: np.random.Generator) -> Any:
        """The same with gradients for mean and log_std (the reparametrization of Kingma & Welling 2014)."""
        return self.mean + self.std * self._noise(rng)

    def mode(self) -> np.ndarray:
        """The mean."""
        return values(self.mean).copy()  # type: ignore[no-any-return]

    def log_prob(self, x: Any) -> Any:
        """Σ -½ ((x - mean) / std)² - log std - ½ log 2π: x (B, n)."""
        if x.shape[-len(self.mean.shape) :] != self.mean.shape:
            raise ShapeError(f"Normal.log_prob: expected x {self.mean.shape}, got {x.shape}: one sample per row")
        if len(x.shape) == 2 and self.log_std.shape in (x.shape, x.shape[1:]):
            return F.normal_log_prob(self.mean, self.log_std, x)
        z = (x - self.mean) * F.exp(-self.log_std)
        return sum_last(z * z * -0.5 - self.log_std - HALF_LOG_2PI)

    def entropy(self) -> Any:
        """Σ log std + ½ log 2πe, one per row."""
        rows = F.broadcast_to(self.log_std, self.mean.shape)
        return sum_last(rows + (HALF_LOG_2PI + 0.5))

    def detached(self) -> Self:
        """Of constant mean and log_std."""
        return type(self)(constant(self.mean), constant(self.log_std))


class SquashedNormal(Distribution):
    """tanh of a normal, in (-1, 1)ⁿ (Haarnoja et al. 2018, appendix C); no closed-form entropy."""

    def __init__(self, mean: Any, log_std: Any) -> None:
        self.base = Normal(mean, log_std)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Tanh of a sample of the normal."""
        sample: np.ndarray = np.tanh(self.base.sample(rng))
        return sample

    def rsample(self, rng: np.random.Generator) -> Any:
        """The same with gradients."""
        return F.tanh(self.base.rsample(rng))

    def rsample_and_log_prob(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """A sample with gradients and its log-density, exact also where tanh rounds to 1."""
        return self.of_noise(self.base._noise(rng))

    def of_noise(self, noise: Any) -> tuple[Any, Any]:
        """The sample tanh(mean + std ε) of standard normal noise ε (B, n), and its log-density (B,), with gradients.

        The density is that of the sample in (-1, 1)ⁿ: log N(u) - Σ log(1 - tanh² u), u = mean + std ε (Haarnoja et al.
        2018, appendix C), computed from u, so that it is exact also where tanh rounds to 1.
        """
        u, log_std = self.base.mean + self.base.std * noise, self.base.log_std
        each = noise * noise * -0.5 - HALF_LOG_2PI - log_std - _log_slope(u)
        return F.tanh(u), sum_last(each)

    def mode(self) -> np.ndarray:
        """Tanh of the mean (the median; the density's maximum is elsewhere)."""
        mode: np.ndarray = np.tanh(self.base.mode())
        return mode

    def log_prob(self, x: Any) -> Any:
        """log N(artanh x) - Σ log(1 - x²): x (B, n) in (-1, 1); what rounding has taken to ±1 is moved in by one ε."""
        edge = 1 - float(np.finfo(values(self.base.mean).dtype).eps)
        u = F.arctanh(F.clip(x, -edge, edge))
        return self.base.log_prob(u) - sum_last(_log_slope(u))

    def entropy(self) -> Any:
        """There is no closed form: estimate it by the mean of -log_prob of samples."""
        raise NoClosedForm(
            "SquashedNormal.entropy: expected a distribution with a formula for it, got one without: "
            "use the mean of -rsample_and_log_prob(rng)[1]"
        )

    def detached(self) -> Self:
        """Of constant mean and log_std."""
        return type(self)(constant(self.base.mean), constant(self.base.log_std))


def _log_slope(u: Any) -> Any:
    """log(1 - tanh² u) = 2 (log 2 - u - softplus(-2u)), without cancellation."""
    return (math.log(2) - u - F.softplus(u * -2.0)) * 2.0
