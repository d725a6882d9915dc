"""Distributions over actions: batched, with gradients for log-probabilities and entropies."""

from dbrrl.distributions.base import Distribution, NoClosedForm
from dbrrl.distributions.categorical import Bernoulli, Categorical, MultiCategorical
from dbrrl.distributions.divergence import kl_divergence
from dbrrl.distributions.normal import Normal, SquashedNormal

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "MultiCategorical", "NoClosedForm", "Normal", "SquashedNormal",
    "kl_divergence",
]  # fmt: skip
