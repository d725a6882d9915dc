"""Returns and advantages as pure functions on (T, B) arrays, named as in the literature.

T is time, B the batch of environments. Three booleans' worth of endings enter as two arrays:

- `terminated[t]`: the episode truly ended with step t, so nothing follows and nothing is bootstrapped;
- `boundary[t]`: step t was the last of its episode, for either reason (terminated or truncated), so no
  sum runs across it. A truncated step bootstraps from `next_value[t]`, the value of its true final
  observation.

Results are on the device of the arrays (NumPy or CuPy) and of the dtype of `reward`.
"""

import numpy as np

from dbrrl.backend import array_module, replaceable
from dbrrl.errors import ShapeError
from dbrrl.types import Array


def discounted(reward: Array, next_value: Array, terminated: Array, boundary: Array, gamma: float) -> Array:
    """The Monte Carlo return, bootstrapped only where a trajectory is cut off.

    G_t = r_t + γ · (next value where t is a truncation or the last row; 0 where it terminated; else G_{t+1})

    Equals `lambda_return` with λ = 1, whose arguments and errors these are.
    """
    return lambda_return(reward, next_value, terminated, boundary, gamma, 1.0)


def lambda_return(
    reward: Array, next_value: Array, terminated: Array, boundary: Array, gamma: float, lambda_: float
) -> Array:
    """The λ-return (Sutton & Barto 2018, eq. 12.2 in its recursive form).

    G_t = r_t + γ (1 - terminated_t) [(1 - λ) V(s'_t) + λ G_{t+1}], with V(s'_t) in place of the
    bracket at a boundary and in the last row. λ = 0 is the one-step target, λ = 1 is `discounted`;
    with V(s'_t) = V(s_{t+1}) inside an episode, `gae` is this minus V(s_t).

    Args:
        reward: (T, B) rewards r_t.
        next_value: (T, B) V(s'_t) of the true next observations (the final one where an episode ended).
        terminated: (T, B) bool, true ends.
        boundary: (T, B) bool, ends of either kind.
        gamma: discount factor per step, in [0, 1].
        lambda_: λ, in [0, 1].

    Returns:
        (T, B) λ-returns.

    Raises:
        ShapeError: the arrays differ in shape or are not (T, B).
    """
    reward = _floating(reward)
    _check_shapes(reward, next_value=next_value, terminated=terminated, boundary=boundary)
    keep = _decay(reward, boundary, gamma * lambda_)
    if len(keep):
        keep[-1] = 0
    # Where the sum goes on, (1 - λ) of the next value is bootstrapped; where it stops, all of it.
    bootstrap = _decay(reward, terminated, gamma) - keep
    return _reverse_scan(reward + bootstrap * next_value, keep)


def n_step(reward: Array, next_value: Array, terminated: Array, boundary: Array, gamma: float, n: int) -> Array:
    """The n-step return (Sutton & Barto 2018, eq. 7.1).

    G_t = r_t + γ r_{t+1} + ... + γ^{k-1} r_{t+k-1} + γ^k V(s'_{t+k-1}), where k is n, or less where
    a boundary or the last row comes first; nothing is bootstrapped after a true end. n = 1 is the one-step
    target; n >= T is `discounted`.

    Arguments and errors are those of `lambda_return`, but for n, the number of rewards summed, 1 or more.
    """
    reward = _floating(reward)
    _check_shapes(reward, next_value=next_value, terminated=terminated, boundary=boundary)
    one_step = reward + _decay(reward, terminated, gamma) * next_value
    keep = _decay(reward, boundary, gamma)
    result = one_step
    for _ in range(min(n, len(reward)) - 1):
        # One reward more: r_t + γ · (the return of one reward less, one step later).
        longer = one_step.copy()
        longer[:-1] = array_module(reward).where(boundary[:-1], one_step[:-1], reward[:-1] + keep[:-1] * result[1:])
        result = longer
    return result  # type: ignore[no-any-return]


def gae(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    boundary: Array,
    gamma: float,
    lambda_: float,
) -> Array:
    """Generalized advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t)
    A_t = δ_t + γ λ (1 - boundary_t) A_{t+1}

    λ = 1 is `discounted` minus the value, λ = 0 the one-step error δ_t. Arguments and errors are those of
    `lambda_return`, and value (T, B), V(s_t) of the observations acted on.
    """
    reward = _floating(reward)
    _check_shapes(reward, value=value, next_value=next_value, terminated=terminated, boundary=boundary)
    return advantages(reward, value, next_value, terminated, boundary, gamma, lambda_)


@replaceable
def advantages(
    reward: Array, value: Array, next_value: Array, terminated: Array, boundary: Array, gamma: float, lambda_: float
) -> Array:
    """Return `gae` of arrays that were checked."""
    delta = _decay(reward, terminated, gamma)
    delta *= next_value
    delta += reward
    delta -= value
    return _reverse_scan(delta, _decay(reward, boundary, gamma * lambda_))


def vtrace(
    reward: Array,
    value: Array,
    next_value: Array,
    ratio: Array,
    terminated: Array,
    boundary: Array,
    gamma: float,
    lambda_: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Array, Array]:
    """V-trace targets and advantages, of actions that another policy μ chose (Espeholt et al. 2018, arXiv:1802.01561).

    ρ_t = min(ρ̄, π/μ),   c_t = λ min(c̄, π/μ)                                       (section 4.1, remark 2)
    δ_t = ρ_t (r_t + γ (1 - terminated_t) V(s'_t) - V(s_t))
    v_t = V(s_t) + δ_t + γ c_t (1 - boundary_t) (v_{t+1} - V(s_{t+1}))               (remark 1)
    A_t = ρ_t (r_t + γ (1 - terminated_t) v'_t - V(s_t))                             (section 4.2)

    v'_t is v_{t+1}, and V(s'_t) at a boundary and in the last row. Where every ratio is 1, v is `lambda_return`. Errors
    are those of `lambda_return`.

    Args:
        reward: (T, B) rewards r_t.
        value: (T, B) V(s_t) of the observations acted on.
        next_value: (T, B) V(s'_t) of the true next observations (the final one where an episode ended).
        ratio: (T, B) π(a_t|s_t) / μ(a_t|s_t).
        terminated: (T, B) bool, true ends.
        boundary: (T, B) bool, ends of either kind.
        gamma: discount factor per step, in [0, 1].
        lambda_: λ, in [0, 1].
        rho_bar: ρ̄, above 0: it bounds the weight of a step, and so whose values are learned: π's where it is infinite.
        c_bar: c̄, above 0: it bounds how much a later step changes an earlier target.

    Returns:
        v and A, each (T, B).
    """
    reward = _floating(reward)
    _check_shapes(
        reward, value=value, next_value=next_value, ratio=ratio, terminated=terminated, boundary=boundary
    )  # fmt: skip
    xp = array_module(reward)
    rho, c = (xp.minimum(ratio, bound).astype(reward.dtype) for bound in (rho_bar, c_bar))
    discount = _decay(reward, terminated, gamma)
    delta = rho * (reward + discount * next_value - value)
    target = value + _reverse_scan(delta, _decay(reward, boundary, gamma * lambda_) * c)
    following = next_value.copy()
    following[:-1] = xp.where(boundary[:-1], next_value[:-1], target[1:])
    return target, rho * (reward + discount * following - value)


def explained_variance(prediction: Array, target: Array) -> float:
    """1 - Var(target - prediction) / Var(target): 1 is perfect, 0 no better than a constant.

    Args:
        prediction: array of any shape.
        target: array of the same shape.

    Returns:
        The fraction, minus infinity upwards; NaN where `target` does not vary.
    """
    variance = _variance(target)
    return 1.0 - _variance(target - prediction) / variance if variance > 0 else float("nan")


def _variance(x: Array) -> float:
    """The variance, as `x.var()` in a third of the time for small arrays."""
    centered = x - x.sum() / x.size
    centered *= centered
    return float(centered.sum() / x.size)


def _reverse_scan(x: Array, keep: Array) -> Array:
    """y_t = x_t + keep_t · y_{t+1}, computed in place in `x` from the last row up; `keep` is used up."""
    multiply, add = array_module(x).multiply, array_module(x).add
    for after, row, factor in zip(x[:0:-1], x[-2::-1], keep[-2::-1], strict=True):
        multiply(factor, after, out=factor)
        add(row, factor, out=row)
    return x


def _decay(like: Array, end: Array, factor: float) -> Array:
    """`factor` where the episode goes on and 0 at its end, in the dtype of `like`."""
    return float(factor) * (1 - end.astype(like.dtype))


def _floating(reward: Array) -> Array:
    """Rewards as they are where they are floating, as float32 where they are integers."""
    return reward if reward.dtype.kind == "f" else reward.astype(np.float32)


def _check_shapes(reward: Array, **others: Array) -> None:
    """Every array is (T, B), the same T and B."""
    if reward.ndim != 2:
        raise ShapeError(f"reward: expected shape (T, B), got {reward.shape}: add the missing axis")
    for name, x in others.items():
        if x.shape != reward.shape:
            raise ShapeError(
                f"{name}: expected the shape of reward, {reward.shape}, got {x.shape}: pass a row per step"
            )
