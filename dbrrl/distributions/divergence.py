"""Kullback-Leibler divergences in closed form, looked up by the two types."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.distributions.base import Distribution, NoClosedForm, sum_last, values
from dbrrl.distributions.categorical import Bernoulli, Categorical, MultiCategorical
from dbrrl.distributions.normal import Normal, SquashedNormal
from dbrrl.errors import ShapeError


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p ‖ q) = E_p[log p - log q] in nats, one per row: (B,).

    Raises:
        NoClosedForm: the two are of different kinds, or of one without a formula.
        ShapeError: they are not over the same choices.
    """
    rule = KL.get((type(p), type(q)))
    if rule is None:
        known = ", ".join(a.__name__ for a, _ in KL)
        raise NoClosedForm(
            f"kl_divergence: expected two of one kind among {known}, got {type(p).__name__} and {type(q).__name__}: "
            "average log p - log q over samples of p"
        )
    return rule(p, q)


def _categorical(p: Categorical, q: Categorical) -> Any:
    """Σ p (log p - log q); a choice that p excludes (probability 0) adds nothing, also where q excludes it too."""
    if p.logits.shape[-1] != q.logits.shape[-1]:
        raise ShapeError(f"kl_divergence: expected equal choices, got logits {p.logits.shape} and {q.logits.shape}")
    a, b = p.log_probs, q.log_probs
    excluded = values(a) == -np.inf
    if excluded.any():
        a, b = F.where(excluded, 0.0, a), F.where(excluded, 0.0, b)
    return sum_last(p.probs * (a - b))


def _multi_categorical(p: MultiCategorical, q: MultiCategorical) -> Any:
    """The sum over the independent choices."""
    if p.sizes != q.sizes:
        raise ShapeError(f"kl_divergence: expected choices of equal sizes, got {p.sizes} and {q.sizes}")
    total = _categorical(p.parts[0], q.parts[0])
    for a, b in zip(p.parts[1:], q.parts[1:], strict=True):
        total = total + _categorical(a, b)
    return total


def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    """Σ p (l_p - l_q) + softplus(l_q) - softplus(l_p), infinite logits counting as 1,000."""
    if p.logits.shape[-1] != q.logits.shape[-1]:
        raise ShapeError(f"kl_divergence: expected equal sizes, got logits {p.logits.shape} and {q.logits.shape}")
    a, b = p.finite_logits(), q.finite_logits()
    return sum_last(F.sigmoid(a) * (a - b) + F.softplus(b) - F.softplus(a))


def _normal(p: Normal, q: Normal) -> Any:
    """Σ log σ_q - log σ_p + (σ_p² + (μ_p - μ_q)²) / 2σ_q² - ½."""
    if p.mean.shape[-1] != q.mean.shape[-1]:
        raise ShapeError(f"kl_divergence: expected equal sizes, got means {p.mean.shape} and {q.mean.shape}")
    precision = F.exp(q.log_std * -2.0)
    d = p.mean - q.mean
    return sum_last((F.exp(p.log_std * 2.0) + d * d) * precision * 0.5 + (q.log_std - p.log_std) - 0.5)


KL: dict[tuple[type[Distribution], type[Distribution]], Callable[[Any, Any], Any]] = {
    (Categorical, Categorical): _categorical,
    (MultiCategorical, MultiCategorical): _multi_categorical,
    (Bernoulli, Bernoulli): _bernoulli,
    (Normal, Normal): _normal,
    (SquashedNormal, SquashedNormal): lambda p, q: _normal(p.base, q.base),  # invariant under the common tanh
}
