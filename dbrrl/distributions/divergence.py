"""Kullback-Leibler divergences in closed form, looked up by the two types."""

from collections.abc import Callable
from typing import Any

from dbrrl import functional as F
from dbrrl.distributions.base import Distribution, sum_last
from dbrrl.distributions.categorical import Bernoulli, Categorical, MultiCategorical
from dbrrl.distributions.normal import Normal, SquashedNormal
from dbrrl.errors import ShapeError


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p ‖ q) = E_p[log p - log q] in nats, one per row: (B,).

    Raises:
        NotImplementedError: there is no closed form for this pair.
    """
    rule = KL.get((type(p), type(q)))
    if rule is None:
        known = ", ".join(a.__name__ for a, _ in KL)
        raise NotImplementedError(
            f"kl_divergence: expected two of one kind among {known}, got {type(p).__name__} and {type(q).__name__}"
        )
    return rule(p, q)


def _categorical(p: Categorical, q: Categorical) -> Any:
    """Σ p (log p - log q)."""
    return sum_last(p.probs * (p.log_probs - q.log_probs))


def _multi_categorical(p: MultiCategorical, q: MultiCategorical) -> Any:
    """The sum over the independent choices."""
    if p.sizes != q.sizes:
        raise ShapeError(f"kl_divergence: expected choices of equal sizes, got {p.sizes} and {q.sizes}")
    total = _categorical(p.parts[0], q.parts[0])
    for a, b in zip(p.parts[1:], q.parts[1:], strict=True):
        total = total + _categorical(a, b)
    return total


def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    """Σ p (l_p - l_q) + softplus(l_q) - softplus(l_p)."""
    a, b = p.logits, q.logits
    return sum_last(F.sigmoid(a) * (a - b) + F.softplus(b) - F.softplus(a))


def _normal(p: Normal, q: Normal) -> Any:
    """Σ log σ_q - log σ_p + (σ_p² + (μ_p - μ_q)²) / 2σ_q² - ½."""
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
