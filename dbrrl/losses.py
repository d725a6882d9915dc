"""The losses and objectives of the agents, by the names that the literature gives them.

Arrays have one row per transition, (n, ...). An objective is to be maximized, a loss to be minimized.
"""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.autodiff.chosen import picked_huber_loss
from dbrrl.autodiff.tensor import plain
from dbrrl.types import Scalar

clipped_surrogate = F.clipped_surrogate
quantile_huber = F.quantile_huber_loss


def policy_gradient(log_prob: Any, advantage: Any) -> Any:
    """Return the objective mean[log π(a|s) A], whose gradient is the policy gradient (Sutton et al. 2000, theorem 1).

    Args:
        log_prob: log π(a|s), (n,).
        advantage: A, (n,), taken as constant.
    """
    return (log_prob * advantage).mean()


def surrogate(log_prob: Any, old_log_prob: Any, advantage: Any) -> Any:
    """Return the objective mean[r A], r = e^(log_prob - old_log_prob) (Schulman et al. 2015, eq. 14 for q = π_old).

    Args:
        log_prob: log π(a|s), (n,).
        old_log_prob: log-probabilities under the policy that acted, (n,), taken as constant.
        advantage: A, (n,), taken as constant.
    """
    return (F.exp(log_prob - old_log_prob) * advantage).mean()


def clipped_value_loss(value: Any, target: Any, old_value: Any, clip_range: Scalar | None = None) -> Any:
    """Return mean[(V - G)²]; with a `clip_range` ε, mean[max((V - G)², (V_old + clip(V - V_old, ±ε) - G)²)].

    The second is what the code of PPO's authors does (Huang et al. 2022, "The 37 Implementation Details of PPO", 9).

    Args:
        value, target, old_value: V(s), G and the V(s) before the update, (n,).
        clip_range: how far a value may move without further gradient; None: any distance.
    """
    if clip_range is None:
        return F.mse_loss(value, target)
    limited = old_value + F.clip(value - old_value, -clip_range, clip_range)
    return F.maximum((value - target) ** 2, (limited - target) ** 2).mean()


def td_huber(values: Any, action: Any, target: Any) -> tuple[Any, Any]:
    """Return Huber's function of the temporal-difference error Q(s, a) - y of each transition, and |Q(s, a) - y|.

    Huber's function is quadratic up to 1 and linear beyond: the "error clipping" of Mnih et al. 2015.

    Args:
        values: Q(s, ·), (n, actions).
        action: integers (n,).
        target: y, (n,), taken as constant.
    """
    return picked_huber_loss(values, action, target)


def categorical_cross_entropy(logits: Any, target: Any) -> Any:
    """Return the cross-entropy -Σ mᵢ log pᵢ of each row, (n,), p = softmax(logits) (Bellemare et al. 2017, eq. 7).

    Args:
        logits: (n, atoms).
        target: the probabilities m, (n, atoms), taken as constant.
    """
    return F.cross_entropy(logits, target, reduction="none")


def td_squared(values: Any, target: Any) -> tuple[Any, Any]:
    """Return Σₖ (Qₖ(s, a) - y)² of each transition over m critics, (n,), and their mean |Qₖ(s, a) - y|, (n,).

    Args:
        values: Qₖ(s, a), (m, n).
        target: y, (n,), taken as constant.
    """
    error = values - np.broadcast_to(target, values.shape)
    return F.sum(error * error, axis=0), np.abs(plain(error)).mean(axis=0)


def soft_policy(log_prob: Any, value: Any, temperature: Any) -> Any:
    """Return mean[α log π(a|s) - Q(s, a)], the loss of a policy that is rewarded for its entropy.

    Its minimum is the policy e^(Q/α) / Z (Haarnoja et al. 2018b, arXiv:1812.05905, eq. 7).

    Args:
        log_prob, value: log π(a|s) and Q(s, a) of a reparameterized action, (n,).
        temperature: α, a number or an array that broadcasts, taken as constant.
    """
    return F.mean(temperature * log_prob - value)


def temperature(log_temperature: Any, log_prob: Any, target_entropy: Any) -> Any:
    """Return mean[-α (log π(a|s) + H)]: α grows where the policy's entropy is below H (Haarnoja et al. 2018b, eq. 18).

    Args:
        log_temperature: log α, (1,).
        log_prob: log π(a|s), (n,), taken as constant.
        target_entropy: H, a number, or one for each transition, (n,).
    """
    return F.mean(-F.exp(log_temperature) * (plain(log_prob) + target_entropy))
