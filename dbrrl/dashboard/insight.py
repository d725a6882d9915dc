"""What an agent says of an observation: policy, values, distribution of the return, and what in it they depend on."""

import contextlib
from typing import Any

import numpy as np

from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import to_numpy
from dbrrl.backend.trees import leaves
from dbrrl.distributions.base import NoClosedForm
from dbrrl.errors import ArgumentError, DbrrlError
from dbrrl.learning.agent import Agent

Told = dict[str, Any]


def told(agent: Agent, observation: Any, first: bool) -> Told:
    """Return what an agent says of a batch of one observation, only what it has: "policy", "entropy", "value", "q".

    `first`: whether it begins an episode. An agent with a memory is to be asked before it acts.
    """
    found: Told = {}
    with contextlib.suppress(ArgumentError):
        policy = agent.action_distribution(observation, first)
        found["policy"] = _policy(policy)
        with contextlib.suppress(NoClosedForm):
            found["entropy"] = float(to_numpy(plain(policy.entropy()))[0])
    with contextlib.suppress(ArgumentError):
        found["value"] = float(np.asarray(agent.value(observation, first))[0])
    with contextlib.suppress(ArgumentError):
        found["q"] = agent.q_values(observation, first)[0].tolist()
    with contextlib.suppress(ArgumentError):
        returns, probs = agent.return_distribution(observation)
        found["returns"] = {"values": returns[0].tolist(), "probs": probs[0].tolist()}
    return found


def saliency(agent: Any, observation: Any, first: bool) -> np.ndarray | None:
    """Return the gradient of what the agent says of its own action with respect to a batch of one observation.

    An array of the observation's shape without the batch axis; None where there is none, as for dicts and choices.
    """
    asked = getattr(agent, "central", agent)  # A3C's shared weights
    try:
        given = leaves((getattr(asked, "preprocess", None) or asked.preprocessor)(observation))
        if len(given) != 1 or np.asarray(given[0]).dtype.kind not in "fu":
            return None
        x = Tensor(np.array(to_numpy(given[0]), np.float32), requires_grad=True)
        output = asked.chosen_output(x, _own_action(asked, observation, first), first)
        output.sum().backward()
    except (DbrrlError, NotImplementedError):
        return None
    gradient: np.ndarray = np.asarray(to_numpy(plain(x.grad)))[0]
    return gradient if np.isfinite(gradient).all() else None


def _own_action(agent: Any, observation: Any, first: bool) -> Any:
    """Return the agent's own action as it stores it, (1,) or (1, k)."""
    with contextlib.suppress(ArgumentError):
        return agent.action_distribution(observation, first).mode()
    with contextlib.suppress(ArgumentError):
        return agent.q_values(observation, first).argmax(axis=1)
    return agent.act_greedily(agent.preprocessor(observation))


def _policy(policy: Any) -> Told:
    """Return a distribution of actions as plain data."""
    policy = getattr(policy, "base", policy)  # a squashed one has its normal there
    if hasattr(policy, "probs") and not isinstance(policy.probs, list | tuple):
        return {"kind": "choices", "probs": _numbers(policy.probs)}
    if hasattr(policy, "mean") and hasattr(policy, "std"):
        mean, std = _numbers(policy.mean), _numbers(policy.std)
        return {"kind": "normal", "mean": mean, "std": std if len(std) == len(mean) else std * len(mean)}
    return {"kind": "mode", "mode": _numbers(policy.mode())}


def _numbers(x: Any) -> list[float]:
    values = np.asarray(to_numpy(plain(x)), np.float64)
    return np.atleast_1d(values[0] if values.ndim > 1 else values).reshape(-1).tolist()
