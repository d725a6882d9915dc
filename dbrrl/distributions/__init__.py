"""Distributions over actions: batched, with gradients for log-probabilities and entropies."""

from dbrrl.distributions.base import Distribution
from dbrrl.distributions.categorical import Bernoulli, Categorical, MultiCategorical
from dbrrl.distributions.divergence import kl_divergence
from dbrrl.distributions.normal import Normal, SquashedNormal

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "MultiCategorical", "Normal", "SquashedNormal", "kl_divergence",
]  # fmt: skip
