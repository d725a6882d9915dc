"""The driver of a run steps its environments and makes its agent act, observe and learn."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import gymnasium as gym

from dbrrl.checkpoint import State, untrusted
from dbrrl.learning.agent import Agent

Episode: TypeAlias = tuple[float, int]
"""Return and length of an episode that ended."""


def episodes_of(saved: Any) -> list[Episode]:
    """Return episodes that were read from a file; CheckpointError where it has something else."""
    pairs = [untrusted.entries(pair, "episodes", 2) for pair in untrusted.entries(saved, "episodes")]
    return [(untrusted.number(total, "episodes"), untrusted.whole(length, "episodes")) for total, length in pairs]


class Driver(Protocol):
    """Steps the environments of one run, wherever they are; the loop reaches them in no other way.

    The order of calls: `bind` the agent; `load_state_dict` if a run goes on; `start`; then `advance` and `collect` in
    turn; `close` at any time. Between `collect` and the next `advance`, the agent can be evaluated and saved.

    Attributes:
        env_id: the environment's name.
        kind: how its copies are stepped: "batched", "vector", "sync", "async" or "device".
        num_envs: how many copies there are.
        observation_space, action_space: those of one environment (unbatched).
        steps: environment steps so far, all environments together, those before a resume included.
        events: lines on what befell the processes, for the log; whoever has told them takes them out.
        consistent: whether agent and environments are of one moment between two steps, so that a checkpoint can be
            made; False from `advance` until `collect`, or until `recover` succeeds.
    """

    env_id: str
    kind: str
    num_envs: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    events: list[str]
    consistent: bool

    @property
    def steps(self) -> int:
        """Environment steps so far."""

    def bind(self, agent: Agent) -> None:
        """Set the agent that acts and learns."""

    def start(self) -> None:
        """Begin an episode in every environment, unless episodes are under way."""

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Act, step, observe and learn, up to step `until`, which is ahead; return the episodes that ended.

        It may return earlier, after at least one step: within about half a second, or once `pause()`, asked between
        steps, is true. With several environments `steps` may go past `until`, but not past the run's last step.
        """

    def collect(self) -> list[Episode]:
        """Bring the agent and `state_dict` to the current step; return episodes that `advance` has not yet returned."""

    def recover(self) -> list[Episode] | None:
        """After `advance` or `collect` has raised: go back to a moment at which the run can be saved, if there is one.

        `consistent` says whether there is. Return the episodes that were not yet returned if that moment is the current
        step; None if it is that of the last `collect`, or if there is none.
        """

    def state_dict(self) -> State:
        """Return what `load_state_dict` needs to continue exactly from the last `collect`."""

    def load_state_dict(self, state: State) -> list[str]:
        """Continue where `state` was taken, with the agent already there.

        Returns one line for each environment that cannot: it begins a new episode. Raises CheckpointError if the state
        is one of other environments.
        """

    def change(self, values: Mapping[str, Any]) -> None:
        """Let agents in other processes go on with other values of settings, as the bound one does."""

    def statistics(self) -> dict[str, float]:
        """Return what progress.csv shows of the processes, by name."""

    def close(self) -> None:
        """Release the environments; a second call does nothing."""
