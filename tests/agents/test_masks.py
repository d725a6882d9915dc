"""Agents with masked actions: only allowed ones are taken, bootstrapped from and learned about, exactly."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.agents import DQN, PPO
from dbrrl.backend.trees import mapped
from dbrrl.buffers import Batch
from dbrrl.envs import ActionMask
from dbrrl.errors import ArgumentError, EnvError, SpaceError
from dbrrl.learning.off_policy import OffPolicyAgent
from dbrrl.testing import check_agent
from tests import standin

from .masks import ALL, OFF_POLICY, ON_POLICY, SPACE, all_allowed, make, play, seen, spaces

over_all = pytest.mark.parametrize("name", ALL)
over_off_policy = pytest.mark.parametrize("name", OFF_POLICY)


@over_all
def test_only_allowed_actions_are_taken_and_learning_is_finite(name: str) -> None:
    agent = make(name)
    assert all_allowed(play_on(agent))
    assert agent.num_updates > 3 and all(np.isfinite(list(agent.statistics().values())))


def play_on(agent: Any) -> list[Any]:
    """Transitions of random masks, with ends after which nothing is allowed."""
    rng, taken = np.random.default_rng(0), []

    def draw(over: np.ndarray) -> dict[str, np.ndarray]:
        mask = (rng.random((2, 4)) < 0.4).astype(np.int8)
        mask[[0, 1], rng.integers(4, size=2)] = 1
        mask[over] = 0
        return {"observation": rng.normal(size=(2, 2)).astype(np.float32), "action_mask": mask}

    observation = draw(np.zeros(2, bool))
    for _ in range(60):
        action = agent.act(observation)
        taken.append((observation["action_mask"], np.array(action)))
        greedy = agent.act(observation, explore=False, **({"episode_start": True} if agent.recurrent else {}))
        taken.append((observation["action_mask"], np.array(greedy)))
        over = rng.random(2) < 0.2
        agent.observe(draw(over), rng.normal(size=2), over, np.zeros(2, bool))
        observation = draw(np.zeros(2, bool))
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name != "a3c"])
def test_on_a_gpu_only_allowed_actions_are_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    buffer = {"buffer_device": "device"} if name in ("dqn", "rainbow", "sac_discrete") else {}
    agent = make(name, device="cuda", **buffer)
    assert all_allowed(play_on(agent))
    assert agent.num_updates > 3 and all(np.isfinite(list(agent.statistics().values())))


@pytest.mark.parametrize("name", ON_POLICY)
def test_each_choice_of_a_multi_discrete_is_masked(name: str) -> None:
    env = gym.make("dbrrl/MaskedMultiDiscrete-v0")
    agent = make(name, env.observation_space, env.action_space)
    assert all_allowed(play(agent, "dbrrl/MaskedMultiDiscrete-v0"), two_choices=True)
    assert agent.num_updates


@over_all
def test_an_agent_with_masks_keeps_the_promises_of_the_protocol(name: str) -> None:
    check_agent(lambda: make(name), steps=20)


@over_all
def test_a_row_that_allows_nothing_is_an_error_with_its_environment(name: str) -> None:
    agent, observation = make(name, num_envs=3), seen(3, 1)
    observation["action_mask"][2] = 0
    with pytest.raises(EnvError, match="expected at least one of 4 actions to be allowed in environment 2, got none"):
        agent.act(observation)


def test_a_choice_of_which_nothing_is_allowed_is_named() -> None:
    env = gym.make("dbrrl/MaskedMultiDiscrete-v0")
    agent = make("ppo", env.observation_space, env.action_space)
    mask = np.array([[1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0]], np.int8)
    with pytest.raises(EnvError, match="at least one of 3 actions of choice 1 to be allowed in environment 1"):
        agent.act({"observation": np.zeros((2, 1), np.float32), "action_mask": mask})


@over_off_policy
def test_a_learner_from_replay_refuses_to_go_on_from_where_nothing_is_allowed(name: str) -> None:
    agent, flags = make(name), np.zeros((3, 2), bool)
    flags[1] = [True, False]
    agent.act(seen(2, 0))
    agent.observe(seen(2), np.zeros(2), np.ones(2, bool), flags[0])  # true ends
    agent.act(seen(2, 0))
    with pytest.raises(EnvError, match="environment 1"):
        agent.observe(seen(2), np.zeros(2), flags[1], ~flags[1])  # a time limit is none
    agent = make(name)
    agent.act(seen(2, 0))
    agent.observe(seen(2), np.zeros(2), flags[0], flags[0], valid=flags[0])  # no transitions


class Known(nn.Module):
    """Q(s, ·), quantiles or logits that are the same for every state."""

    def __init__(self, outputs: Any) -> None:
        self.table = nn.Parameter(np.asarray(outputs, np.float32))

    def forward(self, observation: Any, fractions: Any = None) -> Any:
        rows = len(observation["vector"])
        shape = (rows, *self.table.shape) if fractions is None else (rows, fractions.shape[-1], *self.table.shape)
        return F.broadcast_to(self.table, shape)


# Two states and four actions; in s' only actions 1 and 2 are allowed, and action 3 has the largest value by far.
VALUES = [1.0, 2.0, 3.0, 50.0]
REWARD, GAMMA = 0.5, 0.9
BY_HAND = REWARD + GAMMA * 3.0


def transitions(*allowed: int, over: bool = False) -> Batch:
    """Two transitions of action 1 into states that allow these actions."""
    following, before = seen(2, *allowed), seen(2, 0, 1)

    def given(x: Any) -> dict[str, Any]:
        return {"vector": x["observation"], "action_mask": x["action_mask"] != 0}

    return Batch(
        observation=given(before),
        action=np.array([1, 1]),
        reward=np.full(2, REWARD, np.float32),
        next_observation=given(following),
        discount=np.full(2, 0.0 if over else GAMMA, np.float32),
        target_tau=np.full((2, 3), 0.5, np.float32),
    )


def with_values(name: str) -> Any:
    """The agent whose network has VALUES everywhere."""
    agent = make(name, dueling=False, **({"value_min": 0.0, "value_max": 100.0, "atoms": 101} if atoms(name) else {}))
    table: Any = VALUES
    if atoms(name):  # all probability on one of the returns 0 ... 100
        table = np.where(np.arange(101) == np.array(VALUES)[:, None], 50.0, -50.0)
    elif name == "qr_dqn":
        table = np.repeat(np.array(VALUES)[:, None], 4, axis=1)
    agent.network = Known(table)
    agent.target_network.load_state_dict(agent.network.state_dict())
    return agent


def atoms(name: str) -> bool:
    return name in ("c51", "rainbow")


@pytest.mark.parametrize("name", ["dqn", "double_dqn", "c51", "qr_dqn", "iqn", "rainbow"])
def test_the_value_of_a_masked_action_is_no_target(name: str) -> None:
    agent = with_values(name)
    target = agent.target(transitions(1, 2))
    if atoms(name):
        target = target @ np.arange(101)
    np.testing.assert_allclose(np.reshape(target, (2, -1)), BY_HAND, rtol=1e-5)
    open_to_all = agent.target(transitions(0, 1, 2, 3))
    open_to_all = open_to_all @ np.arange(101) if atoms(name) else open_to_all
    np.testing.assert_allclose(np.reshape(open_to_all, (2, -1)), REWARD + GAMMA * 50.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["dqn", "double_dqn", "c51", "qr_dqn", "iqn", "rainbow"])
def test_after_a_true_end_that_allows_nothing_the_target_is_the_reward(name: str) -> None:
    target = with_values(name).target(transitions(over=True))
    if atoms(name):
        target = target @ np.arange(101)
    np.testing.assert_allclose(np.reshape(target, (2, -1)), REWARD, rtol=1e-5)


@pytest.mark.parametrize("name", ["dqn", "double_dqn", "c51", "qr_dqn", "iqn", "rainbow"])
def test_the_greedy_action_is_an_allowed_one(name: str) -> None:
    agent = with_values(name)
    assert agent.act(seen(2, 0, 2), explore=False).tolist() == [2, 2]
    assert agent.act(seen(2, 0, 3), explore=False).tolist() == [3, 3]


class KnownMemory(Known):
    """VALUES at each step of sequences, with a state of no use."""

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return (np.zeros((1, batch, 1), np.float32),)

    def forward(self, observation: Any, state: Any, lengths: Any = None) -> Any:  # type: ignore[override]
        return F.broadcast_to(self.table, (*observation["vector"].shape[:2], 4)), state


@pytest.mark.parametrize("over", [False, True])
def test_the_value_of_a_masked_action_is_no_target_in_a_sequence(over: bool) -> None:
    agent = make("drqn")
    agent.network = KnownMemory(VALUES)
    steps = [seen(2, 0, 3), seen(2, 0, 2), seen(2) if over else seen(2, 1, 2)]
    masks = np.stack([step["action_mask"] != 0 for step in steps])
    ends = np.array([[False, False], [over, over]])
    batch = Batch(
        observation={"vector": np.zeros((3, 2, 2), np.float32), "action_mask": masks},
        action=np.zeros((2, 2), np.int64),
        reward=np.full((2, 2), REWARD, np.float32),
        terminated=ends,
        boundary=np.array([[False, False], [True, True]]),
        target_state={"0": np.zeros((1, 2, 1), np.float32)},
    )
    gamma = agent.config.gamma
    by_hand = [[REWARD + gamma * 3.0] * 2, [REWARD + (0.0 if over else gamma * 3.0)] * 2]
    np.testing.assert_allclose(agent.target(batch), by_hand, rtol=1e-6)
    assert agent.act(seen(2, 0, 2), explore=False, episode_start=True).tolist() == [2, 2]
    assert agent.value(seen(2, 0, 1), episode_start=True).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("name", ["dqn", "c51", "iqn"])
def test_dueling_streams_learn_nothing_about_a_masked_action(name: str) -> None:
    agent = make(name, dueling=True, hidden_sizes=(64,))
    batch = transitions(1, 2).add(tau=np.full((2, 4), 0.5, np.float32), weight=None)
    agent.network.zero_grad()
    loss, _ = agent.loss(batch)
    loss.sum().backward()
    last = agent.network.advantage.layers[-1]
    for gradient in (last.weight.grad, last.bias.grad):  # of states that allow actions 0 and 1
        by_action = np.abs(gradient).reshape(4, -1)
        assert by_action[:2].max() > 0 and by_action[2:].max() == 0


@pytest.mark.parametrize("name", ["ppo", "a2c", "ppo_lstm", "sac_discrete"])
def test_a_policy_learns_nothing_about_an_action_that_is_always_masked(name: str) -> None:
    soft = name == "sac_discrete"
    agent = make(name) if soft else make(name, entropy_coef=0.1)
    last = agent.actor.advantage.layers[-1] if soft else agent.network.actor.layers[-1]
    before = [np.array(last.weight.array), np.array(last.bias.array)]
    rng = np.random.default_rng(0)
    while agent.num_updates < 8:
        agent.act(seen(2, 0, 2))
        agent.observe(seen(2, 0, 2), rng.normal(size=2), rng.random(2) < 0.2, np.zeros(2, bool))
    for now, then in zip((last.weight.array, last.bias.array), before, strict=True):
        assert (now[[1, 3]] == then[[1, 3]]).all() and (now[[0, 2]] != then[[0, 2]]).any()


def test_the_policy_of_a_batch_has_the_masks_of_its_rows() -> None:
    for name in ("ppo", "ppo_lstm"):
        agent, masks = make(name), []
        rng, update = np.random.default_rng(0), agent.update

        def look(rollout: Any, agent: Any = agent, update: Any = update, masks: Any = masks) -> Any:
            batch = rollout.batch(advantage=rollout.reward)
            flat = agent.rollout.observations[-1][:8].reshape(-1, 4)
            for part in (batch, batch[np.arange(len(batch))[::-1]] if not agent.recurrent else batch):
                policy, _ = agent.policy_and_value(part.observation)
                rows = flat if part is batch else flat[::-1]
                masks.append(((agent.policy(part.observation).probs.array == 0) == ~rows).all())
                masks.append(((policy.probs.array == 0) == ~rows).all())
            return update(rollout)

        agent.update = look
        for _ in range(16):
            mask = (rng.random((2, 4)) < 0.5).astype(np.int8)
            mask[:, 0] = 1
            agent.act({**seen(2), "action_mask": mask})
            agent.observe(seen(2, 0), np.zeros(2), rng.random(2) < 0.2, np.zeros(2, bool))
        assert len(masks) == 8 and all(masks)


@pytest.mark.parametrize("kind", [PPO, DQN])
def test_masks_that_an_agent_cannot_heed_are_refused_when_it_is_made(kind: Any) -> None:
    with pytest.raises(SpaceError, match=r"observation\['action_mask'\]: expected MultiBinary\(3\)"):
        kind(SPACE, spaces.Discrete(3))
    for actions in (spaces.Box(-1, 1, (4,)), spaces.MultiBinary(4)):
        with pytest.raises(SpaceError, match="expected Discrete or MultiDiscrete actions"):
            PPO(SPACE, actions)


def test_an_off_policy_agent_that_heeds_no_masks_refuses_them() -> None:
    class Own(OffPolicyAgent):
        Config = DQN.Config

        def make_networks(self, rng: Any) -> None:
            pass

        def update(self, batch: Any) -> dict[str, float]:
            return {}

    with pytest.raises(SpaceError, match="expected observations without masks of actions"):
        Own(SPACE, spaces.Discrete(4))
    without = spaces.Dict({"observation": SPACE["observation"], "mask": SPACE["action_mask"]})
    assert Own(without, spaces.Discrete(4)).preprocessor.vector_size == 6


def test_a_mask_in_info_that_the_agent_does_not_see_is_refused_with_the_wrapper() -> None:
    env = gym.make("dbrrl/MaskedInfo-v0")
    for kind in (PPO, DQN):
        agent = kind(env.observation_space, env.action_space)
        observation, _ = env.reset(seed=0)
        result = env.step(agent.act(observation))
        with pytest.raises(ArgumentError, match=r"dbrrl.envs.ActionMask\(env\)"):
            agent.observe(*result)
        wrapped = ActionMask(env)
        agent = kind(wrapped.observation_space, wrapped.action_space)
        observation, _ = wrapped.reset(seed=0)
        agent.observe(*wrapped.step(agent.act(observation)))


def test_one_environment_and_several_in_loops_of_ones_own() -> None:
    env = ActionMask(gym.make("dbrrl/MaskedInfo-v0"))
    agent = make("ppo", env.observation_space, num_envs=1)
    observation, _ = env.reset(seed=0)
    for _ in range(20):
        action = agent.act(observation)
        assert observation["action_mask"][action]
        observation, reward, terminated, truncated, info = env.step(action)
        agent.observe(observation, reward, terminated, truncated, info)
        if terminated or truncated:
            observation, _ = env.reset()
    several = make("dqn", env.observation_space, num_envs=3)
    assert all_allowed(play(several, "dbrrl/MaskedInfo-v0", wrappers=[ActionMask]))


def test_masks_go_with_images_through_stacks_and_networks() -> None:
    image = spaces.Box(0, 255, (4, 36, 36), np.uint8)
    space = spaces.Dict({"action_mask": spaces.Box(0, 1, (4,), np.int8), "observation": image})
    agent = make("dqn", space, frame_stack=4)
    rng, frames = np.random.default_rng(0), np.zeros((2, 4, 36, 36), np.uint8)

    def following() -> dict[str, Any]:
        frames[:] = np.roll(frames, -1, 1)
        frames[:, -1] = rng.integers(256, size=(2, 36, 36))
        mask = np.eye(4, dtype=np.int8)[rng.integers(4, size=2)]
        return {"observation": frames.copy(), "action_mask": mask}

    observation = following()
    for _ in range(20):
        action = agent.act(observation)
        assert (action == observation["action_mask"].argmax(1)).all()
        observation = following()
        agent.observe(observation, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    batch = agent.sample()
    assert batch.observation["action_mask"].dtype == bool and (batch.observation["action_mask"].sum(1) == 1).all()
    assert (batch.action == batch.observation["action_mask"].argmax(1)).all()
    assert mapped(lambda x: x.shape[0], batch.next_observation) == {"observation": 8, "action_mask": 8}
