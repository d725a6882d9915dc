"""The protocol's base class: spaces, files, and Gymnasium's raw final observations."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents, checkpoint, testing
from dbrrl.autodiff.tensor import plain
from dbrrl.config import Config
from dbrrl.distributions import heads
from dbrrl.errors import ArgumentError, CheckpointError, ConfigError, EnvError, GraphError, SpaceError
from dbrrl.experiment import registry
from dbrrl.learning.agent import Agent as Base
from dbrrl.learning.agent import true_next_observation, valid_rows
from tests.experiment.odd import Odd
from tests.experiment.stub import OtherStub, Stub, StubConfig

BOX = gym.spaces.Box(-1, 1, (3,), np.float32)


def make() -> Stub:
    return Stub(BOX, gym.spaces.Discrete(2), StubConfig(learning_rate=0.1), num_envs=2, seed=3)


def test_the_stub_keeps_the_protocol() -> None:
    testing.check_agent(make)


def test_spaces_that_are_not_served_are_named() -> None:
    with pytest.raises(SpaceError, match=r"stub serves actions of the spaces Discrete, got MultiBinary\(2\)"):
        Stub(BOX, gym.spaces.MultiBinary(2))
    with pytest.raises(SpaceError, match="stub serves observations of the spaces Box, got Discrete"):
        Stub(gym.spaces.Discrete(2), gym.spaces.Discrete(2))


def test_a_saved_agent_comes_back_whole(tmp_path: Path) -> None:
    agent = make()
    agent.act(np.ones((2, 3), np.float32))
    agent.save(tmp_path / "x")
    back = Stub.load(tmp_path / "x")
    assert (back.observation_space, back.action_space) == (agent.observation_space, agent.action_space)
    assert (back.config, back.num_envs, back.seed, back.name) == (agent.config, 2, 3, "stub")
    assert checkpoint.encode(back.record(), kind="agent") == checkpoint.encode(agent.record(), kind="agent")


def test_another_agents_file_is_refused(tmp_path: Path) -> None:
    OtherStub(BOX, gym.spaces.Discrete(2)).save(tmp_path / "x")
    with pytest.raises(CheckpointError, match="holds the agent 'other', expected 'stub'"):
        Stub.load(tmp_path / "x")


@pytest.mark.parametrize(
    "damage",
    [
        {"config": {"learning_rate": -1}},
        {"config": {"unknown": 1}},
        {"config": None},
        {"spaces": {}},
        {"spaces": {"observation": 1, "action": 2}},
        {"num_envs": "many"},
        {"num_envs": -3},
        {"state": {}},
        {"state": {"weights": np.zeros((9, 9)), "noise": 1, "num_updates": 0, "generator": {}}},
    ],
)
def test_a_record_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, damage: dict) -> None:
    checkpoint.save(tmp_path / "x", make().record() | damage, kind="agent")
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        Stub.load(tmp_path / "x")
    assert "\n" not in str(caught.value)


def raw(*finals: Any) -> dict[str, Any]:
    """The entries that Gymnasium's SAME_STEP puts into `info`."""
    listed = np.empty(len(finals), dtype=object)
    for row, final in enumerate(finals):
        listed[row] = final
    mask = np.array([final is not None for final in finals])
    return {"final_obs": listed, "_final_obs": mask, "final_info": {}, "_final_info": mask}


def test_final_observations_of_gymnasium_are_put_where_an_episode_ended() -> None:
    given, no, second = np.zeros((2, 2)), np.zeros(2, bool), np.array([False, True])
    true = true_next_observation(given, raw(None, np.full(2, 7.0)), no, second)
    assert true.tolist() == [[0, 0], [7, 7]] and given.sum() == 0
    assert true_next_observation(given, {"other": 1}, no, second) is given
    nested = raw({"a": np.array([5.0])}, None)
    assert true_next_observation({"a": np.zeros((2, 1))}, nested, ~second, no)["a"].tolist() == [[5], [0]]
    batch = {"final_obs": {"a": np.full((2, 1), 3.0)}}
    assert true_next_observation({"a": np.zeros((2, 1))}, batch, no, second)["a"].tolist() == [[0], [3]]
    with pytest.warns(DeprecationWarning, match="pass terminated and truncated"):
        assert true_next_observation(given, raw(None, np.full(2, 7.0))).tolist() == [[0, 0], [7, 7]]


def test_a_key_of_the_environments_own_is_no_final_observation() -> None:
    given, no, yes = np.zeros((2, 2)), np.zeros(2, bool), np.ones(2, bool)
    own = raw(np.full(2, 9.0), np.full(2, 9.0))
    assert true_next_observation(given, own, no, no) is given  # its episode goes on
    one = np.zeros(2)
    assert true_next_observation(one, {"final_obs": np.full(2, 9.0)}, True, False) is one  # alone it resets nothing
    del own["final_info"]
    assert true_next_observation(given, own, yes, no, valid=yes) is given  # NEXT_STEP
    with pytest.raises(EnvError, match="without the 'final_info' that Gymnasium puts beside it"):
        true_next_observation(given, own, yes, no)
    for final in (np.full(3, 9.0), "goal"):
        with pytest.raises(EnvError, match=r"environment 1, .*final_obs.*: expected an observation of shape"):
            true_next_observation(given, raw(None, final), no, np.array([False, True]))
    with pytest.raises(EnvError, match=r"expected a dict with the key 'a', got ndarray"):
        true_next_observation({"a": given}, raw(None, np.zeros(2)), no, np.array([False, True]))


def test_the_same_from_gymnasiums_own_vector_environment() -> None:
    mode = gym.vector.AutoresetMode.SAME_STEP
    envs = gym.make_vec("CartPole-v1", 4, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    envs.reset(seed=0)
    ended = 0
    for _ in range(40):
        observation, _, terminated, truncated, info = envs.step(np.zeros(4, np.int64))
        true = true_next_observation(observation, info, terminated, truncated)
        ended += terminated.sum()
        # Past 12 degrees or 2.4 metres the pole has fallen; a fresh episode begins within 0.05 of the middle.
        assert (np.abs(true[terminated, 2]) > 0.2).all() and (np.abs(observation[terminated]) <= 0.05).all()
    assert ended > 4
    envs.close()


def test_rows_without_a_transition() -> None:
    assert valid_rows(None, 3).tolist() == [True] * 3
    assert valid_rows([True, False, True], 3).tolist() == [True, False, True]
    with pytest.warns(DeprecationWarning, match="not info, whose keys are the environment's"):
        assert valid_rows({"valid": [True, False, True]}, 3).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"config": {"learning_rate": 1}}, r"config: expected the Config of stub, got dict: write Stub\.Config"),
        ({"config": Config()}, r"config: expected the Config of stub, got dbrrl\.config\.settings\.Config"),
        ({"num_envs": 0}, "num_envs: expected a whole number of at least 1, got 0"),
        ({"num_envs": 2.5}, "num_envs: expected a whole number of at least 1, got 2.5"),
        ({"num_envs": "two"}, "num_envs: expected a whole number of at least 1, got 'two'"),
    ],
)
def test_wrong_arguments_are_said(options: dict, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        Stub(BOX, gym.spaces.Discrete(2), **options)


@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
def test_a_marker_in_info_is_not_read_and_said_so(name: str) -> None:
    kind = getattr(agents, name)
    agent = kind(BOX, gym.spaces.Discrete(2), num_envs=2)
    agent.act(np.ones((2, 3), np.float32))
    step = np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool)
    with pytest.warns(UserWarning, match=r"info\['valid'\] marks no rows, .* pass observe\(\.\.\., valid=\.\.\.\)"):
        agent.observe(*step, {"valid": np.array([True, False])})
    agent.act(np.ones((2, 3), np.float32))
    agent.observe(*step, {"valid": np.array([1.0, 0.0]), "_valid": np.ones(2, bool)})  # a key of the copies'
    steps = agent.steps if name != "A3C" else sum(agent.learner(i).steps for i in range(2))
    assert steps == 4


@pytest.mark.parametrize("name", ["PPO", "A3C", "DQN"])
def test_one_environments_own_keys_steer_nothing_in_a_loop_of_your_own(name: str) -> None:
    states = []
    for info in ({}, {"valid": False, "final_obs": np.full(3, 9.0, np.float32), "_final_obs": True, "final_info": 1}):
        kind = getattr(agents, name)
        settings = {"n_steps": 4} if name != "DQN" else {"learning_starts": 4, "batch_size": 4, "buffer_size": 16}
        agent = kind(BOX, gym.spaces.Discrete(2), kind.Config(**settings), seed=0)
        for t in range(12):
            agent.act(np.full(3, t / 12, np.float32))
            agent.observe(np.full(3, (t + 1) / 12, np.float32), 1.0, t % 5 == 4, t % 5 == 2, info)
        assert agent.num_updates > 0
        states.append(checkpoint.encode(agent.state_dict(), kind="agent"))
    assert states[0] == states[1]


class Historian(Stub):
    """Keeps plain lists, dicts, tuples and arrays, all changed in place; its state is what `saved_attributes` names."""

    saved_attributes = ("weights", "noise", "generator", "num_updates", "history", "seen", "counts", "last")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.history: list[Any] = [[0.0]]
        self.seen: dict[str, Any] = {"rewards": [], "more": {"n": [0]}}
        self.counts, self.last = np.zeros(2), (0, 0.0)

    def observe(self, next_observation: Any, reward: Any, *rest: Any, **more: Any) -> None:
        super().observe(next_observation, reward, *rest, **more)
        self.history[0].append(float(reward[0]))
        self.history.append([float(reward[1])])
        self.seen["rewards"].append(float(reward[0]))
        self.seen["more"]["n"][0] += 1
        self.counts += 1
        self.last = (self.last[0] + 1, hash(self.last) * 0.0)

    state_dict, load_state_dict = Base.state_dict, Base.load_state_dict


def historian() -> Historian:
    return Historian(BOX, gym.spaces.Discrete(2), num_envs=2, seed=3)


def test_a_state_does_not_follow_the_agent_that_gave_it_nor_the_one_that_took_it() -> None:
    agent, taker = historian(), historian()
    zeros, no = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    for _ in range(3):
        agent.act(zeros)
        agent.observe(zeros, np.ones(2), no, no)
    state = agent.state_dict()
    before = checkpoint.encode(state, kind="agent")
    taker.load_state_dict(state)
    for one in (agent, taker):
        one.act(zeros)
        one.observe(zeros, np.ones(2), no, no)
    assert checkpoint.encode(state, kind="agent") == before
    assert len(agent.history) == len(taker.history) == 5 and len(state["history"]) == 4
    assert taker.last == agent.last == (4, 0.0)  # a tuple again


def test_an_agent_with_lists_and_dicts_keeps_the_protocol(tmp_path: Path) -> None:
    testing.check_agent(historian)
    agent = historian()
    agent.save(tmp_path / "x")
    assert type(Historian.load(tmp_path / "x").last) is tuple


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            {"state_dict": lambda self: {**Base.state_dict(self), "history": self.history}},
            "went on changing after it was given out: history differs: give copies",
        ),
        (
            {"load_state_dict": lambda self, state: Base.load_state_dict(self, {**state, "history": [[0.0]]})},
            "loaded from its state differs: history differs",
        ),
        (
            {"saved_attributes": tuple(name for name in Historian.saved_attributes if name != "generator")},
            "went on otherwise: weights, noise differ: what changed on the way and is not in its state: generator$",
        ),
        (
            {
                "saved_attributes": tuple(name for name in Historian.saved_attributes if name != "counts"),
                "act": lambda self, x, explore=True: (Stub.act(self, x, False) + (explore and self.counts[0] > 50)) % 2,
            },
            "acted otherwise: what changed on the way and is not in its state: counts$",
        ),
        (
            {"act": lambda self, observation, explore=True: Stub.act(self, observation, True)[:0]},
            "act gave 0 actions for 2 observations",
        ),
        (
            {"observe": lambda self, observation, reward, terminated, truncated, info=None: None},
            r"observe takes no `valid`: write observe\(self, \.\.\., info=None, \*, valid=None\)",
        ),
        (
            {"act": lambda self, *rest, **more: self.counts.__iadd__(1) is None or Stub.act(self, *rest, **more)},
            r"act\(explore=False\) changed the agent: counts differs",
        ),
    ],
)
def test_the_check_names_what_is_wrong(broken: dict[str, Any], message: str) -> None:
    kind = type("Broken", (Historian,), broken)
    with pytest.raises(AssertionError, match=message):
        testing.check_agent(lambda: kind(BOX, gym.spaces.Discrete(2), num_envs=2, seed=3))


@pytest.mark.parametrize("name", sorted(agents.__all__))
@pytest.mark.parametrize("nested", [False, True])
def test_an_environment_may_use_one_array_for_its_observations_in_a_loop_of_your_own(name: str, nested: bool) -> None:
    kind, states = getattr(agents, name), []
    settings = {"n_steps": 4} if hasattr(kind.Config(), "n_steps") else {"learning_starts": 4, "batch_size": 4}
    for reuses in ("", "own"):
        continuous = gym.spaces.Discrete not in kind.action_spaces
        env = Odd(reuses=reuses, nested=nested, continuous=continuous)
        agent = kind(env.observation_space, env.action_space, kind.Config(**settings), seed=0)
        observation, _ = env.reset(seed=0)
        for _ in range(30):
            observation, reward, terminated, truncated, info = env.step(agent.act(observation))
            agent.observe(observation, reward, terminated, truncated, info)
            if terminated or truncated:
                observation, _ = env.reset()
        assert agent.num_updates > 0
        states.append(checkpoint.encode(agent.state_dict(), kind="agent"))
    assert states[0] == states[1]


def test_actions_of_a_box_of_integers_are_integers() -> None:
    whole = gym.spaces.Box(-2, 2, (2,), np.int64)
    testing.check_agent(lambda: agents.PPO(BOX, whole, agents.PPO.Config(n_steps=8, batch_size=8), num_envs=2, seed=0))


SPACES = [
    gym.spaces.Discrete(3, start=5),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiBinary(2),
    gym.spaces.Box(-1, 1, (2,), np.float32),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("name", ["ppo", "a2c", "a3c"])
def test_the_distribution_of_actions_is_the_one_that_is_acted_by(name: str, space: gym.Space[Any]) -> None:
    kind = registry.agent_class(name)
    agent: Any = kind(BOX, space, num_envs=2, seed=1)
    batch = np.random.default_rng(0).uniform(-1, 1, (400, 3)).astype(np.float32)
    policy = agent.action_distribution(batch)
    mode = agent.act(batch, explore=False)
    head = heads.head_for(space)
    np.testing.assert_allclose(head.to_action(policy.mode()), mode, atol=1e-6)
    before = agent.state_dict()
    assert np.allclose(agent.action_distribution(batch[0]).mode()[0], policy.mode()[0], atol=1e-6)
    assert np.asarray(plain(policy.entropy())).shape == (400,)
    assert checkpoint.same(agent.state_dict(), before)
    if isinstance(space, gym.spaces.Discrete):
        logits = plain(agent.network.policy(batch))
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.allclose(plain(policy.probs), expected, atol=1e-6)
        assert np.allclose(np.exp(plain(policy.log_prob(mode - 5))), expected.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("name", ["ppo", "a2c", "a3c"])
def test_the_value_is_that_of_the_network_for_normalized_observations(name: str) -> None:
    options = {} if name == "a3c" else {"normalize_observation": True}
    kind = registry.agent_class(name)
    agent: Any = kind(BOX, gym.spaces.Discrete(2), kind.Config(n_steps=4, **options), num_envs=2, seed=1)
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32)
    for _ in range(6):
        agent.act(batch)
        agent.observe(batch * 0.5, np.ones(2), np.zeros(2, bool), np.zeros(2, bool), valid=np.ones(2, bool))
    given = batch if name == "a3c" else agent.observation_norm(batch)
    values = agent.value(batch)
    assert np.allclose(values, plain(agent.network.value(given)), atol=1e-6) and values.shape == (2,)
    alone = agent.value(batch[1])
    assert isinstance(alone, float) and alone == pytest.approx(values[1], abs=1e-6)


def test_a_policy_with_a_memory_is_looked_at_without_remembering_it() -> None:
    agent = agents.PPO(BOX, gym.spaces.Discrete(2), agents.PPO.Config(recurrent="lstm", recurrent_size=4), seed=1)
    one, two = np.random.default_rng(0).uniform(-1, 1, (2, 1, 3)).astype(np.float32)
    agent.act(one, explore=False, episode_start=True)
    seen = [plain(agent.action_distribution(two, episode_start=False).probs) for _ in range(2)]
    assert np.array_equal(*seen) and agent.value(two, episode_start=False) == agent.value(two, episode_start=False)
    fresh = plain(agent.action_distribution(two, episode_start=True).probs)
    assert not np.array_equal(seen[0], fresh)
    outputs, value, _ = agent.network(two[None], agent.network.initial_state(1), None)
    assert np.allclose(np.log(fresh) - np.log(fresh)[:, :1], plain(outputs)[0] - plain(outputs)[0][:, :1], atol=1e-5)
    assert agent.value(two, episode_start=True) == pytest.approx(float(plain(value)[0, 0]), abs=1e-6)
    with pytest.raises(GraphError, match="an agent with a memory expected `episode_start`"):
        agent.value(two)


@pytest.mark.parametrize("name", ["dqn", "c51", "qr_dqn", "iqn", "rainbow"])
def test_the_value_of_a_q_network_is_that_of_its_greedy_action(name: str) -> None:
    agent: Any = registry.agent_class(name)(BOX, gym.spaces.Discrete(4), seed=1)
    batch = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    given = agent.preprocessor(batch)
    if name != "iqn":  # whose quantiles are drawn
        values = np.asarray(agent.action_values(given, noise=False))
        assert np.array_equal(agent.value(batch), values.max(axis=1))
        assert agent.value(batch[0]) == pytest.approx(agent.value(batch)[0], abs=1e-6)
        assert np.array_equal(values.argmax(axis=1), agent.act(batch, explore=False))
    assert agent.value(batch).shape == (20,)
    with pytest.raises(ArgumentError, match=f"{name} has no distribution of actions: it chooses an action without one"):
        agent.action_distribution(batch)


def test_an_agent_without_values_says_so_by_name() -> None:
    with pytest.raises(ArgumentError, match="stub estimates no value of an observation"):
        make().value(np.zeros(3, np.float32))
