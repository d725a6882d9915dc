"""Saving an agent and loading it again: `state_dict`, `save`, `load`, `restore`."""

import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np

from dbrrl import backend, checkpoint, seeding
from dbrrl.checkpoint import State, copied, untrusted
from dbrrl.config import Config as AgentConfig
from dbrrl.errors import ArgumentError, CheckpointError, ConfigError
from dbrrl.learning import rebuild
from dbrrl.learning.spaces import space_to_state
from dbrrl.optim import Optimizer
from dbrrl.renamed import Renamed, TakesOldNames


class SavedAgent(TakesOldNames):
    """Base of agents: their state is the attributes that `saved_attributes` names.

    These are generators, plain values, and objects with `state_dict` and `load_state_dict`.
    """

    saved_attributes: ClassVar[tuple[str, ...]] = ()
    sized_by: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Saved attributes that begin anew with another `num_envs`, or if one of these settings differs."""
    remembered = Renamed("saved_attributes")
    Config: ClassVar[type[AgentConfig]]
    config: Any
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    num_envs: int
    seed: int
    device: str
    replaced: bool = False  # whether it was given another network than its own

    @property
    def name(self) -> str:
        """The name that `--agent` takes: that of the module, such as "ppo"."""
        return type(self).__module__.rpartition(".")[2].lower()

    def state_dict(self) -> State:
        """Everything its future depends on: by default the attributes that `saved_attributes` names.

        They are copies, which do not change as the agent goes on; within `checkpoint.borrowed()` large arrays may be
        the agent's own.
        """
        self.check_saved()
        return {name: state_of(getattr(self, name)) for name in self.saved_attributes}

    def check_saved(self) -> None:
        """Raise an ArgumentError if `saved_attributes` names what the agent does not have."""
        absent = [name for name in self.saved_attributes if not hasattr(self, name)]
        if absent:
            raise ArgumentError(
                f"{type(self).__name__}.saved_attributes: expected attributes of the agent, it has no "
                f"{', '.join(map(repr, absent))}: check the spelling, and set them before a run begins"
            )

    def load_state_dict(self, state: State) -> None:
        """Go on exactly where the agent stood that gave `state`, of which nothing is kept but copies.

        Raises CheckpointError where it does not fit.
        """
        missing = [name for name in self.saved_attributes if name not in state]
        if missing:
            raise CheckpointError(f"{self.name}: expected a state with {missing}, got none: save it with this version")
        for name in self.saved_attributes:
            value, saved = getattr(self, name), state[name]
            if isinstance(value, backend.CounterGenerator) and isinstance(saved, dict) and "position" not in saved:
                continue  # saved on the CPU: a GPU draws from its own stream
            if isinstance(value, np.random.Generator | backend.CounterGenerator | seeding.Streams):
                setattr(self, name, seeding.restored(saved, self.device))
            elif hasattr(value, "load_state_dict"):
                value.load_state_dict(saved)
            else:
                with untrusted.state_of(self.name):
                    least = 0 if name in ("steps", "num_updates") else None
                    saved = copied(untrusted.like(saved, value, name, least))
                    setattr(self, name, tuple(saved) if isinstance(value, tuple) else saved)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole agent (settings, spaces, state) to one file, atomically."""
        with checkpoint.borrowed():
            checkpoint.save(path, self.record(), kind="agent")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "cpu",
        config: AgentConfig | Mapping[str, Any] | None = None,
        num_envs: int | None = None,
        network: Callable[[Any], Any] | None = None,
    ) -> Self:
        """The agent saved at `path`: exactly as it was, unless other settings or environments are given.

        Then what it has learned stays, and what belongs to the episodes under way, or has another size, begins anew:
        a rollout with other `n_steps` or `num_envs`, a replay buffer with another `buffer_size` or `num_envs`.

        Args:
            path: its file.
            device: "cpu", "cuda" or "cuda:1".
            config: other settings: a Config, or a table of those that differ.
            num_envs: how many environments it will act in; None: as many as before.
            network: for an agent whose network was replaced: a function that returns such a network, `network(agent)`.

        Raises:
            CheckpointError: a file that is damaged, foreign, or holds another agent than this class.
            ConfigError: a device that is not there, or settings for which what was learned is of no use.
        """
        if config is not None and not isinstance(config, cls.Config | Mapping):
            raise ConfigError(
                f"config: expected a {cls.__name__}.Config or a table of settings, got {type(config).__name__}"
            )
        record = checkpoint.load(path, kind="agent")
        agent = cls.from_record(record, path, device=device, network=network)
        found: Self = rebuild.remade(agent, config, num_envs, network)
        return found

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Bring this agent to where the one saved at `path` stood: the way back for one whose network you replaced.

        Make it as the saved one was made (spaces, settings, num_envs), give it the same network, then call this.

        Raises CheckpointError as `load` does, and where this agent is another one than was saved.
        """
        record, own = checkpoint.load(path, kind="agent"), self.record()
        keys = ("agent", "config", "spaces", "num_envs")
        differing = [key for key in keys if not checkpoint.same(record.get(key), own[key])]
        if differing:
            raise CheckpointError(
                f"{path}: was saved by an agent with another {', '.join(differing)}: make this one as that was made"
            )
        if record.get("replaced") and not self.replaced:
            raise CheckpointError(
                f"{path}: was saved by an agent whose network was replaced: give this one that network before restore()"
            )
        self.load_state_dict(record["state"])

    @classmethod
    def from_record(
        cls,
        record: State,
        path: str | os.PathLike[str] = "checkpoint",
        *,
        device: str = "cpu",
        acting: bool = False,
        network: Callable[[Any], Any] | None = None,
    ) -> Self:
        """The agent in a file's content, `checkpoint.load(path, kind="agent")`; `path` is for messages.

        With `acting` it is one to act with alone: without what only learning needs (see `for_acting`). `network`
        makes its network if it had been replaced.
        """
        expected, saved = cls.__module__.rpartition(".")[2].lower(), record.get("agent")
        if not isinstance(saved, str) or saved != expected:
            raise CheckpointError(
                f"{path}: holds the agent {saved!r}, expected {expected!r}: load it with its own class"
            )
        backend.require(device)
        try:
            made, foreign = rebuild.agent_of(cls, record, device, acting, network)
        except Exception as error:  # what is read may be anything, and make anything fail
            if network is not None and isinstance(error, ConfigError) and str(error).startswith("network:"):
                raise
            reason = (f"{type(error).__name__}: {error}".splitlines() or [type(error).__name__])[0][:300]
            raise CheckpointError(
                f"{path}: does not fit this version of the agent {expected!r} ({reason}); "
                "one whose network was replaced is read by restore(), or with network="
            ) from error
        if foreign:
            raise CheckpointError(
                f"{path}: was saved by an agent whose network was replaced by another: make {cls.__name__} as that was "
                f"made, give it that network (agent.network = ...), then call agent.restore({str(path)!r}); or load it "
                "with network="
            )
        agent: Self = made
        return agent

    def adapted(self, state: State, config: AgentConfig, num_envs: int) -> State:
        """Return the state of an agent with other settings or environments in the form of this one's.

        Args:
            state: what its `state_dict` gave.
            config: its settings.
            num_envs: how many environments it was for.
        """
        own = self.state_dict()
        found = own | state
        for name, settings in self.sized_by.items():
            if num_envs != self.num_envs or any(
                getattr(config, one, None) != getattr(self.config, one, None) for one in settings
            ):
                found[name] = own[name]
        if any("rate" in name for name, value in vars(self.config).items() if getattr(config, name, None) != value):
            for name in own:  # another step size is not that of the saved optimizer
                if isinstance(getattr(self, name), Optimizer):
                    found[name] = found[name] | {"learning_rate": own[name]["learning_rate"]}
        one_sided = [name for name in own if (found[name] is None) != (own[name] is None)]
        return found | {name: own[name] for name in one_sided}

    @classmethod
    def for_acting(cls, record: State) -> State:
        """A record without the parts of its state that acting does not need; here there is none."""
        return record

    def record(self) -> State:
        """Return what `save` writes: name, settings, spaces and state; `from_record` makes the agent from it."""
        spaces = {
            "observation": space_to_state(self.observation_space),
            "action": space_to_state(self.action_space),
        }
        numbers: State = {"num_envs": self.num_envs, "seed": self.seed} | ({"replaced": True} if self.replaced else {})
        return {
            "agent": self.name,
            "config": self.config.to_dict(),
            "spaces": spaces,
            "state": self.state_dict(),
        } | numbers


def state_of(value: Any) -> Any:
    """The state of an attribute: that of a generator, what `state_dict` gives, or a copy of a plain value."""
    if isinstance(value, np.random.Generator):
        return seeding.generator_state(value)
    if hasattr(value, "state_dict"):
        return value.state_dict()
    return copied(value)
