"""The protocol of all agents: two verbs, `act` and `observe`, and a state to give and take back."""

import abc
import os
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np

from dbrrl import backend, checkpoint, seeding
from dbrrl.backend.threads import OwnThreads
from dbrrl.buffers.batch import Batch
from dbrrl.checkpoint import State, copied, untrusted
from dbrrl.config import Config as AgentConfig
from dbrrl.config.arguments import AgentType, Described, check_space
from dbrrl.errors import CheckpointError, ConfigError, no_gradient
from dbrrl.learning import capacity, rebuild
from dbrrl.learning.captured_step import CapturedStep, UncheckedStep
from dbrrl.learning.gradient_step import GradientStep, Loss
from dbrrl.learning.own_loop import Checked, ResetWatch
from dbrrl.learning.spaces import Observation, as_batch, space_to_state
from dbrrl.learning.transition import true_next_observation as true_next_observation
from dbrrl.learning.transition import valid_rows as valid_rows
from dbrrl.optim import Optimizer
from dbrrl.renamed import TakesOldNames


class Agent(Described, OwnThreads, Checked, TakesOldNames, metaclass=AgentType):
    """An agent for `num_envs` environments that step together: the leading axis is the environment.

    In a loop of your own, `observe` what each `step` gave, as it came: with Gymnasium's autoreset SAME_STEP it
    takes the final observations out of `info`; with NEXT_STEP, pass `valid=~ended`, where `ended` says which episodes
    ended one step before; with DISABLED, or one environment, reset after `observe`. Nothing else of `info` is read: its
    keys are the environment's own.

    An agent with a memory (`recurrent` is True) sees in `observe` where an episode ended, and forgets it. Where it does
    not learn nothing is observed: there `act(observation, explore=False, first=...)` says which rows begin an episode,
    one boolean for all or one each. What it remembers of an evaluation is kept apart from what it learns from, and
    belongs to no state.

    A subclass names its `Config` and the spaces it serves, calls `super().__init__` first and then builds its
    network.

    Args:
        observation_space, action_space: those of one environment (unbatched).
        config: settings, of the class's own `Config`; its defaults where absent.
        num_envs: environments that `observe` is given transitions of.
        seed: root of the agent's random streams.
        device: "cpu", "cuda" or "cuda:1".

    Raises:
        SpaceError: the agent does not serve one of the spaces.
        ConfigError: a setting is out of range, or of another agent.
        ArgumentError: an argument that there is not, or no spaces; the message has the right call.
    """

    Config: ClassVar[type[AgentConfig]]
    training: bool = True  # False: nothing of the agent changes, not even by acts that explore
    remembered: ClassVar[tuple[str, ...]] = ()  # attributes of its state: with state_dict, generators, plain values
    recurrent: bool = False  # whether it has a memory; `act` then takes `first`
    replaced: bool = False  # whether it was given another network than its own
    resident: bool = False  # whether observations and rewards may lie on the agent's GPU; `act` then answers there
    _use_cuda_graphs = True
    asynchronous: ClassVar[bool] = False  # whether the runner starts a process per environment (see dbrrl.agents.a3c)
    observation_spaces: ClassVar[tuple[type[gym.Space[Any]], ...]]
    action_spaces: ClassVar[tuple[type[gym.Space[Any]], ...]]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: AgentConfig | None = None,
        *,
        num_envs: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        check_space(type(self), "observations", observation_space, self.observation_spaces)
        check_space(type(self), "actions", action_space, self.action_spaces)
        if config is not None and not isinstance(config, self.Config):
            raise ConfigError(
                f"config: expected the Config of {self.name}, got {type(config).__name__}: "
                f"write {type(self).__name__}.Config(...)"
            )
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ConfigError(f"num_envs: expected a whole number of at least 1, got {num_envs!r}: count environments")
        self.observation_space = observation_space
        self.action_space = action_space
        self._shape = observation_space.shape
        self.config: Any = config if config is not None else self.Config()
        self.num_envs, self.seed, self.device, self.num_updates = num_envs, seed, device, 0
        self.watch = ResetWatch()
        capacity.check(self)

    @classmethod
    def resident_at(cls, config: AgentConfig) -> bool:
        """Whether an agent of these settings takes observations that lie on its GPU: `resident`, before it is made."""
        return False

    @property
    def largest_product(self) -> int:
        """Multiply-adds of its largest matrix product, by which the BLAS threads of `act` and `update` are chosen."""
        return 0

    @property
    def name(self) -> str:
        """The name that `--agent` takes: that of the module, such as "ppo"."""
        return type(self).__module__.rpartition(".")[2].lower()

    @abc.abstractmethod
    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Actions for a batch of observations, or one action for a single observation.

        `explore=False` gives the policy to evaluate: any batch size, and nothing of the agent changes. So does
        `explore=True` while `training` is False, but for the generator that is drawn from.
        """

    @abc.abstractmethod
    def observe(
        self,
        next_observation: Observation,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        info: dict[str, Any] | None = None,
        *,
        valid: np.ndarray | None = None,
    ) -> None:
        """Take in what followed the last `act`, and learn when that is due.

        Args:
            next_observation: the true next observation, (num_envs, ...): the final one where one ended;
                the "final_obs" of Gymnasium's same-step autoreset in `info` is put in its place.
            reward, terminated, truncated: shape (num_envs,).
            info: what the environment's `step` gave; of it, only that "final_obs" is read. The runner gives none.
            valid: bool (num_envs,), False in rows that carry no transition; None where all do.
        """

    @abc.abstractmethod
    def statistics(self) -> dict[str, float]:
        """The latest training statistics, such as policy_loss or entropy; empty before the first update."""

    @property
    def use_cuda_graphs(self) -> bool:
        """Whether acting and learning are recorded as CUDA graphs on a GPU; False runs them op by op. The numbers are
        the same.
        """
        return self._use_cuda_graphs

    @use_cuda_graphs.setter
    def use_cuda_graphs(self, use: bool) -> None:
        self._use_cuda_graphs = use
        for step in vars(self).values():
            if isinstance(step, CapturedStep):
                step.use_cuda_graphs = use

    def gradient_step_for(self, loss: Loss, optimizer: Optimizer, *, captured: bool = True) -> GradientStep:
        """Return the gradient step of a loss by an optimizer, with the gradient clipped as the settings say.

        On a GPU it is recorded as a CUDA graph (see `CapturedStep` for what the loss must keep to), unless `captured`
        is False.
        """
        limit = self.config.max_grad_norm
        if self.device == "cpu":
            return GradientStep(loss, optimizer, limit, self.explain)
        if not captured:
            return UncheckedStep(loss, optimizer, limit, self.explain)
        step = CapturedStep(loss, optimizer, limit, self.device, lambda: self.config)
        step.use_cuda_graphs = self.use_cuda_graphs
        return step

    def explain(self, batch: Batch, found: str) -> str:
        """Return the error message for a batch whose gradient is not finite, given a text about its loss."""
        return f"{self.name}: {no_gradient(self.num_updates, found)}"

    def state_dict(self) -> State:
        """Everything its future depends on: by default the attributes that `remembered` names.

        They are copies, which do not change as the agent goes on; within `checkpoint.borrowed()` large arrays may be
        the agent's own.
        """
        return {name: state_of(getattr(self, name)) for name in self.remembered}

    def load_state_dict(self, state: State) -> None:
        """Go on exactly where the agent stood that gave `state`, of which nothing is kept but copies.

        Raises CheckpointError where it does not fit.
        """
        missing = [name for name in self.remembered if name not in state]
        if missing:
            raise CheckpointError(f"{self.name}: expected a state with {missing}, got none: save it with this version")
        for name in self.remembered:
            value, saved = getattr(self, name), state[name]
            if isinstance(value, backend.CounterGenerator) and isinstance(saved, dict) and "position" not in saved:
                continue  # saved on the CPU: a GPU draws from its own stream
            if isinstance(value, np.random.Generator | backend.CounterGenerator):
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
    def load(cls, path: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """The agent saved at `path`, exactly as it was.

        Raises CheckpointError for a file that is damaged, foreign, or holds another agent than this class, ConfigError
        for a device that is not there.
        """
        return cls.from_record(checkpoint.load(path, kind="agent"), path, device=device)

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
        cls, record: State, path: str | os.PathLike[str] = "checkpoint", *, device: str = "cpu", acting: bool = False
    ) -> Self:
        """The agent in a file's content, `checkpoint.load(path, kind="agent")`; `path` is for messages.

        With `acting` it is one to act with alone: without what only learning needs (see `for_acting`).
        """
        expected, saved = cls.__module__.rpartition(".")[2].lower(), record.get("agent")
        if not isinstance(saved, str) or saved != expected:
            raise CheckpointError(
                f"{path}: holds the agent {saved!r}, expected {expected!r}: load it with its own class"
            )
        backend.require(device)
        try:
            made, foreign = rebuild.agent_of(cls, record, device, acting)
        except Exception as error:  # what is read may be anything, and make anything fail
            reason = (f"{type(error).__name__}: {error}".splitlines() or [type(error).__name__])[0][:300]
            raise CheckpointError(
                f"{path}: does not fit this version of the agent {expected!r} ({reason}); "
                "one whose network was replaced is read by restore()"
            ) from error
        if foreign:
            raise CheckpointError(
                f"{path}: was saved by an agent whose network was replaced by another: make {cls.__name__} as that was "
                f"made, give it that network (agent.network = ...), then call agent.restore({str(path)!r})"
            )
        agent: Self = made
        return agent

    @classmethod
    def for_acting(cls, record: State) -> State:
        """A record without the parts of its state that acting does not need; here there is none."""
        return record

    def as_batch(self, observation: Observation) -> tuple[Observation, bool]:
        """`observation` with a leading axis, and whether that axis was put there (a single observation came).

        Raises ShapeError where it is neither one observation of the space nor a batch of them.
        """
        if type(observation) is np.ndarray and observation.ndim and observation.shape[1:] == self._shape:
            return observation, False  # the usual case
        return as_batch(observation, self.observation_space)

    def record(self) -> State:
        """What `save` writes (name, settings, spaces, state) and `from_record` makes the agent of again."""
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
