"""PPO, A2C and A3C with an LSTM or GRU: acting, values and gradients against formulas written out again in float64."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dbrrl import functional as F
from dbrrl import nn, testing
from dbrrl.agents import A2C, A3C, PPO
from dbrrl.buffers.batch import Rollout
from dbrrl.envs.vector import Environments
from dbrrl.errors import ConfigError, GraphError
from dbrrl.experiment import evaluation

from .feeding import ACTIONS, OBSERVATIONS, content, feed

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
THREE = gym.spaces.Discrete(3)
SMALL: dict[str, Any] = {"recurrent_size": 3, "hidden_sizes": (2,), "n_steps": 6, "gamma": 0.9, "gae_lambda": 0.8}
NO_LIMIT = {"max_grad_norm": 1e9}
PLAIN_PPO = {"batch_size": 99, "n_epochs": 1, "normalize_advantage": False}

kinds = pytest.mark.parametrize("kind", ["lstm", "gru"])
names = pytest.mark.parametrize("name", ["ppo", "a2c", "a3c"])


def make(name: str, observation: Any = BOX, action: Any = THREE, *, num_envs: int = 2, **settings: Any) -> Any:
    """An agent; of A3C one learner, which has one environment."""
    kind = {"ppo": PPO, "a2c": A2C, "a3c": A3C}[name]
    settings = {**SMALL, **(PLAIN_PPO if name == "ppo" else {}), **settings}
    agent: Any = kind(observation, action, kind.Config(**settings), num_envs=num_envs, seed=1)
    return agent.learner(0) if name == "a3c" else agent


def whole(name: str, *arguments: Any, device: str = "cpu", **settings: Any) -> Any:
    """An agent as a user makes it."""
    kind = {"ppo": PPO, "a2c": A2C, "a3c": A3C}[name]
    arguments = arguments or (BOX, THREE)
    return kind(*arguments, kind.Config(**{**SMALL, **settings}), num_envs=2, seed=1, device=device)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@dataclass
class Reference:
    """The network in float64, a row at a time: its formulas, independent of the library's."""

    kind: str
    weights: dict[str, np.ndarray]

    @classmethod
    def of(cls, agent: Any, flat: np.ndarray | None = None) -> "Reference":
        flat = nn.parameters_to_vector(agent.network).astype(np.float64) if flat is None else flat
        weights, start = {}, 0
        for name, parameter in agent.network.named_parameters():
            weights[name] = flat[start : start + parameter.size].reshape(parameter.shape)
            start += parameter.size
        return cls(agent.config.recurrent, weights)

    def start(self) -> list[np.ndarray]:
        return [np.zeros(3)] * (2 if self.kind == "lstm" else 1)

    def after(self, x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
        """The next state, in PyTorch's order of gates."""
        cell = "memory.cells.0."
        h = state[0]
        i = self.weights[f"{cell}weight_ih"] @ x + self.weights[f"{cell}bias_ih"]
        r = self.weights[f"{cell}weight_hh"] @ h + self.weights[f"{cell}bias_hh"]
        if self.kind == "gru":
            reset, update = sigmoid(i[:3] + r[:3]), sigmoid(i[3:6] + r[3:6])
            return [(1 - update) * np.tanh(i[6:] + reset * r[6:]) + update * h]
        a = i + r
        c = sigmoid(a[3:6]) * state[1] + sigmoid(a[:3]) * np.tanh(a[6:9])
        return [sigmoid(a[9:]) * np.tanh(c), c]

    def head(self, which: str, h: np.ndarray) -> np.ndarray:
        w = self.weights
        hidden = np.tanh(w[f"{which}.layers.0.weight"] @ h + w[f"{which}.layers.0.bias"])
        return np.asarray(w[f"{which}.layers.2.weight"] @ hidden + w[f"{which}.layers.2.bias"])

    def log_policy(self, h: np.ndarray) -> np.ndarray:
        logits = self.head("actor", h)
        return np.asarray(logits - np.log(np.exp(logits).sum()))

    def value(self, h: np.ndarray) -> float:
        return float(self.head("critic", h)[0])


@dataclass
class Row:
    """One transition of one environment, and the state before it as the reference found it."""

    x: np.ndarray
    following: np.ndarray
    state: list[np.ndarray]
    action: int
    reward: float
    terminated: bool
    truncated: bool
    valid: bool

    @property
    def ends(self) -> bool:
        return self.terminated or self.truncated or not self.valid


@dataclass
class Watched:
    """Records of the inputs of an agent's updates."""

    weights: list[np.ndarray] = field(default_factory=list)
    gradients: list[np.ndarray] = field(default_factory=list)
    log_probs: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    advantages: list[np.ndarray] = field(default_factory=list)


def watch(agent: Any, monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen, update, gradient = Watched(), agent.update, agent.step.gradient

    def noted_update(rollout: Rollout) -> Any:
        seen.weights.append(nn.parameters_to_vector(agent.network).astype(np.float64))
        make_batch = rollout.batch

        def noted_batch(**columns: Any) -> Any:
            batch = make_batch(**columns)
            policy, now = agent.policy_and_value(batch.observation)
            seen.log_probs.append(policy.log_prob(batch.action).numpy())
            seen.values.append(batch.value)
            seen.advantages.append(batch.advantage)
            np.testing.assert_allclose(now.numpy(), batch.value, atol=1e-6)
            return batch

        monkeypatch.setattr(rollout, "batch", noted_batch)
        return update(rollout)

    def noted_gradient(batch: Any, **numbers: Any) -> Any:
        metrics = gradient(batch, **numbers)
        seen.gradients.append(agent.optimizer.gradient.copy())
        return metrics

    monkeypatch.setattr(agent, "update", noted_update)
    monkeypatch.setattr(agent.step, "gradient", noted_gradient)
    return seen


def play(agent: Any, steps: int) -> list[list[Row]]:
    """Random transitions, [step][environment], with both ends and a row for the reset after some of them.

    The reference follows the episodes.
    """
    rng, count, played = np.random.default_rng(5), agent.num_envs, []
    resetting = np.zeros(count, bool)
    rng_observation = lambda: rng.normal(size=(count, 3)).astype(np.float32)  # noqa: E731
    x, states = rng_observation(), [Reference.of(agent).start() for _ in range(count)]
    for _ in range(steps):
        agent.act(x)
        action = agent.rollout.actions[agent.rollout.size].copy()
        reference, before = Reference.of(agent), states
        following, reward, ends = rng_observation(), rng.normal(size=count), rng.random((2, count)) < 0.2
        terminated, truncated, valid = ends[0] & ~resetting, ends[1] & ~ends[0] & ~resetting, ~resetting
        resetting = (terminated | truncated) & (rng.random(count) < 0.5)
        rows = [
            Row(
                x[i], following[i], before[i], *(column[i] for column in (action, reward, terminated, truncated, valid))
            )
            for i in range(count)
        ]
        states = [reference.start() if row.ends else reference.after(row.x, row.state) for row in rows]
        played.append(rows)
        agent.observe(following, reward, terminated, truncated, valid=valid)
        x = np.where([[row.ends] for row in rows], rng_observation(), following)
    return played


def expected(agent: Any, rows: list[list[Row]], reference: Reference) -> tuple[np.ndarray, ...]:
    """Log-probabilities, values and advantages (T, B) of a rollout, each row by the state it was acted in."""
    c, shape = agent.config, (len(rows), agent.num_envs)
    log_prob, value, advantage = np.zeros(shape), np.zeros(shape), np.zeros((shape[0] + 1, shape[1]))
    for t in range(len(rows) - 1, -1, -1):
        for i, row in enumerate(rows[t]):
            state = reference.after(row.x, row.state)
            log_prob[t, i] = reference.log_policy(state[0])[row.action]
            value[t, i] = reference.value(state[0])
            following = reference.value(reference.after(row.following, state)[0])
            delta = row.reward + c.gamma * (not row.terminated) * following - value[t, i]
            advantage[t, i] = delta + c.gamma * c.gae_lambda * (not row.ends) * advantage[t + 1, i]
    return log_prob, value, advantage[:-1]


@names
@kinds
def test_what_an_update_sees_is_what_was_acted_by(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probabilities and values over sequences; bootstraps by the state that saw the last and final observations."""
    agent = make(name, recurrent=kind, **NO_LIMIT)
    seen, played = watch(agent, monkeypatch), play(agent, 18)
    assert len(seen.weights) == 3 and agent.num_updates == 3
    flat = [row for rows in played for row in rows]
    assert all(any(getattr(row, what) for row in flat) for what in ("terminated", "truncated"))
    assert not all(row.valid for row in flat)
    for k in range(3):
        rows = played[6 * k : 6 * k + 6]
        found = expected(agent, rows, Reference.of(agent, seen.weights[k]))
        valid = np.array([[row.valid for row in step] for step in rows])
        for ours, theirs in zip((seen.log_probs[k], seen.values[k], seen.advantages[k]), found, strict=True):
            np.testing.assert_allclose(ours, theirs[valid], atol=2e-5)


@names
@kinds
def test_the_gradient_is_that_of_the_loss_over_sequences(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite differences through time, from the state before the rollout's first row, which is held."""
    agent = make(name, recurrent=kind, entropy_coef=0.03, **NO_LIMIT)
    seen, played = watch(agent, monkeypatch), play(agent, 12)
    rows, flat = played[6:], seen.weights[1]
    _, value, advantage = expected(agent, rows, Reference.of(agent, flat))
    target = value + advantage
    count = sum(row.valid for step in rows for row in step) if name != "a3c" else 1

    def loss(values: np.ndarray) -> float:
        reference, total = Reference.of(agent, values), 0.0
        states = [row.state for row in rows[0]]
        for t, step in enumerate(rows):
            after = [reference.after(row.x, state) for row, state in zip(step, states, strict=True)]
            for i, (row, (h, *_)) in enumerate(zip(step, after, strict=True)):
                log = reference.log_policy(h)
                entropy, error = -(np.exp(log) * log).sum(), (reference.value(h) - target[t, i]) ** 2
                gain = log[row.action] * advantage[t, i]  # PPO's gradient too, as its first ratio is 1
                total += row.valid * (-gain + 0.5 * error - 0.03 * entropy)
            states = [reference.start() if row.ends else state for row, state in zip(step, after, strict=True)]
        return total / count

    found = np.zeros(len(flat))
    for i in range(len(flat)):
        shift = 1e-6 * (np.arange(len(flat)) == i)
        found[i] = (loss(flat + shift) - loss(flat - shift)) / 2e-6
    np.testing.assert_allclose(seen.gradients[1], found, atol=3e-4 * np.abs(found).max())


def test_ppo_learns_from_whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, sizes = make("ppo", num_envs=5, recurrent="lstm", batch_size=12, n_epochs=3), []

    def noted(batch: Any, **numbers: Any) -> Any:
        sizes.append((batch.observation.reset.shape, len(batch.action)))
        return agent.loss(batch, **numbers)

    monkeypatch.setattr(agent.step, "loss", noted)
    feed(agent, 6)
    assert sizes == [((6, 2), 12), ((6, 2), 12), ((6, 1), 6)] * 3 and agent.num_updates == 9


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str) -> None:
    testing.check_agent(lambda: whole("ppo", BOX, ACTIONS[action], recurrent="lstm", n_epochs=2, device=device))


@names
@pytest.mark.parametrize("observation", ["discrete", "dict"])
def test_the_protocol_is_kept_with_other_observations(device: str, name: str, observation: str) -> None:
    settings = {"recurrent": "gru", "n_steps": 4} | ({"n_epochs": 1} if name == "ppo" else {})
    if name == "a3c" and device == "cuda":
        with pytest.raises(ConfigError, match="a3c shares its weights in memory, expected 'cpu', got 'cuda'"):
            whole(name, device=device)
        return
    space = OBSERVATIONS[observation]
    testing.check_agent(lambda: whole(name, space, ACTIONS["box"], **settings, device=device), steps=6)


@names
def test_an_evaluation_leaves_training_as_it_was(name: str) -> None:
    agent, twin = whole(name, recurrent="lstm"), whole(name, recurrent="lstm")
    for t in range(30):
        for one in (agent, twin):
            feed(one, 1, first=t)
        agent.act(np.full((2, 3), t, np.float32), explore=False, episode_start=t % 3 == 0)
    agent.act(np.ones(3, np.float32), explore=False, episode_start=True)
    assert content(agent) == content(twin) and agent.num_updates > 2


@names
def test_an_evaluation_remembers_within_an_episode(name: str) -> None:
    agent = whole(name, BOX, ACTIONS["box"], recurrent="gru")
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    together = [agent.act(x[t], explore=False, episode_start=t == 0) for t in range(4)]
    alone = [agent.act(x[t, 1], explore=False, episode_start=t in (0, 2)) for t in range(4)]
    assert np.any(together[1] != agent.act(x[1], explore=False, episode_start=True))
    for t in range(2):
        np.testing.assert_allclose(alone[t], together[t][1], atol=1e-7)
    assert np.any(alone[3] != together[3][1])
    with pytest.raises(GraphError, match="expected `episode_start`"):
        agent.act(x[0], explore=False)


class Counting(nn.Module):
    """A memory of your own: the steps since the episode began, of which it prefers action 1 in the odd ones."""

    def __init__(self) -> None:
        self.scale = nn.Linear(1, 2, rng=0)
        self.scale.weight.array[...], self.scale.bias.array[...] = [[-1.0], [1.0]], 0.0
        self.critic = nn.Linear(1, 1, rng=1)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return (np.zeros((1, batch), np.float32),)

    def forward(self, observation: Any, state: Any, reset: Any) -> Any:
        (count,) = state
        odd = []
        for t in range(len(observation)):
            count = np.where(reset[t], 0, count) if reset is not None else count
            odd.append(2 * (count[0] % 2) - 1)
            count = count + 1
        x = np.stack(odd)[..., None].astype(np.float32)
        return self.scale(x), F.reshape(self.critic(x), x.shape[:2]), (count.astype(np.float32),)


class Turns(gym.Env[np.ndarray, int]):
    """Pays 1 for actions 0, 1, 0, ... of an episode; ends after an odd number of steps, so that none may be carried on.

    A wrong action is seen in the observation's sign.
    """

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.length = 0, int(self.np_random.choice([1, 3, 5]))
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        paid = float(action == self.steps % 2)
        self.steps += 1
        return np.zeros(1, np.float32), paid, self.steps == self.length, False, {}


MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]


def turns(mode: AutoresetMode, num_envs: int = 3) -> Environments:
    envs = SyncVectorEnv([Turns] * num_envs, autoreset_mode=mode)
    return Environments(envs, "Turns", kind="sync", seed=np.random.SeedSequence(1))


@names
@pytest.mark.parametrize("mode", MODES)
def test_a_memory_of_your_own_is_reset_in_every_autoreset_mode(name: str, mode: AutoresetMode) -> None:
    envs = turns(mode)
    agent = whole(name, envs.observation_space, envs.action_space)
    agent.network = Counting()
    assert agent.recurrent
    result = evaluation.evaluate(agent, envs, episodes=30)
    assert result is not None and (result.returns == result.lengths).all() and set(result.lengths) == {1, 3, 5}


@pytest.mark.parametrize("mode", MODES)
def test_training_begins_episodes_anew_in_every_autoreset_mode(mode: AutoresetMode) -> None:
    envs = turns(mode)
    agent: Any = A2C(envs.observation_space, envs.action_space, A2C.Config(n_steps=40), num_envs=3)
    agent.network = Counting()
    envs.reset()
    for _ in range(40):
        age = agent.memory.state[0][0].copy()
        step = envs.step(agent.act(envs.observation))
        running = np.array([env.steps for env in envs.vector_env.envs])  # type: ignore[attr-defined]
        after = np.where(step.valid, age + 1, 0)  # the step of the episode that was just taken
        same = running == after
        assert (same | (running == 0)).all()
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=step.valid)
    assert agent.num_updates == 1


def test_a_row_without_a_transition_is_as_if_it_had_not_been() -> None:
    agents = [A2C(BOX, THREE, A2C.Config(**SMALL | {"n_steps": n, "recurrent": "lstm"}), num_envs=2) for n in (6, 7)]
    yes, no, nothing = np.ones(2, bool), np.zeros(2, bool), np.zeros((2, 3), np.float32)
    for t in range(8):
        x = np.random.default_rng(t).normal(size=(2, 3)).astype(np.float32)
        for agent in agents:
            agent.act(x)
            agent.observe(x, np.ones(2), yes & (t == 2), no)
        if t == 2:
            drawn = agents[1].policy_rng.bit_generator.state
            agents[1].act(nothing + 9)
            agents[1].observe(nothing, np.full(2, 99.0), no, no, valid=no)
            agents[1].policy_rng.bit_generator.state = drawn
    assert [agent.num_updates for agent in agents] == [1, 1]
    np.testing.assert_allclose(*(nn.parameters_to_vector(agent.network) for agent in agents), atol=1e-6)
    for part, other in zip(*(agent.memory.state for agent in agents), strict=True):
        np.testing.assert_allclose(part, other, atol=1e-6)


def test_a_network_of_your_own_with_a_memory_is_restored(tmp_path: Any) -> None:
    agents = [make("ppo", action=gym.spaces.Discrete(2)) for _ in range(2)]
    for agent in agents:
        agent.network = Counting()
    feed(agents[0], 8)
    agents[0].save(tmp_path / "own")
    agents[1].restore(tmp_path / "own")
    for agent in agents:
        feed(agent, 8, first=8)
    assert content(agents[0]) == content(agents[1])


def test_the_threads_are_those_of_a_step() -> None:
    settings = {"n_steps": 64, "batch_size": 256, "hidden_sizes": (64, 64), "recurrent_size": 64}
    with_memory, without = (make("ppo", num_envs=8, recurrent=kind, **settings) for kind in ("lstm", "none"))
    assert with_memory.largest_matmul == 4 * 4 * 64 * 64 and without.largest_matmul == 256 * 64 * 64


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"recurrent": "rnn"}, {"recurrent_size": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            PPO.Config(**wrong)
