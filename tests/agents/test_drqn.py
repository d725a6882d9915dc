"""DRQN: its memory, burn-in and loss against a network written out in float64; what it stores; its state; learning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import DRQN
from dbrrl.buffers import EpisodicReplayBuffer
from dbrrl.errors import ConfigError, GraphError
from dbrrl.experiment import Experiment, registry

from .feeding import BOX, OBSERVATIONS, content, feed, spaces
from .probes import over_seeds, train

QUICK: dict[str, Any] = {
    "learning_starts": 4, "batch_size": 8, "update_interval": 2, "buffer_size": 60, "recurrent_size": 3,
    "hidden_sizes": (2,), "sequence_length": 4, "burn_in": 3,
}  # fmt: skip
NEVER = 10**6
kinds = pytest.mark.parametrize("kind", ["lstm", "gru"])


def make(space: Any = BOX, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any) -> Any:
    actions = spaces.Discrete(3, start=-1)
    return DRQN(space, actions, DRQN.Config(**{**QUICK, **settings}), num_envs=num_envs, seed=seed, device=device)


def still(**settings: Any) -> Any:
    """An agent that does not learn by itself, so that its stored states are those of its weights."""
    return make(learning_starts=NEVER, **settings)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Reference:
    """The network in float64, a step of one sequence at a time: its formulas, independent of the library's."""

    def __init__(self, network: Any, kind: str, flat: np.ndarray | None = None) -> None:
        self.kind, self.weights, start = kind, {}, 0
        flat = nn.parameters_to_vector(network).astype(np.float64) if flat is None else flat
        for name, parameter in network.named_parameters():
            self.weights[name] = flat[start : start + parameter.size].reshape(parameter.shape)
            start += parameter.size

    def start(self) -> list[np.ndarray]:
        return [np.zeros(3)] * (2 if self.kind == "lstm" else 1)

    def after(self, x: np.ndarray, state: list[np.ndarray]) -> list[np.ndarray]:
        cell, h = "memory.cells.0.", state[0]
        i = self.weights[f"{cell}weight_ih"] @ x + self.weights[f"{cell}bias_ih"]
        r = self.weights[f"{cell}weight_hh"] @ h + self.weights[f"{cell}bias_hh"]
        if self.kind == "gru":
            reset, update = sigmoid(i[:3] + r[:3]), sigmoid(i[3:6] + r[3:6])
            return [(1 - update) * np.tanh(i[6:] + reset * r[6:]) + update * h]
        a = i + r
        c = sigmoid(a[3:6]) * state[1] + sigmoid(a[:3]) * np.tanh(a[6:9])
        return [sigmoid(a[9:]) * np.tanh(c), c]

    def values(self, h: np.ndarray) -> np.ndarray:
        w = self.weights
        hidden = np.maximum(w["values.layers.0.weight"] @ h + w["values.layers.0.bias"], 0)
        return np.asarray(w["values.layers.2.weight"] @ hidden + w["values.layers.2.bias"])

    def unroll(self, observations: np.ndarray, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Q of each step, (T, actions), and the state after the last."""
        found = []
        for x in observations:
            state = self.after(x, state)
            found.append(self.values(state[0]))
        return np.array(found), state


def loss_of(agent: Any, s: Any, network: Reference, target: Reference) -> float:
    """L(θ) of sequences by its definition, a sequence and a step at a time."""
    c, terms = agent.config, []
    for i, steps in enumerate(s.lengths):
        begun = [part[0, i].astype(np.float64) for part in s.state] if s.state else network.start()
        before = s.before[: s.before_lengths[i], i] if s.before is not None else []
        own, other = (one.unroll(before, begun)[1] for one in (agent.before, target))
        values, following = (
            one.unroll(s.observation[: steps + 1, i], state)[0] for one, state in ((network, own), (target, other))
        )
        for t in range(steps):
            last, total, k = t, 0.0, 0
            while True:
                total += c.gamma**k * s.reward[last, i]
                k, last = k + 1, last + 1
                if k == c.n_step or last == steps:
                    break
            on = not s.terminated[last - 1, i]
            y = total + c.gamma**k * on * following[last].max()
            error = abs(values[t, s.action[t, i]] - y)
            terms.append(0.5 * error**2 if error <= 1 else error - 0.5)
    return float(np.mean(terms))


@pytest.mark.parametrize("kind", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "settings", [{}, {"initial_state": "zero", "burn_in": 0}, {"burn_in": 0, "n_step": 3}, {"n_step": 2}]
)
def test_the_loss_and_its_gradient_are_those_of_the_page(kind: str, settings: dict[str, Any]) -> None:
    """Finite differences through time, from the state after the burn-in, which is held."""
    agent = still(recurrent=kind, max_grad_norm=1e9, gamma=0.9, **settings)
    feed(agent, 25)
    rng = np.random.default_rng(0)
    agent.network.values.layers[2].weight.array[...] *= 100.0  # so that values, and their choice, are of some size
    for parameter in agent.target_network.parameters():
        parameter.array[...] = 0.5 * rng.normal(size=parameter.shape)
    c = agent.config
    s = agent.replay.sample(20, rng, c.sequence_length, c.burn_in)
    assert s.terminated.any() and s.truncated.any() and not s.mask.all()
    batch = agent.batch_of(s)
    flat, target = nn.parameters_to_vector(agent.network).astype(np.float64), Reference(agent.target_network, kind)
    agent.before = Reference(agent.network, kind)
    loss = lambda flat: loss_of(agent, s, Reference(agent.network, kind, flat), target)  # noqa: E731
    metrics = agent.gradient_step.gradient(batch)
    assert float(metrics["loss"]) == pytest.approx(loss(flat), rel=1e-4)
    found = np.zeros(len(flat))
    for i in range(len(flat)):
        shift = 1e-6 * (np.arange(len(flat)) == i)
        found[i] = (loss(flat + shift) - loss(flat - shift)) / 2e-6
    np.testing.assert_allclose(agent.optimizer.gradient, found, atol=1e-3 * np.abs(found).max())


@kinds
@pytest.mark.parametrize("settings", [{}, {"initial_state": "zero", "burn_in": 60}, {"burn_in": 0}, {"burn_in": 9}])
def test_burning_in_finds_the_state_of_the_same_weights(kind: str, settings: dict[str, Any]) -> None:
    """From the stored state any number of steps leads to the state stored later; from zeros the whole episode does."""
    agent = still(recurrent=kind, **settings)
    feed(agent, 25)
    kept = still(recurrent=kind)
    feed(kept, 25)
    c = agent.config
    s = agent.replay.sample(40, np.random.default_rng(0), c.sequence_length, c.burn_in)
    stored = kept.replay.gather(s.index, 1).state
    found = agent.state_before(agent.network, s)
    assert np.count_nonzero(stored[0]) > 30
    for part, expected in zip(found.values(), stored, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-6)


@kinds
def test_states_are_stored_as_they_were_acted_from_and_forgotten_where_an_episode_ends(kind: str) -> None:
    agent, rng = still(recurrent=kind), np.random.default_rng(1)
    reference, x = Reference(agent.network, kind), rng.normal(size=(2, 3)).astype(np.float32)
    states = [reference.start(), reference.start()]
    ends = {"terminated": 0, "truncated": 0, "invalid": 0}
    for _ in range(25):
        agent.act(x)
        place = 2 * agent.replay.head
        for i, state in enumerate(states):
            for array, part in zip(agent.replay._states, state, strict=True):
                np.testing.assert_allclose(array[place + i, 0], part, atol=1e-6)
        valid = rng.random(2) < 0.7
        terminated, truncated = (rng.random((2, 2)) < 0.2) & valid
        following = rng.normal(size=(2, 3)).astype(np.float32)
        agent.observe(following, np.ones(2), terminated, truncated & ~terminated, valid=valid)
        over = terminated | truncated | ~valid
        states = [reference.start() if over[i] else reference.after(x[i], states[i]) for i in range(2)]
        x = following
        ends["terminated"] += terminated.sum()
        ends["truncated"] += (truncated & ~terminated).sum()
        ends["invalid"] += (~valid).sum()
    assert all(ends.values())


def test_what_pads_a_sequence_changes_nothing() -> None:
    agent = still()
    feed(agent, 25)
    s = agent.replay.sample(16, np.random.default_rng(0), 12, 3)
    assert not s.mask.all()
    clean = agent.gradient_step.gradient(agent.batch_of(s))
    loss, gradient = float(clean["loss"]), agent.optimizer.gradient.copy()
    s.observation[1:][~s.mask & ~np.roll(s.mask, 1, 0)] = 7.0  # but the one that followed the last step
    s.reward[~s.mask], s.action[~s.mask] = 7.0, 2
    for i, steps in enumerate(s.before_lengths):
        s.before[steps:, i] = 7.0
    assert float(agent.gradient_step.gradient(agent.batch_of(s))["loss"]) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(agent.optimizer.gradient, gradient, atol=1e-6)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    steps = 8 if observation in ("image", "dict") else 30
    testing.check_agent(lambda: make(OBSERVATIONS[observation], device=device), steps=steps)


@kinds
@pytest.mark.parametrize(
    "settings",
    [
        {"initial_state": "zero", "burn_in": 0},
        {"initial_state": "zero", "hidden_sizes": ()},
        {"n_step": 3, "tau": 0.5, "target_update_interval": 1, "learning_rate_schedule": "linear", "total_steps": 60},
    ],
)
def test_the_protocol_is_kept_with_every_setting(device: str, kind: str, settings: dict[str, Any]) -> None:
    testing.check_agent(lambda: make(recurrent=kind, **settings, device=device), steps=20)


def test_only_the_newest_frame_of_stacked_images_is_stored() -> None:
    space = spaces.Box(0, 255, (4, 36, 36), np.uint8)
    agent = make(space, frame_stack=4, num_envs=1)
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 36, 36), np.uint8)
    for t in range(8):
        agent.act(image)
        newest = np.random.default_rng(t).integers(0, 256, (1, 1, 36, 36), np.uint8)
        following = np.concatenate([image[:, 1:], newest], 1)
        agent.observe(following, np.ones(1), np.zeros(1, bool), np.zeros(1, bool))
        image = following
    assert agent.num_updates > 0 and agent.replay.stores[0].rows.shape[2:] == (1, 36, 36)
    np.testing.assert_array_equal(agent.replay.gather(np.array([7]), 1).observation[1, 0], image[0])


@pytest.mark.parametrize("steps", [1, 13, 30])
@pytest.mark.parametrize("initial_state", ["stored", "zero"])
def test_a_saved_agent_goes_on_bit_for_bit(initial_state: str, steps: int, tmp_path: Path) -> None:
    agent = make(total_steps=200, initial_state=initial_state)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = DRQN.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 30, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


def test_an_evaluation_has_a_memory_of_its_own() -> None:
    one, other = make(), make()
    for agent in (one, other):
        feed(agent, 10)
    ones = np.ones((5, 3), np.float32)
    with pytest.raises(GraphError, match="expected `episode_start`"):
        one.act(ones, explore=False)
    one.act(ones, explore=False, episode_start=True)
    one.act(ones, explore=False, episode_start=np.arange(5) < 2)
    for agent in (one, other):
        feed(agent, 10, first=10)
    assert content(one) == content(other)


def test_it_goes_on_elsewhere_with_new_episodes() -> None:
    agent, fresh = still(), still()
    feed(agent, 9)
    agent.act(np.ones((2, 3), np.float32))
    agent.begin_elsewhere()
    for part, start in zip(agent.memory.state, fresh.memory.state, strict=True):
        np.testing.assert_array_equal(part, start)
    feed(agent, 4, first=20)
    s = agent.replay.gather(np.array([18, 19]), 3, 3)  # the first that were acted on elsewhere
    assert s.first[0].all() and not s.before_lengths.any() and agent.replay.ends[16:18].all()


def test_values_are_those_of_the_memory() -> None:
    agent, rng = still(), np.random.default_rng(0)
    reference, x = Reference(agent.network, "lstm"), rng.normal(size=(2, 4, 3)).astype(np.float32)
    before = content(agent)
    agent.act(x[0], explore=False, episode_start=True)
    found, single = agent.value(x[1], episode_start=False), agent.value(x[0, 0], episode_start=True)
    for i in range(4):
        values, _ = reference.unroll(x[:, i], reference.start())
        assert found[i] == pytest.approx(values[1].max(), abs=1e-6)
    assert single == pytest.approx(reference.unroll(x[:1, 0], reference.start())[0].max(), abs=1e-6)
    assert content(agent) == before


class Sums(nn.Module):
    """Q(h, ·) = a row of numbers times h, the sum of the observations' first entries so far."""

    def __init__(self, actions: int = 3) -> None:
        self.rows = nn.Parameter(np.array([1.0, 2.0, -1.0], np.float32)[:actions])

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return (np.zeros((1, batch, 1), np.float32),)

    def forward(self, observation: Any, state: Any, lengths: Any = None) -> Any:
        x = observation[..., :1]
        if lengths is not None:
            x = x * (np.arange(len(x))[:, None, None] < lengths[:, None])
        h = np.cumsum(np.concatenate([state[0], x]), axis=0)
        return h[1:] * self.rows, (h[-1:],)


def test_a_memory_of_ones_own_takes_the_place() -> None:
    agent = make(epsilon_start=0.0, epsilon_end=0.0)
    agent.network = Sums()
    x = np.array([[1.0, 0, 0], [-1.0, 0, 0]], np.float32)
    np.testing.assert_array_equal(agent.act(x), [0, 1])  # the largest of 1 2 -1 times 1, and times -1; numbers from -1
    agent.observe(-3 * x, np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
    np.testing.assert_array_equal(agent.act(-3 * x), [1, 0])  # times 1 - 3, and -1 + 3
    agent.observe(x, np.ones(2), np.array([True, False]), np.zeros(2, bool))
    np.testing.assert_array_equal(agent.act(x), [0, 0])  # times 1, as an episode began, and 2 - 1
    agent.observe(x, np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
    before = agent.network.rows.array.copy()
    feed(agent, 8)
    assert agent.num_updates > 0 and np.any(agent.network.rows.array != before)
    with pytest.raises(ConfigError, match=r"expected values of shape \(3, 3\)"):
        agent.network = Sums(2)


def test_what_it_does_not_serve_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="buffer_device"):
        DRQN.Config(buffer_device="device")
    for unknown in ("prioritized", "dueling", "noisy"):
        with pytest.raises(TypeError, match=unknown):
            DRQN.Config(**{unknown: True})


CHAIN: dict[str, Any] = {
    "steps": 6000, "num_envs": 8, "gamma": 0.9, "learning_rate": 5e-3, "learning_rate_schedule": "linear",
    "recurrent_size": 16, "sequence_length": 3, "burn_in": 2, "learning_starts": 200, "epsilon_steps": 3000,
    "target_update_interval": 1, "tau": 0.05, "buffer_size": 5000, "final_episodes": 100,
}  # fmt: skip


@over_seeds
@pytest.mark.parametrize("kind", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_the_first_observation_is_recalled(kind: str, seed: int) -> None:
    """Only it tells how the others of an episode are shifted; the right actions return 1."""
    assert train("drqn", "dbrrl/ChainHidden-v0", seed, recurrent=kind, **CHAIN).score == 1.0


@pytest.mark.slow
def test_without_a_memory_the_first_observation_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin whose state is zeros before each step, and a feed-forward DQN."""
    own = ("recurrent_size", "sequence_length", "burn_in")
    shared = {name: value for name, value in CHAIN.items() if name not in own}
    assert train("dqn", "dbrrl/ChainHidden-v0", 0, **shared).score < 0.8
    observe = DRQN.observe

    def forgetting(self: Any, *arguments: Any, **options: Any) -> None:
        observe(self, *arguments, **options)
        self.memory.advance(np.ones(self.num_envs, bool))

    monkeypatch.setattr(DRQN, "observe", forgetting)
    settings = {**CHAIN, "sequence_length": 1, "burn_in": 0, "initial_state": "zero"}
    assert train("drqn", "dbrrl/ChainHidden-v0", 0, **settings).score < 0.8


@pytest.mark.slow
@over_seeds
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_time_limit_is_no_end(n_step: int, seed: int) -> None:
    settings = {**CHAIN, "steps": 8000, "sequence_length": 6, "hidden_sizes": (16,), "activation": "tanh"}
    run = train("drqn", "dbrrl/Endless-v0", seed, n_step=n_step, **settings)
    agent: Any = run.agent
    values, _ = agent.network(np.zeros((1, 1, 1), np.float32), agent.network.initial_state(1))
    assert values.numpy().max() == pytest.approx(10.0, rel=0.02)


def test_states_are_stored_where_sequences_begin_with_them() -> None:
    assert type(make().replay) is EpisodicReplayBuffer
    assert [part.shape for part in make().replay._states] == [(62, 1, 3)] * 2
    assert make(initial_state="zero").replay._states == []


def hidden(agent: str, **settings: Any) -> float:
    """The score of a run on CartPole whose velocities are hidden."""
    quiet: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "eval_interval": 10**6}
    run = Experiment(agent, "dbrrl/CartPoleHidden-v0", seed=0, **quiet, **settings).run()
    assert run.scores[-1]["evaluation_episodes"] == 100 and run.scores[-1]["steps"] == 80_000
    return run.score


@pytest.mark.slow
def test_cartpole_is_solved_with_its_velocities_hidden() -> None:
    assert hidden("drqn") >= 450


@pytest.mark.slow
def test_without_a_memory_cartpole_stays_unsolved() -> None:
    """By DQN with the settings of the preset that it has in common."""
    shared = registry.preset("drqn", "CartPoleHidden-v0")
    for own in ("hidden_sizes", "sequence_length", "burn_in"):
        del shared[own]
    assert hidden("dqn", preset=False, **shared) < 450
