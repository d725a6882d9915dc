"""The protocol of all agents: two verbs, `act` and `observe`, and a state to give and take back."""

import abc
import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import load_kernels
from dbrrl.backend.threads import OwnThreads
from dbrrl.backend.trees import to_device_tree
from dbrrl.buffers.batch import Batch
from dbrrl.compiled.evaluated import Evaluated
from dbrrl.compiled.layout import parameters_of, sizes_of
from dbrrl.compiled.step import CompiledStep
from dbrrl.config import Config as AgentConfig
from dbrrl.config.arguments import AgentType, Described, check_space
from dbrrl.distributions import Distribution
from dbrrl.errors import ArgumentError, ConfigError, no_gradient
from dbrrl.learning import capacity
from dbrrl.learning.captured_step import CapturedStep, UncheckedStep
from dbrrl.learning.gradient_step import GradientStep, Loss
from dbrrl.learning.own_loop import Checked, ResetWatch
from dbrrl.learning.saved_agent import SavedAgent
from dbrrl.learning.spaces import Observation, as_batch
from dbrrl.learning.transition import true_next_observation as true_next_observation
from dbrrl.learning.transition import valid_rows as valid_rows
from dbrrl.optim import Optimizer
from dbrrl.renamed import Renamed


class Agent(Described, OwnThreads, Checked, SavedAgent, metaclass=AgentType):
    """An agent for `num_envs` environments that step together: the leading axis is the environment.

    In a loop of your own, `observe` what each `step` gave, as it came: with Gymnasium's autoreset SAME_STEP it
    takes the final observations out of `info`; with NEXT_STEP, pass `valid=~ended`, where `ended` says which episodes
    ended one step before; with DISABLED, or one environment, reset after `observe`. Nothing else of `info` is read: its
    keys are the environment's own.

    An agent with a memory (`recurrent` is True) sees in `observe` where an episode ended, and resets it. Outside
    training nothing is observed: `act(observation, explore=False, episode_start=...)` says which rows begin an episode,
    one boolean for all or one each. The memory of an evaluation is kept apart from that of training, and is no part of
    the state.

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
    recurrent: bool = False  # whether it has a memory; `act` then takes `episode_start`
    keeps_data_on_gpu: bool = False  # whether it takes observations and rewards on its GPU, and gives actions there
    resident, resident_at = Renamed("keeps_data_on_gpu"), Renamed("supports_device_envs")
    largest_product = Renamed("largest_matmul")
    old_arguments = {"act": ("first", "episode_start")}  # noqa: RUF012
    _use_cuda_graphs = _compiled = True
    asynchronous: ClassVar[bool] = False  # whether the runner starts a process per environment (see dbrrl.agents.a3c)
    distributed: ClassVar[Literal["", "team", "actors", "trajectories"]] = ""
    """How it learns in several workers: each from its own environments (see `learning/team.py`); or in one process from
    what the others act, by replay (see `learning/experience.py`) or as it comes (see `learning/trajectories.py`);
    "": not at all.
    """
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
        load_kernels("cpu")
        load_kernels("checks")
        check_space(type(self), "observations", observation_space, self.observation_spaces)
        check_space(type(self), "actions", action_space, self.action_spaces)
        if config is not None and not isinstance(config, self.Config):
            raise ConfigError(
                f"config: expected the Config of {self.name}, got {_full_name(config)}: "
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
    def supports_device_envs(cls, config: AgentConfig) -> bool:
        """Return whether an agent of these settings can act in environments on its GPU: `keeps_data_on_gpu`, before it
        is made.
        """
        return False

    @property
    def largest_matmul(self) -> int:
        """Multiply-adds of its largest matrix product, by which the BLAS threads of `act` and `update` are chosen."""
        return 0

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

    def action_distribution(self, observation: Observation, episode_start: Any = None) -> Distribution:
        """The policy π(·|s) of a batch of observations, a row each; a single observation is a batch of one.

        Raises ArgumentError where the agent chooses its actions by none.
        """
        raise ArgumentError(f"{self.name} has no distribution of actions: it chooses an action without one; see act()")

    def value(self, observation: Observation, episode_start: Any = None) -> Any:
        """The value of each of a batch of observations, (B,), or of a single one, a number, under what it learns from.

        Raises ArgumentError where the agent estimates none.
        """
        raise ArgumentError(f"{self.name} estimates no value of an observation")

    def q_values(self, observation: Observation, episode_start: Any = None) -> np.ndarray:
        """The values of all actions for a batch of observations, (B, actions); -∞ for those that are not allowed.

        Raises ArgumentError where the agent has none.
        """
        raise ArgumentError(f"{self.name} has no values of all actions")

    def return_distribution(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """Returns and their probabilities for a batch of observations and all actions, (B, actions, N) each.

        Raises ArgumentError where the agent learns no distribution of the return.
        """
        raise ArgumentError(f"{self.name} learns no distribution of the return")

    def chosen_output(self, given: Observation, sample: Any, episode_start: Any = None) -> Tensor:
        """What the agent says of actions as it stores them, (B,), with its graph: the log-probability of each under the
        policy, or where there is none its value.

        `given` is a batch of preprocessed observations, of which gradients are wanted. Raises ArgumentError where the
        agent says nothing of actions.
        """
        raise ArgumentError(f"{self.name} says nothing of an action that could be differentiated")

    def begin_elsewhere(self) -> None:
        """Forget the episodes under way: what is acted on next begins others, and does not follow the last step."""
        self.watch = ResetWatch()

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

    @property
    def recorded_with(self) -> tuple[Callable[[], Any], Callable[[], Iterable[Tensor]]]:
        """What returns the settings and the parameters that programs of this agent depend on."""
        return functools.partial(getattr, self, "config"), functools.partial(parameters_of, self)

    @property
    def compiled(self) -> bool:
        """Whether acting and learning run as compiled programs on the CPU, where the kernels are installed; False runs
        them op by op. The numbers are the same to rounding.
        """
        return self._compiled

    @compiled.setter
    def compiled(self, use: bool) -> None:
        self._compiled = use
        for value in vars(self).values():
            if isinstance(value, CompiledStep | Evaluated):
                value.compiled = use

    def gradient_step_for(self, loss: Loss, optimizer: Optimizer, *, captured: bool = True) -> GradientStep:
        """Return the gradient step of a loss by an optimizer, with the gradient clipped as the settings say.

        On a GPU it is recorded as a CUDA graph (see `CapturedStep` for what the loss must keep to), on the CPU as a
        compiled program (see `CompiledStep`), unless `captured` is False. For an agent or a module of a class that is
        not the library's there is a program only if the class says `recordable = True`.
        """
        limit, cpu = self.config.max_grad_norm, self.device == "cpu"
        if not captured:
            return (GradientStep if cpu else UncheckedStep)(loss, optimizer, limit, self.explain)
        if not cpu:
            step = CapturedStep(loss, optimizer, limit, self.device, lambda: self.config)
            step.use_cuda_graphs = self.use_cuda_graphs
            return step
        sizes = functools.partial(sizes_of, self)
        compiled = CompiledStep(loss, optimizer, limit, self.explain, *self.recorded_with, sizes)
        compiled.compiled = self.compiled
        return compiled

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that it has as attributes, and the optimizers of its gradient steps."""
        found: list[Optimizer] = []
        for value in vars(self).values():
            one = value.optimizer if isinstance(value, GradientStep) else value
            if isinstance(one, Optimizer) and not any(one is other for other in found):
                found.append(one)
        return found

    def anneal(self, progress: float) -> None:
        """Set the step sizes that have a schedule, where the part `progress` of the run is over; before an update."""
        for optimizer in self.optimizers if self.config.varies else ():
            optimizer.anneal(progress)

    def explain(self, batch: Batch, found: str) -> str:
        """Return the error message for a batch whose gradient is not finite, given a text about its loss."""
        return f"{self.name}: {no_gradient(self.num_updates, found)}"

    def to_device(self, observation: Observation) -> Observation:
        """Return a preprocessed batch of observations on the agent's device."""
        return observation if self.device == "cpu" else to_device_tree(observation, self.device)

    def as_batch(self, observation: Observation) -> tuple[Observation, bool]:
        """`observation` with a leading axis, and whether that axis was put there (a single observation came).

        Raises ShapeError where it is neither one observation of the space nor a batch of them.
        """
        if type(observation) is np.ndarray and observation.ndim and observation.shape[1:] == self._shape:
            return observation, False  # the usual case
        return as_batch(observation, self.observation_space)


def _full_name(x: Any) -> str:
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
