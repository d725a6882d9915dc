"""Asynchronous advantage actor-critic: A3C (Mnih et al. 2016, arXiv:1602.01783, algorithm S3).

Each actor-learner has an environment and weights θ' of its own. It copies the shared θ, acts for t_max steps with θ'
unchanged, and accumulates over them the gradient of

    L(θ') = Σ log π_θ'(a|s) (G - V(s))  -  c₁ Σ (G - V_θ'(s))²  +  β Σ H(π_θ'(·|s))

with G = r_t + γ r_{t+1} + ... + γᵏ V(s_{t+k}), and V(s) held constant in the first sum. It then changes the shared θ
and the shared statistics v of RMSprop, without a lock (section 4 and supplement, eq. S2):

    v ← α v + (1 - α) g²,   θ ← θ - η g / √(v + ε)

η falls linearly to 0 over the steps of all learners. The runner starts one process per environment, with θ and v in
shared memory; in a loop of your own, with `act` and `observe`, the learners commit in turn, in one process.
"""

import contextlib
import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from dbrrl import functional as F
from dbrrl import nn, schedules, seeding
from dbrrl.buffers import Batch
from dbrrl.buffers.batch import Rollout
from dbrrl.checkpoint import State, untrusted
from dbrrl.config import Config as BaseConfig
from dbrrl.config import setting
from dbrrl.distributions import Distribution
from dbrrl.errors import ConfigError, other_count
from dbrrl.learning import asynchronous
from dbrrl.learning.agent import Agent as Base
from dbrrl.learning.agent import valid_rows
from dbrrl.learning.config import OnPolicyConfig
from dbrrl.learning.gradient_step import LossAndMetrics
from dbrrl.learning.on_policy import OnPolicyAgent
from dbrrl.learning.transition import fields
from dbrrl.optim import RMSprop
from dbrrl.returns import explained_variance, gae
from dbrrl.schedules import Schedule
from dbrrl.types import Metrics


@dataclass(frozen=True)
class Config(OnPolicyConfig):
    """Settings of A3C; the defaults are those of the paper's Atari experiments, and where it has none those of PFRL."""

    learning_rate: float | Schedule = setting(7e-4, above=0, help="η, step size of RMSprop (paper: 1e-4 to 1e-2)")
    learning_rate_schedule: Literal["constant", "linear"] = setting("linear", help="linear: to 0 at total_steps")
    rmsprop_alpha: float = setting(0.99, at_least=0, below=1, help="α, decay of the mean square (section 8)")
    rmsprop_eps: float = setting(0.1, above=0, help="ε, inside the root (PFRL)")
    n_steps: int = setting(5, at_least=1, help="t_max, steps in each rollout (section 8)")
    gae_lambda: float = setting(1.0, at_least=0, at_most=1, help="λ of the advantage estimate; 1: the paper's returns")
    entropy_coef: float = setting(0.01, at_least=0, help="β, weight of the entropy (section 8)")
    value_coef: float = setting(0.5, at_least=0, help="c₁, weight of the squared value error (paper: 1)")
    max_grad_norm: float | None = setting(40.0, above=0, help="largest global norm of a rollout's gradient (PFRL)")
    normalize_observation: ClassVar[bool] = False  # type: ignore[misc]  # learners would need common statistics
    deterministic: bool = setting(False, help="learners commit in turn: slower, exact to the bit")


class ActorLearner(OnPolicyAgent):
    """One of A3C's learners: acts in one environment with weights of its own, and learns into the shared vectors."""

    Config = Config
    saved_attributes = ("network", "rollout", "memory", "reward_norm", "policy_rng", "steps", "num_updates", "latest")

    def __init__(self, observation_space: Any, action_space: Any, config: Any, *, seed: int, index: int) -> None:
        super().__init__(observation_space, action_space, config, seed=seed)
        self.index = index
        self.policy_rng = seeding.generator(seed, "policy", index)
        self.shared: dict[str, np.ndarray] = {}
        self.buffers: list[tuple[str, nn.Module, str]] = []  # name in `shared`, module, its attribute
        self.turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()

    def make_optimizer(self, module: nn.Module) -> RMSprop:
        """RMSprop, whose rule is applied to the shared vectors."""
        c, rate = self.config, schedules.course(self.config, "learning_rate")
        return RMSprop(module, rate, c.rmsprop_alpha, c.rmsprop_eps, eps_inside_root=True)

    def join(self, shared: dict[str, np.ndarray]) -> None:
        """Work on these shared vectors from now on."""
        self.shared, self.buffers = shared, shared_buffers(self.network)

    def pull(self) -> None:
        """Copy the shared weights θ into θ', unless these are the same memory, and the buffers into its network's."""
        self.optimizer.set_values(self.shared["values"])
        self.pull_buffers()

    def pull_buffers(self) -> None:
        """Copy the shared buffers into those of its network."""
        for name, module, attribute in self.buffers:
            setattr(module, attribute, self.shared[name].copy())

    def update(self, rollout: Rollout) -> Metrics:
        """The gradient of the rollout, by θ'; then a step of θ by it."""
        c = self.config
        value, next_value = rollout.values()
        advantage = gae(rollout.reward, value, next_value, rollout.terminated, rollout.boundary, c.gamma, c.gae_lambda)
        batch = rollout.batch(advantage=advantage, value=value, target=advantage + value)
        with contextlib.ExitStack() as turn:
            if self.buffers:  # the gradient is taken with the shared buffers, and changes them
                turn.enter_context(self.turn)
                self.pull_buffers()
            metrics = self.step.gradient(batch)
            if not self.buffers:
                turn.enter_context(self.turn)
            self.commit(len(batch))
        found = {name: float(total) / len(batch) for name, total in metrics.items()}
        found["explained_variance"] = explained_variance(batch.value, batch.target)
        return found | {"learning_rate": self.optimizer.learning_rate}

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the weighted terms of -L(θ'), sums over the transitions of a rollout, and these as metrics."""
        c = self.config
        policy, value = self.policy_and_value(batch.observation)
        objective = (policy.log_prob(batch.action) * batch.advantage).sum()
        value_loss, entropy = F.mse_loss(value, batch.target, "sum"), policy.entropy().sum()
        return [(-1.0, objective), (c.value_coef, value_loss), (-c.entropy_coef, entropy)], lambda: {
            "policy_loss": -objective.array,
            "value_loss": value_loss.array,
            "entropy": entropy.array,
        }

    def commit(self, rows: int) -> None:
        """Change the shared vectors by the gradient of `rows` transitions (eq. S2), and its buffers; θ' follows."""
        c, shared = self.config, self.shared
        progress = int(shared["learned"].sum()) / c.total_steps if c.total_steps else 0.0
        self.optimizer.anneal(progress)
        self.optimizer.step_on(shared["values"], mean_square=shared["mean_square"])
        for name, module, attribute in self.buffers:
            shared[name][...] = getattr(module, attribute)
        shared["learned"][self.index] += rows
        self.num_updates += 1
        self.pull()


class A3C(Base):
    """Asynchronous advantage actor-critic: one actor-learner per environment.

    Attributes:
        shared: the arrays that all learners work on: "values" (θ), "mean_square" (v), "learned", the steps each
            learner has learned from, and "buffers.NAME" for each buffer of the network (see `nn.Module`).

    Example:
        Experiment("a3c", "CartPole-v1", num_envs=2).run()      # two processes
    """

    Config = Config
    asynchronous = action_masks = True
    observation_spaces = OnPolicyAgent.observation_spaces
    action_spaces = OnPolicyAgent.action_spaces

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], config: Any = None, **rest: Any
    ) -> None:
        super().__init__(observation_space, action_space, config, **rest)
        seed, place = self.seed, self.device
        if place != "cpu":
            raise ConfigError(f"device: a3c shares its weights in memory, expected 'cpu', got {place!r}: leave it out")
        self.deterministic: bool = self.config.deterministic
        # The policy that is evaluated: θ itself, which no environment moves.
        self.central = ActorLearner(observation_space, action_space, self.config, seed=seed, index=-1)
        self.central.training = False
        self._begin()

    def _begin(self) -> None:
        values = np.array(self.central.optimizer.values)
        self.central.optimizer.share(values)  # θ is the weights of `network`, until processes share another
        learned = np.zeros(self.num_envs, np.int64)
        self.shared = {"values": values, "mean_square": np.zeros_like(values), "learned": learned}
        for name, module, attribute in shared_buffers(self.central.network):
            self.shared[name] = np.array(getattr(module, attribute))
        self.learners: dict[int, ActorLearner] = {}
        self.central.join(self.shared)
        self.recurrent = self.central.recurrent

    @property
    def network(self) -> Any:
        """The policy and value networks, of weights θ; set it to your own before training, in a loop of your own."""
        same = np.array_equal(self.central.optimizer.values, self.shared["values"])
        self.central.pull_buffers() if same else self.central.pull()
        return self.central.network

    @network.setter
    def network(self, module: nn.Module) -> None:
        self.central.network = module
        self.replaced = True
        self._begin()

    def learner(self, index: int) -> ActorLearner:
        """The actor-learner of environment `index`, made when it is first asked for."""
        if index not in self.learners:
            made = ActorLearner(self.observation_space, self.action_space, self.config, seed=self.seed, index=index)
            made.network, made.watch.over = copy.deepcopy(self.network), True
            made.rollout.first_env = index
            made.join(self.shared)
            made.pull()
            self.learners[index] = made
        return self.learners[index]

    def attach(self, vectors: dict[str, np.ndarray]) -> None:
        """Work on `vectors` from now on, which hold what `shared` holds."""
        self.shared = vectors
        for one in (self.central, *self.learners.values()):
            one.join(vectors)

    def act(self, observation: Any, explore: bool = True, episode_start: Any = None, *, first: Any = None) -> Any:
        """Each learner samples from its own policy; if not `explore`, the mode of the shared one."""
        if not explore or not self.training:
            self.central.pull()
            return self.central.act(observation, explore, episode_start, first=first)
        observation, single = self.as_batch(observation)
        if (got := _rows(observation)) != self.num_envs:
            raise other_count("act()", "observations", self.num_envs, got, got)
        rows = range(self.num_envs)
        actions = np.concatenate([self.learner(i).act(_row(observation, i)) for i in rows])
        self.watch.acted(observation, actions)
        return actions[0] if single else actions

    def action_distribution(self, observation: Any, episode_start: Any = None) -> Distribution:
        """Return π(·|s) of the shared policy (see `OnPolicyAgent`)."""
        self.central.pull()
        return self.central.action_distribution(observation, episode_start)

    def value(self, observation: Any, episode_start: Any = None) -> Any:
        """Return V(s) by the shared weights (see `OnPolicyAgent`)."""
        self.central.pull()
        return self.central.value(observation, episode_start)

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Give each learner its transition; those whose rollout is full commit, the first environment's first."""
        next_observation = self.followed_by(next_observation, reward, terminated, truncated, info, valid)
        observation, _ = self.as_batch(next_observation)
        self.check(observation, [x for _, x in fields(observation)], reward, terminated, truncated)
        rewards, ends, limits = (np.reshape(x, -1) for x in (reward, terminated, truncated))
        for i in map(int, np.flatnonzero(valid_rows(valid, self.num_envs))):
            one = slice(i, i + 1)
            self.learner(i).observe(_row(observation, i), rewards[one], ends[one], limits[one])
        self.count()

    def count(self) -> None:
        """Take the number of updates from the learners, who change θ."""
        before, self.num_updates = self.num_updates, sum(one.num_updates for one in self.learners.values())
        if self.num_updates != before:
            self.central.pull()

    def statistics(self) -> dict[str, float]:
        """Means over the learners of their latest update."""
        found = [one.latest for _, one in sorted(self.learners.items()) if one.latest]
        return {name: float(np.mean([latest[name] for latest in found])) for name in found[0]} if found else {}

    def state_dict(self) -> State:
        """The shared vectors, and each learner's weights, rollout and generator."""
        vectors = {name: vector.copy() for name, vector in self.shared.items()}
        return vectors | {"learners": [self.learner(i).state_dict() for i in range(self.num_envs)]}

    def adapted(self, state: State, config: BaseConfig, num_envs: int) -> State:
        """As `Agent.adapted`, of each learner."""
        return asynchronous.adapted(self, state, config, num_envs)

    def load_state_dict(self, state: State) -> None:
        """Go on exactly where `state` was taken; CheckpointError where it is of other sizes."""
        with untrusted.state_of("a3c", "load with the same network and num_envs"):
            untrusted.table(state, "", *self.shared, "learners")
            for name, vector in self.shared.items():
                least = -np.inf if name == "values" or name.startswith("buffers.") else 0  # mean squares, and counts
                untrusted.array(state[name], name, vector.dtype, vector.shape, at_least=least)
            untrusted.entries(state["learners"], "learners", self.num_envs)
        for name, vector in self.shared.items():
            vector[...] = state[name]
        self.central.pull()
        for i, saved in enumerate(state["learners"]):
            self.learner(i).load_state_dict(saved)
        self.count()


def shared_buffers(network: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """For each buffer of a network, but noise, its name among the shared arrays, its module and its attribute."""
    return [(f"buffers.{name}", module, attribute) for name, module, attribute in network.named_buffers()]


def _rows(observation: Any) -> int:
    """How many rows a batch has."""
    return _rows(next(iter(observation.values()))) if isinstance(observation, dict) else len(observation)


def _row(observation: Any, i: int) -> Any:
    """Row `i` as a batch of one."""
    if isinstance(observation, dict):
        return {key: _row(part, i) for key, part in observation.items()}
    return observation[i : i + 1]


Agent = A3C
