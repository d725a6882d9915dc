"""Base of agents that learn from rollouts of their own policy: acting, gathering, values, gradient steps."""

import abc
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dbrrl import nn, schedules, seeding
from dbrrl.backend import capture, module_on, to_numpy
from dbrrl.backend.trees import leaves, mapped, tree_of
from dbrrl.buffers import RolloutBuffer
from dbrrl.buffers.batch import Batch, Rollout, flat_rows
from dbrrl.compiled.evaluated import Evaluated
from dbrrl.config import Config
from dbrrl.distributions import Distribution
from dbrrl.distributions.heads import ACTION_SPACES, head_for
from dbrrl.errors import undefined
from dbrrl.learning import open_policy, team
from dbrrl.learning.agent import Agent
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics, Until, each, means, number
from dbrrl.learning.own_agent import statistics_of
from dbrrl.learning.transition import any_set, check_rows, is_on_gpu
from dbrrl.networks.actor_critic import FeedForward, check
from dbrrl.networks.preprocessor import OBSERVATION_SPACES, Preprocessor
from dbrrl.networks.recurrence import Recurrent
from dbrrl.normalize import ObservationNormalizer, RewardNormalizer
from dbrrl.optim import Optimizer
from dbrrl.renamed import Renamed, renamed_argument
from dbrrl.types import Array, Metrics, Observation

TRANSITIONS, SHORTEST = 2048, 16  # of a rollout whose n_steps is not given: in all, and steps at the least


class OnPolicyAgent(Agent):
    """An agent that acts for `n_steps` steps with one policy, learns from them in `update`, and drops them.

    A page adds `make_optimizer`, `update` and `loss`; its Config is an `OnPolicyConfig`.
    """

    saved_attributes: ClassVar[tuple[str, ...]] = (
        "network", "optimizer", "rollout", "memory", "observation_norm", "reward_norm", "policy_rng", "steps",
        "num_updates", "latest",
    )  # fmt: skip
    observation_spaces, action_spaces, action_masks = OBSERVATION_SPACES, ACTION_SPACES, True
    sized_by: ClassVar[Mapping[str, tuple[str, ...]]] = {"rollout": ("n_steps",), "memory": ("n_steps",)}
    action_distribution, begin_elsewhere = open_policy.action_distribution, open_policy.begin_elsewhere
    preprocess, adapted, load_state_dict = open_policy.preprocess, open_policy.adapted, open_policy.load_state_dict
    chosen_output, generator = open_policy.chosen_output, open_policy.generator
    make_network, statistics, value = open_policy.make_network, open_policy.statistics, open_policy.value
    _sampled, _likeliest, _sample = open_policy.sampled, open_policy.likeliest, open_policy.sample
    scaled_reward = open_policy.scaled_reward
    supports_device_envs = classmethod(open_policy.supports_device_envs)
    largest_matmul = property(open_policy.largest_matmul)
    encoder, encode, captured = Renamed("preprocessor"), Renamed("preprocess"), Renamed("use_cuda_graphs")

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], config: Config | None = None, **rest: Any
    ) -> None:
        super().__init__(observation_space, action_space, config, **rest)
        c = self.config
        self.n_steps: int = c.n_steps or max(SHORTEST, TRANSITIONS // self.num_envs)
        self.preprocessor = Preprocessor(observation_space, scale=c.scale_observation, actions=action_space)
        self.head = head_for(action_space)
        self.policy_rng = seeding.generator_on(self.device, self.seed, "policy")
        self.network = self.make_network(seeding.generator(self.seed, "network"))
        size = c.normalize_observation and self.preprocessor.vector_size
        self.observation_norm = ObservationNormalizer((size,)) if size else None
        self.reward_norm = RewardNormalizer(self.num_envs, c.gamma) if c.normalize_reward else None
        self.team: team.Team = team.Alone()
        self.steps = 0
        self.latest: Metrics = {}

    @property
    def network(self) -> Any:
        """The policy and value networks; set it to your own before training (see dbrrl.networks.actor_critic)."""
        return self._network

    @network.setter
    def network(self, module: nn.Module) -> None:
        known = type(self).distribution is OnPolicyAgent.distribution  # another may read other outputs
        self.replaced = check(self, module, self.head.size if known else None)
        self._network = network = module.to(self.device)
        kind: type[FeedForward] | type[Recurrent] = Recurrent if hasattr(network, "initial_state") else FeedForward
        self.memory = kind(network, self.num_envs)
        self.recurrent, self.keeps_data_on_gpu = kind.recurrent, not kind.recurrent and self.device != "cpu"
        self.step = self.gradient_step_for(self.loss, self.make_optimizer(module), captured=not self.recurrent)
        # A rollout is kept where the agent computes; the sequences of a recurrent one are cut on the host.
        given, head, place = self.preprocessor, self.head, self.device if self.keeps_data_on_gpu else "cpu"
        rest = head.sample_shape, head.sample_dtype, place, given.names
        self.rollout = RolloutBuffer(self.n_steps, self.num_envs, given.shapes, given.dtypes, *rest)
        self.act_graph = capture(place, operator.call)
        self.computed = Evaluated(self.device, *self.recorded_with)
        self.computed.compiled = self.compiled

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the gradient steps."""
        return self.step.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self.step.optimizer = optimizer

    @abc.abstractmethod
    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """Return the optimizer of the network's parameters."""

    @abc.abstractmethod
    def update(self, rollout: Rollout) -> Metrics:
        """Learn from a rollout of at least one transition, by `gradient_step`; return training statistics."""

    def behavior(self, rollout: Rollout) -> dict[str, Array]:
        """Return what learning needs to know of the policy that acted: columns (T, B) of every batch, by name."""
        return {}

    def loss(self, *args: Any, **numbers: Any) -> LossAndMetrics:
        """Return what a step minimizes, `loss(batch, **numbers)`, and a function that computes its metrics."""
        raise undefined(self, "loss")

    def gradient_step(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step of the optimizer along the gradient of `loss(batch, **numbers)`."""
        metrics = self.step(batch, **numbers)
        self.num_updates += 1
        return metrics

    def gradient_steps(self, batches: Iterable[Batch], until: Until = None, **numbers: float) -> list[StepMetrics]:
        """Take a step on each batch (see `GradientStep.each`); return the metrics of all steps."""
        if getattr(self.gradient_step, "__func__", None) is not OnPolicyAgent.gradient_step:  # another may do more
            return list(each(self.gradient_step, batches, until, numbers))
        steps = []
        for metrics in self.step.each(batches, until, **numbers):
            self.num_updates += 1
            steps.append(metrics)
        return steps

    def mean(self, steps: list[StepMetrics]) -> Metrics:
        """Return the means of the metrics of several gradient steps."""
        return means(steps, self)

    def scheduled(self, name: str) -> float:
        """Return a setting by its schedule, at the start of the rollout; one that is none, such as no limit, as inf."""
        total = self.config.total_steps
        value = schedules.at(self.config, name, self.learned / total if total else 0.0)
        return math.inf if value is None else value

    def act(self, observation: Any, explore: bool = True, episode_start: Any = None, *, first: Any = None) -> Any:
        """Sample from the policy, or its mode if not `explore`; `episode_start`, outside training, as in `Agent`."""
        episode_start = episode_start if first is None else renamed_argument(first, "first", "episode_start")
        observation, single = self.as_batch(observation)
        learning = explore and self.training
        given = self.preprocess(observation, update=learning)
        if self.preprocessor.choices:
            self.preprocessor.check_mask(leaves(given)[-1], first_env=self.rollout.first_env)
        if self.keeps_data_on_gpu:
            given = self.to_device(given)
            run = self.act_graph if self.use_cuda_graphs else operator.call
            sample, action = run(self._sample, explore, *leaves(given))
            action = to_numpy(action) if isinstance(observation, np.ndarray | dict) else action.copy()
        else:
            sample = open_policy.choose(self, given, explore, learning, episode_start)
            action = self.head.to_action(sample)
        if learning:
            self.rollout.add_action(given, sample)
            self.watch.acted(observation, sample)
        return action[0] if single else action

    def distribution(self, outputs: Any) -> Distribution:
        """Return the policy π(·|s) of a batch of the network's outputs."""
        return self.head.distribution(outputs, getattr(self.network, "log_std", None))

    def policy(self, observation: Any) -> Distribution:
        """Return π(·|s) for the observations of a batch."""
        return self.distribution(self.memory.policy(observation))

    def policy_and_value(self, observation: Any) -> tuple[Distribution, Any]:
        """Return π(·|s) and V(s) for the observations of a batch."""
        outputs, value = self.memory.forward(observation)
        return self.distribution(outputs), value

    def log_prob(self, batch: Batch) -> Any:
        """Return log π(a|s) of a batch's actions under the present policy, (n,), without a graph."""
        if self._evaluates(len(batch)):
            names, given = self.preprocessor.names, tree_of((), [batch.action, *leaves(batch.observation)])
            log_prob = lambda x: self.policy(tree_of(names, [*x.values()][1:])).log_prob(x["0"])  # noqa: E731
            return self.computed(log_prob, given, noise=True)
        with nn.evaluation(noise=True):
            return self.policy(batch.observation).log_prob(batch.action).array

    def _values(self, observations: Observation, ended: Any, finals: Observation | None, state: list[Any]) -> Any:
        """As `PolicyState.values`."""
        rows, envs = leaves(observations)[0].shape[:2]
        if not self._evaluates((rows - 1) * envs):
            return self.memory.values(observations, ended, finals, state)
        found = self.computed(lambda x: self.network.value(x), mapped(flat_rows, observations), noise=True)
        return found.reshape(rows, envs), None if finals is None else self.network.value(finals).array

    def _evaluates(self, n: int) -> bool:
        """Whether n transitions are a full rollout, which a program evaluates; others would each need one."""
        return not self.recurrent and self.device == "cpu" and n == self.n_steps * self.num_envs

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Store the transition; learn when the rollout is full, or the run at its end."""
        rollout = self.rollout
        if self.keeps_data_on_gpu:
            module_on(self.device)  # makes it the current one of several
        next_observation = self.followed_by(next_observation, reward, terminated, truncated, info, valid)
        on_gpu = is_on_gpu(truncated) or rollout.next_rows > 0
        if self.checks_input and not on_gpu:
            self.check_counts(self.as_batch(next_observation)[0], reward, terminated, truncated)
        reward = self.scaled_reward(reward, terminated, truncated, valid)
        rollout.add_outcome(reward, terminated, truncated, valid)
        if self.recurrent:
            self.memory.advance(rollout.ended[-1])
        self.steps += self.num_envs if valid is None else int(np.count_nonzero(valid))
        last = rollout.full or self.steps == self.config.total_steps
        if not on_gpu and not last and not any_set(np.asarray(truncated, np.bool_)):
            return
        given = self.preprocess(self.as_batch(next_observation)[0])
        check_rows(leaves(given), self.num_envs)
        if on_gpu:  # without waiting for the GPU: the next observations of all rows are kept
            rollout.add_next_observation(given)
        for env in () if on_gpu else np.flatnonzero(truncated):
            rollout.keep_final(int(env), given, self.memory.final_state(int(env)))
        if last:
            self.close_rollout(given)

    def close_rollout(self, following: Observation) -> None:
        """Close the rollout with the observations that follow it, learn from it, and begin another."""
        self.rollout.close(following)
        rollout = Rollout(self.rollout, self.memory, self.device, self._values)
        rollout.behavior = self.behavior(rollout) if rollout.n else {}
        self.learn(rollout)
        self.rollout.clear()
        self.memory.start_rollout()

    def learn(self, rollout: Rollout) -> None:
        """Learn from a rollout, the latest of the agent's steps."""
        self.learned = self.steps - rollout.n
        if rollout.n:
            self.anneal(self.learned / self.config.total_steps if self.config.total_steps else 0.0)
            self.latest = {name: number(value) for name, value in statistics_of(self.update(rollout)).items()}
        self.team.agree([one for one in (self.observation_norm, self.reward_norm) if one is not None])
