"""The protocol of agents whose learners run in processes of their own."""

import contextlib
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dbrrl.config import Config
from dbrrl.types import Array, Observation, State


class Learner(Protocol):
    """One of the learners of an asynchronous agent: it acts in one environment and changes the shared arrays.

    Attributes:
        steps: transitions that it has observed.
        num_updates: updates that it has made.
        checks_input: whether it checks what it is given; False for environments that have checked it.
        compiled: whether it acts and learns by compiled programs (see `Agent.compiled`).
        turn: a context that it enters for each change of the shared arrays; set by whoever orders the changes.
    """

    steps: int
    num_updates: int
    checks_input: bool
    compiled: bool
    turn: contextlib.AbstractContextManager[Any]

    def act(self, observation: Observation, explore: bool = True) -> Any:
        """Return the action for a batch of one observation."""

    def observe(
        self,
        next_observation: Observation,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: dict[str, Any] | None = None,
        *,
        valid: Any = None,
    ) -> None:
        """Take in one transition, and learn when that is due."""

    def state_dict(self) -> State:
        """Return its own state, without the shared arrays."""

    def load_state_dict(self, state: State) -> None:
        """Continue exactly where `state` was taken; CheckpointError if it does not fit."""


@runtime_checkable
class AsynchronousAgent(Protocol):
    """An agent of several learners, which change arrays that they share; see `dbrrl.agents.a3c` for one.

    The class sets `asynchronous = True`. Each process makes the same agent, calls `attach` with the same arrays in
    shared memory, and runs one of its learners.

    Attributes:
        shared: the arrays that all learners change, by name.
        deterministic: whether learners change them one after the other, in the order of their index, so that a run
            can be repeated to the bit; else whenever each is ready.
    """

    shared: dict[str, Array]
    deterministic: bool

    def learner(self, index: int) -> Learner:
        """Return the learner of environment `index`."""

    def attach(self, vectors: dict[str, Array]) -> None:
        """Use `vectors` as the shared arrays; they hold what `shared` holds."""

    def count(self) -> None:
        """Set the agent's `num_updates` to the sum of its learners', whose states were loaded."""


def adapted(agent: Any, state: State, config: Config, num_envs: int) -> State:
    """Return the state of an asynchronous agent with other settings or environments in the form of that of `agent`.

    With another number of learners they all begin with the weights of the first one, whose counts are those of all.
    """
    saved, count = state["learners"], agent.num_envs
    if num_envs == count:
        return state | {"learners": [agent.learner(i).adapted(one, config, 1) for i, one in enumerate(saved)]}
    learned = np.zeros(count, np.int64)
    learned[0] = state["learned"].sum()
    learners = []
    for i in range(count):
        own = agent.learner(i)
        counts = {name: sum(one[name] for one in saved) if i == 0 else 0 for name in ("steps", "num_updates")}
        rest = {"policy_rng": own.state_dict()["policy_rng"]} | counts
        learners.append(own.adapted(saved[0], config, 0) | rest)
    return state | {"learned": learned, "learners": learners}
