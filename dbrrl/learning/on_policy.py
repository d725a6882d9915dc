"""What agents share that learn from rollouts of their own policy: acting, gathering, advantages, one gradient."""

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dbrrl import nn, seeding
from dbrrl.backend import array_module, beside, module_on, to_device, to_numpy
from dbrrl.buffers import RolloutBuffer
from dbrrl.checkpoint import State, untrusted
from dbrrl.config import Config
from dbrrl.distributions import Distribution
from dbrrl.kernels.cuda.graph import Captured
from dbrrl.learning.recording_agent import RecordingAgent, packed
from dbrrl.learning.transition import check_rows
from dbrrl.networks import actor_critic
from dbrrl.networks.actor_critic import ActorCritic, RecurrentActorCritic
from dbrrl.networks.encoder import OBSERVATION_SPACES, Encoder
from dbrrl.networks.heads import ACTION_SPACES, head_for
from dbrrl.networks.recurrence import Memory, Sequences, resets
from dbrrl.normalize import ObservationNormalizer, RewardNormalizer
from dbrrl.optim import Optimizer
from dbrrl.returns import gae

TRANSITIONS, SHORTEST = 2048, 16  # of a rollout whose n_steps is not given: in all, and steps at the least


class OnPolicyAgent(RecordingAgent):
    """An agent that acts for `n_steps` steps with one policy, learns from them in `update`, and forgets them.

    A page adds `make_optimizer` and `update`. Its Config has n_steps, gamma, gae_lambda, max_grad_norm, hidden_sizes,
    activation, log_std_init and total_steps, and may have recurrent and recurrent_size, normalize_observation and
    normalize_reward.
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "network", "optimizer", "rollout", "memory", "observation_norm", "reward_norm", "policy_rng", "steps",
        "num_updates", "latest",
    )  # fmt: skip
    observation_spaces = OBSERVATION_SPACES
    action_spaces = ACTION_SPACES

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Config | None = None,
        *,
        num_envs: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__(observation_space, action_space, config, num_envs=num_envs, seed=seed, device=device)
        c = self.config
        self.n_steps: int = c.n_steps or max(SHORTEST, TRANSITIONS // num_envs)
        self.encoder = Encoder(observation_space, scale=getattr(c, "scale_observation", False))
        self.head = head_for(action_space)
        self.policy_rng = seeding.generator_on(device, seed, "policy")
        self.network = self.make_network(seeding.generator(seed, "network"))
        size = getattr(c, "normalize_observation", False) and self.encoder.vector_size
        self.observation_norm = ObservationNormalizer((size,)) if size else None
        self.reward_norm = RewardNormalizer(num_envs, c.gamma) if getattr(c, "normalize_reward", False) else None
        self.steps = 0
        self.latest: dict[str, float] = {}

    @classmethod
    def resident_at(cls, config: Config) -> bool:
        """All but those with a memory."""
        return getattr(config, "recurrent", "none") == "none"

    @property
    def network(self) -> Any:
        """The policy and value networks; set it to your own before training (see dbrrl.networks.actor_critic)."""
        return self._network

    @network.setter
    def network(self, module: nn.Module) -> None:
        known = type(self).distribution is OnPolicyAgent.distribution  # another may read other outputs
        self.replaced = actor_critic.check(self, module, self.head.size if known else None)
        self._network = network = module.to(self.device)
        self.memory = Memory(network, self.num_envs) if hasattr(network, "initial_state") else None
        self.recurrent, self.resident = self.memory is not None, self.memory is None and self.device != "cpu"
        self.optimizer = self.make_optimizer(module)
        # A rollout lies where the agent computes; with a memory its sequences are cut on the host.
        encoder, head, place = self.encoder, self.head, self.device if self.resident else "cpu"
        samples = head.sample_shape, head.sample_dtype
        self.rollout = RolloutBuffer(self.n_steps, self.num_envs, encoder.shapes, encoder.dtypes, *samples, place)
        self.choose_there = Captured(_chosen) if self.resident else None
        self.learn_there = Captured(packed) if self.resident else None

    def make_network(self, rng: np.random.Generator) -> nn.Module:
        """The networks that the settings ask for."""
        c, kind = self.config, getattr(self.config, "recurrent", "none")
        common = (self.encoder, self.head, c.hidden_sizes, c.activation, c.log_std_init)
        if kind == "none":
            return ActorCritic(*common, rng)
        return RecurrentActorCritic(*common, rng, kind, c.recurrent_size)

    def make_optimizer(self, module: nn.Module) -> Optimizer:
        """The optimizer of the network's parameters."""
        raise NotImplementedError

    def update(self) -> None:
        """Learn from the rollout, whose last row is closed."""
        raise NotImplementedError

    def load_state_dict(self, state: State) -> None:
        """As `Agent.load_state_dict`; graphs recorded before are dropped, their generators were replaced."""
        untrusted.absent(self, state, "memory", "observation_norm", "reward_norm")
        super().load_state_dict(state)
        for recorded in filter(None, (self.choose_there, self.learn_there)):
            recorded.forget()

    def act(self, observation: Any, explore: bool = True, first: Any = None) -> Any:
        """Sample from the policy, or its mode if not `explore`; `first` as in `Agent`, read where it does not learn."""
        observation, single = self.as_batch(observation)
        learning = explore and self.training
        parts = self.encode(observation, update=learning)
        if self.resident:
            parts = self.placed(parts)
            replayed = self.choose_there if self.captured else None
            sample, action = (replayed or _chosen)(self.choose, explore, *parts)
        else:
            with nn.evaluation(noise=explore):
                placed, memory = self.placed(parts), self.memory
                outputs = self.network.policy(placed) if memory is None else memory.act(placed, learning, first)
                policy = self.distribution(outputs)
            sample = to_numpy(policy.sample(self.policy_rng) if explore else policy.mode())
        if learning:
            self.rollout.begin(parts, sample)
            self.watch.acted(observation)
        if self.resident:  # the answer lies where the question lay
            action = to_numpy(action) if isinstance(observation, np.ndarray | dict) else action.copy()
        else:
            action = self.head.to_action(sample)
        return action[0] if single else action

    def choose(self, explore: bool, *parts: Any) -> tuple[Any, Any]:
        """A sample of the policy, or its mode, for the network's inputs, and the actions that it stands for."""
        with nn.evaluation(noise=explore):
            policy = self.distribution(self.network.policy(list(parts)))
        sample = policy.sample(self.policy_rng) if explore else policy.mode()
        return sample, self.head.to_action(sample)

    def placed(self, arrays: list[np.ndarray]) -> list[Any]:
        """The arrays on the agent's device."""
        return arrays if self.device == "cpu" else [to_device(array, self.device) for array in arrays]

    def encode(self, observation: Any, update: bool = False) -> list[np.ndarray]:
        """The network's input for a batch of observations; `update` takes them into the running statistics first."""
        if self.observation_norm is None:
            return self.encoder(observation)
        vector, *images = self.encoder.exact(observation)
        if update:
            self.observation_norm.update(vector)
        return [self.observation_norm(vector), *images]

    def distribution(self, outputs: Any) -> Distribution:
        """The policy that a batch of the network's outputs stands for."""
        return self.head.distribution(outputs, getattr(self.network, "log_std", None))

    def policy(self, parts: list[Any]) -> Distribution:
        """π(·|s) for the inputs that `transitions` gave."""
        outputs = self.network.policy(parts) if self.memory is None else parts[0].unroll(self.network)[0]
        return self.distribution(outputs)

    def policy_and_value(self, parts: list[Any]) -> tuple[Distribution, Any]:
        """π(·|s) and V(s) for the inputs that `transitions` gave."""
        outputs, value = self.network(parts) if self.memory is None else parts[0].unroll(self.network)
        return self.distribution(outputs), value

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any,
        info: dict[str, Any] | None = None, *, valid: Any = None,
    ) -> None:  # fmt: skip
        """Store the transition; learn when the rollout is full, or the run at its end."""
        rollout = self.rollout
        if self.resident:
            module_on(self.device)  # makes it the current one of several
        next_observation = self.followed_by(next_observation, reward, terminated, truncated, info, valid)
        there = lies_there(truncated) or rollout.followed > 0
        if self.checks_input and not there:
            self.check_counts(self.as_batch(next_observation)[0], reward, terminated, truncated)
        if self.config.clip_reward:
            reward = np.clip(reward, -1, 1)
        if self.reward_norm is not None:
            ended = np.logical_or(terminated, truncated)
            reward = self.reward_norm(np.reshape(reward, -1), np.reshape(ended, -1), valid)
        rollout.end(reward, terminated, truncated, valid)
        if self.memory is not None:
            self.memory.step(rollout.ended[-1])
        self.steps += self.num_envs if valid is None else int(np.count_nonzero(valid))
        last = rollout.full or self.steps == self.config.total_steps
        if not there and not last and not np.any(truncated):
            return
        observation, _ = self.as_batch(next_observation)
        parts = self.encode(observation)
        check_rows(parts, self.num_envs)
        if there:  # what is on a GPU is not looked at
            rollout.follow(parts)
        state = () if self.memory is None else self.memory.ahead
        for env in () if there else np.flatnonzero(truncated):
            final = [part[env].copy() for part in parts] + [to_numpy(part[:, env]).copy() for part in state]
            rollout.finals.append((rollout.size - 1, int(env), final))
        if last:
            self._learn(parts)

    def _learn(self, parts: list[Any]) -> None:
        """Close the rollout with the observations that follow it, learn from it, and begin another."""
        self.rollout.close(parts)
        self.update()
        self.rollout.clear()
        if self.memory is not None:
            self.memory.start = self.memory.state

    def values(self) -> tuple[np.ndarray, Any]:
        """V of the rollout's T + 1 observations, (T + 1, B), and of its finals, (n,); None if there are none."""
        rollout, memory = self.rollout, self.memory
        rows, finals = rollout.size + 1, []
        if rollout.finals:
            finals = [np.stack(column) for column in zip(*(final for _, _, final in rollout.finals), strict=True)]
        with nn.evaluation(noise=True):
            seen = [part[:rows] for part in rollout.observations]
            if memory is not None:
                return memory.values(self.placed(seen), resets(rollout.ended), self.placed(finals))
            if rollout.followed:
                finals = _flat([part[: rollout.size] for part in rollout.following])
            values = self.network.value(self.placed(_flat(seen))).array.reshape(rows, self.num_envs)
            ends = self.network.value(self.placed(finals)).array if finals else None
            return (values, ends) if self.resident else (to_numpy(values), None if ends is None else to_numpy(ends))

    def advantages(self) -> tuple[np.ndarray, np.ndarray]:
        """Advantage estimates and values (T, B) of the rollout."""
        rollout, c = self.rollout, self.config
        rows = rollout.size
        values, ends = self.values()
        if rollout.followed:
            following = ends.reshape(rows, self.num_envs)
        else:
            following = values[1:].copy()
            if ends is not None:
                at = tuple(np.array([place[:2] for place in rollout.finals]).T)
                following[beside(following, at)] = ends
        terminated, valid = rollout.terminated[:rows], rollout.valid[:rows]
        boundary = terminated | rollout.truncated[:rows]
        if not rollout.all_valid:
            boundary[:-1] |= ~valid[1:]  # no sum runs into an entry that carries no transition
        reward, value = rollout.rewards[:rows], values[:-1]
        return gae(reward, value, following, terminated, boundary, c.gamma, c.gae_lambda), value

    def transitions(self) -> tuple[list[Any], Any, Any, Any]:
        """The rollout's n valid transitions on the device: inputs of the network, actions, advantages A, values V(s).

        The inputs are `parts`, or for a network with a memory one `Sequences`.
        """
        rollout, steps, memory = self.rollout, self.rollout.size, self.memory
        advantage, value = self.advantages()
        total = steps * self.num_envs
        keep = np.arange(total) if rollout.all_valid else np.flatnonzero(to_numpy(rollout.valid[:steps]))
        parts = [part[:steps] for part in rollout.observations]
        columns = [rollout.actions[:steps].reshape(-1, *rollout.actions.shape[2:])]
        columns += [advantage.reshape(-1), value.reshape(-1)]
        if memory is None:
            columns += [part.reshape(-1, *part.shape[2:]) for part in parts]
        if len(keep) < len(columns[0]):
            columns = [column[beside(column, keep)] for column in columns]
        actions, advantage, value, *inputs = self.placed(columns)
        if memory is not None:
            time, env = np.divmod(keep, self.num_envs)
            inputs = [Sequences(self.placed(parts), memory.start, resets(rollout.ended)[:-1], time, env)]
        return inputs, actions, advantage, value

    def product(self, rows: int) -> int:
        """Multiply-adds of the largest layer over so many transitions; a memory takes them one step at a time."""
        rows = rows if self.memory is None else max(1, rows // self.n_steps)
        return rows * max(int(p.size) for p in self.network.parameters())

    def progress(self, learned: int) -> float:
        """How much of the run lies behind it, from 0 to 1, after `learned` steps; 0 if its end is unknown."""
        total: int = self.config.total_steps
        return learned / total if total else 0.0

    def statistics(self) -> dict[str, float]:
        """Those of the latest update."""
        return dict(self.latest)


def _flat(parts: list[Any]) -> list[Any]:
    """(T, B, ...) as (T B, ...)."""
    return [part.reshape(-1, *part.shape[2:]) for part in parts]


def _chosen(choose: Callable[..., Any], explore: bool, *parts: Any) -> Any:
    return choose(explore, *parts)


def lies_there(x: Any) -> bool:
    """Whether a part of a transition lies on a GPU."""
    return type(x) is not np.ndarray and array_module(x) is not np
