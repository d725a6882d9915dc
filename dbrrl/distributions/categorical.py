"""Discrete distributions: one choice, several choices, several yes-or-no."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.index import check_classes
from dbrrl.autodiff.tensor import wants_gradients
from dbrrl.backend import replaceable, to_device_of
from dbrrl.distributions.base import Distribution, choices, constant, sum_last, values
from dbrrl.errors import AnomalyError, ShapeError

# Exponential numbers come in steps of about 2^-23 from 0 on. A 0, drawn once in 10 million times, represents all below
# the first step: taken for less, it would let the most improbable choice win.
SMALLEST = np.float32(2**-24)


@replaceable
def largest(scores: Any, what: str) -> Any:
    """Argmax over the last axis of (..., k).

    AnomalyError if all scores of a row are -inf; not looked at on a GPU, for it would have to be waited for.
    """
    if scores.size and scores.item(scores.argmin()) == -math.inf:
        rows = np.argwhere((scores == -np.inf).all(-1))
        if len(rows):
            row = ", ".join(map(str, rows[0].tolist()))
            raise AnomalyError(
                f"Categorical.{what}: expected a choice above -inf in every row of logits {scores.shape}, got none in "
                f"row {row}: leave at least one choice unmasked"
            )
    return scores.argmax(-1)


class Categorical(Distribution):
    """One of k choices per row, from unnormalized log-probabilities: logits (B, k), samples int64 (B,)."""

    def __init__(self, logits: Any) -> None:
        if len(logits.shape) < 2 or not logits.shape[-1]:
            raise ShapeError(f"Categorical: expected logits (B, k), got {logits.shape}: add the batch axis")
        self.logits = logits
        self._log_probs: Any = None

    @property
    def log_probs(self) -> Any:
        """Normalized log-probabilities (B, k), computed once."""
        if self._log_probs is None:
            self._log_probs = F.log_softmax(self.logits)
        return self._log_probs

    @property
    def probs(self) -> Any:
        """Probabilities (B, k)."""
        return F.exp(self.log_probs)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Gumbel-max: argmax of logits - log Exp(1) is distributed as the softmax (Maddison et al. 2014).

        A choice whose logit is 20 below another's (a probability of at most 2e-9) is never drawn: the noise has the
        resolution of float32. Neither is one of -inf.

        Raises:
            AnomalyError: every choice of a row is at -inf; on the CPU (on a GPU its log-probability is NaN).
        """
        logits = values(self.logits)
        noise = rng.standard_exponential(logits.shape, np.float32)
        np.maximum(noise, SMALLEST, out=noise)
        np.log(noise, out=noise)
        return largest(np.subtract(logits, to_device_of(logits, noise)), "sample")  # type: ignore[no-any-return]

    def mode(self) -> np.ndarray:
        """The choice of largest probability (the first, if equal); errors as `sample`."""
        return largest(values(self.logits), "mode")  # type: ignore[no-any-return]

    def log_prob(self, x: Any) -> Any:
        """log π(x): x integers (B,) from 0 to k - 1; ShapeError for others, on the CPU."""
        x = choices(x)
        if len(self.logits.shape) == 2:
            if self._log_probs is None:  # one op instead of two
                return F.categorical_log_prob(self.logits, x)
            return F.pick(self.log_probs, x)
        check_classes(x, self.logits.shape[-1], "Categorical.log_prob")
        return F.squeeze(F.take_along_axis(self.log_probs, x[..., None]), -1)

    def entropy(self) -> Any:
        """-Σ p log p."""
        return F.entropy(self.log_probs)

    def detached(self) -> Self:
        """Of constant logits."""
        return type(self)(constant(self.logits))


class MultiCategorical(Distribution):
    """n independent choices of k₁ ... kₙ per row: logits (B, Σ k) side by side, samples int64 (B, n)."""

    def __init__(self, logits: Any, sizes: Sequence[int]) -> None:
        self.sizes = tuple(int(k) for k in sizes)
        if len(logits.shape) != 2 or logits.shape[1] != sum(self.sizes) or min(self.sizes, default=0) < 1:
            raise ShapeError(
                f"MultiCategorical: expected logits (B, {sum(self.sizes)}) for sizes {self.sizes}, got {logits.shape}"
            )
        self.logits = logits
        cuts = [0, *np.cumsum(self.sizes).tolist()]
        self.parts = [Categorical(logits[:, a:b]) for a, b in pairwise(cuts)]

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """One sample of each choice: (B, n)."""
        return np.stack([part.sample(rng) for part in self.parts], axis=-1)

    def mode(self) -> np.ndarray:
        """The most probable of each choice: (B, n)."""
        return np.stack([part.mode() for part in self.parts], axis=-1)

    def log_prob(self, x: Any) -> Any:
        """Σ log π(xᵢ): x integers (B, n)."""
        x = choices(x)
        if x.shape[1:] != (len(self.sizes),):
            raise ShapeError(f"MultiCategorical.log_prob: expected x (B, {len(self.sizes)}), got {x.shape}")
        total = self.parts[0].log_prob(x[:, 0])
        for i, part in enumerate(self.parts[1:], 1):
            total = total + part.log_prob(x[:, i])
        return total

    def entropy(self) -> Any:
        """Sum of the choices' entropies."""
        total = self.parts[0].entropy()
        for part in self.parts[1:]:
            total = total + part.entropy()
        return total

    def detached(self) -> Self:
        """Of constant logits."""
        return type(self)(constant(self.logits), self.sizes)


class Bernoulli(Distribution):
    """n independent yes-or-no per row: logits (B, n) of yes, samples int8 (B, n) of 0 and 1."""

    def __init__(self, logits: Any) -> None:
        if len(logits.shape) < 2:
            raise ShapeError(f"Bernoulli: expected logits (B, n), got {logits.shape}: add the batch axis")
        self.logits = logits

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """1 with probability sigmoid(logit)."""
        logits = values(self.logits)
        return (to_device_of(logits, rng.random(logits.shape)) < F.sigmoid(logits)).astype(np.int8)  # type: ignore[no-any-return]

    def mode(self) -> np.ndarray:
        """1 where yes is more probable than no."""
        return (values(self.logits) > 0).astype(np.int8)  # type: ignore[no-any-return]

    def log_prob(self, x: Any) -> Any:
        """Σ x log p + (1 - x) log(1 - p) = -Σ softplus((1 - 2x) l): x (B, n) of 0 and 1.

        A tensor x that requires gradients, of numbers from 0 to 1, gets those of Σ x l - softplus(l).
        """
        if wants_gradients(x) and x.shape == self.logits.shape:
            logits = self.finite_logits()
            return sum_last(x * logits - F.softplus(logits))
        x = to_device_of(values(self.logits), choices(x))
        if x.shape != self.logits.shape:
            raise ShapeError(f"Bernoulli.log_prob: expected x {self.logits.shape}, got {x.shape}: one 0 or 1 per logit")
        return -sum_last(F.softplus(self.logits * (1 - 2 * x.astype(values(self.logits).dtype))))

    def entropy(self) -> Any:
        """Σ softplus(l) - p l."""
        logits = self.finite_logits()
        return sum_last(F.softplus(logits) - F.sigmoid(logits) * logits)

    def detached(self) -> Self:
        """Of constant logits."""
        return type(self)(constant(self.logits))

    def finite_logits(self) -> Any:
        """The logits within ±1,000, where probabilities are 0 or 1 exactly: of infinite ones, 0 · ∞ would be nan."""
        return F.clip(self.logits, -1e3, 1e3)
