"""Base class of all distributions: a batch of independent ones, one per row."""

from typing import Any, Self

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.tensor import plain
from dbrrl.errors import DbrrlError, undefined


class NoClosedForm(DbrrlError, NotImplementedError):
    """There is no formula for this entropy or divergence: estimate it from samples."""


class Distribution:
    """A distribution per row: parameters (B, ...), samples (B,) or (B, n), log-probabilities and entropies (B,).

    Parameters are tensors (then `log_prob`, `entropy` and `rsample` carry gradients) or plain arrays. Samples are plain
    arrays drawn from the generator that is passed in.
    """

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one sample per row."""
        raise undefined(self, "sample")

    def mode(self) -> np.ndarray:
        """The most probable sample of each row."""
        raise undefined(self, "mode")

    def log_prob(self, x: Any) -> Any:
        """Log-probability (or log-density) in nats of one sample per row: (B,)."""
        raise undefined(self, "log_prob")

    def entropy(self) -> Any:
        """Entropy (differential, if continuous) in nats of each row: (B,)."""
        raise undefined(self, "entropy")

    def detached(self) -> Self:
        """The same distribution of constant parameters: copies, which do not follow what a network learns later."""
        raise undefined(self, "detached")


def values(x: Any) -> Any:
    """The plain array of a tensor or array."""
    return plain(x)


def constant(x: Any) -> Any:
    """A copy of the plain array of a tensor or array."""
    return values(x).copy()


def choices(x: Any) -> Any:
    """The plain array of a sample: of a tensor, an array or a list."""
    x = plain(x)
    return x if hasattr(x, "dtype") else np.asarray(x)


def sum_last(x: Any) -> Any:
    """Sum over the last axis."""
    return F.sum(x, -1)
