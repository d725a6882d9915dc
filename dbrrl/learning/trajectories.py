"""Rollouts that one process plays and another learns from: `Recorder` in the first, `learn` in the second.

The counterpart of `experience` for agents that learn from rollouts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.backend.trees import tree_of
from dbrrl.buffers import RolloutBuffer
from dbrrl.buffers.batch import Rollout
from dbrrl.checkpoint import untrusted
from dbrrl.learning.experience import Weights
from dbrrl.types import Array, State

ACTING = {"total_steps": 0}  # settings of an agent that only acts: its rollouts end with their last step alone


class Recorder:
    """Keeps the rollouts of an agent that only acts, in place of its learning from them."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.weights = agent, Weights(agent)
        self.kept: State = {}
        agent.learn = self._keep

    def begin(self, given: State) -> None:
        """Act by these weights (see `Weights`) from now on."""
        self.weights.set(given)
        self.before = self.weights.moments()

    def taken(self, following: Any) -> State:
        """Return the rollout of all steps since `begin`, as arrays.

        Args:
            following: the observations after the last step.
        """
        agent = self.agent
        if agent.rollout.size:  # it is shorter than usual
            agent.close_rollout(agent.preprocess(agent.as_batch(following)[0]))
        return self.kept | {"moments": self.weights.moments() - self.before}

    def _keep(self, rollout: Rollout) -> None:
        buffer, state = rollout.buffer, rollout.state
        self.kept = {
            "rollout": buffer.state_dict(),
            "following": [np.array(part[buffer.size]) for part in buffer.observations],
            "start": [np.array(part) for part in state.start],
            "behavior": {name: np.array(column) for name, column in rollout.behavior.items()},
        }


CHUNK = ("rollout", "following", "start", "behavior", "moments")


def learn(agent: Any, chunks: list[State]) -> None:
    """Let an agent learn from rollouts of as many steps each, their environments side by side."""
    buffer, start = _joined(agent, chunks)
    memory = agent.memory
    memory.start = start
    rollout = Rollout(buffer, memory, agent.device, agent._values)
    names = chunks[0]["behavior"]
    rollout.behavior = {name: np.concatenate([one["behavior"][name] for one in chunks], 1) for name in names}
    weights = Weights(agent)
    weights.add_moments(np.sum([one["moments"] for one in chunks], 0))
    agent.steps += rollout.n
    agent.learn(rollout)
    buffer.clear()
    memory.start_rollout()


def check(agent: Any, chunk: State, num_envs: int) -> State:
    """Return a rollout of so many environments that was read from a file, if it is one of this agent's; else raise
    CheckpointError.
    """
    found = untrusted.table(chunk, "rollout", *CHUNK)
    size = untrusted.whole(untrusted.table(found["rollout"], "rollout", "size")["size"], "size", 1, agent.n_steps)
    buffer = _sized(agent.rollout, size, num_envs)
    buffer.load_state_dict(found["rollout"])
    for part, own in zip(_entries(found, "following", buffer.observations), buffer.observations, strict=True):
        untrusted.array(part, "following", own.dtype, own.shape[1:])
    for part, own in zip(_entries(found, "start", agent.memory.start), agent.memory.start, strict=True):
        untrusted.array(part, "start", own.dtype, (len(own), num_envs, *own.shape[2:]))
    for name, column in untrusted.table(found["behavior"], "behavior").items():
        untrusted.array(column, name, np.float32, (size, num_envs))
    untrusted.array(found["moments"], "moments", np.float64, Weights(agent).moments().shape)
    return found


def _entries(chunk: State, name: str, like: Sequence[Any]) -> list[Any]:
    return untrusted.entries(chunk[name], name, len(like))


def _joined(agent: Any, chunks: list[State]) -> tuple[RolloutBuffer, tuple[Array, ...]]:
    """Return the rollouts as one, and the states of the policy before their first steps."""
    states, first = [one["rollout"] for one in chunks], 0
    found = dict(states[0]) | {"finals": []}
    for name in ("actions", "rewards", "terminated", "truncated", "valid"):
        found[name] = np.concatenate([one[name] for one in states], 1)
    for state in states:
        found["finals"] += [final | {"env": final["env"] + first} for final in state["finals"]]
        first += state["rewards"].shape[1]
    parts = range(len(found["observations"]))
    found["observations"] = [np.concatenate([one["observations"][k] for one in states], 1) for k in parts]
    buffer = agent.rollout
    if (found["size"], first) != (buffer.n_steps, buffer.num_envs):
        buffer = _sized(buffer, found["size"], first)
    buffer.load_state_dict(found)
    buffer.close(tree_of(buffer.names, [np.concatenate([one["following"][k] for one in chunks]) for k in parts]))
    return buffer, tuple(np.concatenate(column, 1) for column in zip(*(one["start"] for one in chunks), strict=True))


def _sized(like: RolloutBuffer, n_steps: int, num_envs: int) -> RolloutBuffer:
    """Return an empty rollout of the same kind and another size."""
    shapes, dtypes = [x.shape[2:] for x in like.observations], [x.dtype for x in like.observations]
    actions = like.actions.shape[2:], like.actions.dtype
    return RolloutBuffer(n_steps, num_envs, shapes, dtypes, *actions, like.device, like.names)
