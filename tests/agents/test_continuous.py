"""What the off-policy agents for continuous actions share: spaces, bounds, exploration, replay, their state."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, nn, testing
from dbrrl.agents import DDPG, SAC, TD3, TQC
from dbrrl.buffers import Batch, PrioritizedReplayBuffer
from dbrrl.errors import AnomalyError, ConfigError, SpaceError

spaces = gym.spaces
BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
OBSERVATIONS = {
    "box": BOX,
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "discrete": spaces.Discrete(4, start=1),
    "image": IMAGE,
    "dict": spaces.Dict({"seen": IMAGE, "felt": BOX, "where": spaces.Discrete(3)}),
}
ACTIONS = {
    "vector": spaces.Box(np.float32([-2.0, 0.0]), np.float32([2.0, 0.5])),
    "number": spaces.Box(-3.0, 1.0, (), np.float32),
    "matrix": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "integers": spaces.Box(-1, 3, (2,), np.int64),
}
QUICK: dict[str, Any] = {"learning_starts": 4, "batch_size": 8, "buffer_size": 40, "hidden_sizes": (8, 8)}
AGENTS = [TD3, DDPG, SAC, TQC]

over_agents = pytest.mark.parametrize("kind", AGENTS, ids=lambda kind: kind.__name__)
# Where a test has many cases: DDPG is TD3's parts, TQC is SAC's.
over_two_agents = pytest.mark.parametrize(
    "kind",
    [TD3, SAC, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (DDPG, TQC))],
    ids=lambda kind: kind.__name__,
)


def make(
    kind: Any, observations: Any = BOX, actions: Any = ACTIONS["vector"], *, num_envs: int = 2, seed: int = 0,
    device: str = "cpu", **settings: Any,
) -> Any:  # fmt: skip
    return kind(
        observations, actions, kind.Config(**{**QUICK, **settings}), num_envs=num_envs, seed=seed, device=device
    )


def feed(agent: Any, steps: int, *, first: int = 0) -> None:
    """Random transitions, always the same for the same `first`."""
    for t in range(first, first + steps):
        rng = np.random.default_rng(t)
        agent.act(rng.normal(size=(agent.num_envs, 3)).astype(np.float32))
        ends = rng.random((2, agent.num_envs)) < 0.1
        following = rng.normal(size=(agent.num_envs, 3)).astype(np.float32)
        agent.observe(following, rng.normal(size=agent.num_envs), ends[0], ends[1] & ~ends[0])


def content(agent: Any) -> bytes:
    """All of its state as bytes."""
    return checkpoint.encode(agent.state_dict(), kind="agent")


@over_two_agents
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(kind: Any, observation: str, device: str) -> None:
    steps = 6 if observation in ("image", "dict") else 12
    testing.check_agent(lambda: make(kind, OBSERVATIONS[observation], device=device), steps=steps)


@over_two_agents
@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_with_every_action(kind: Any, action: str, device: str) -> None:
    testing.check_agent(lambda: make(kind, actions=ACTIONS[action], device=device), steps=12)


@pytest.mark.slow
@over_two_agents
@pytest.mark.parametrize("noise", ["gaussian", "ornstein_uhlenbeck", "none"])
@pytest.mark.parametrize("prioritized", [False, True])
def test_noise_replay_and_returns_combine_freely(kind: Any, noise: str, prioritized: bool, device: str) -> None:
    settings = {"noise": noise, "prioritized": prioritized, "n_step": 3, "updates_per_interval": 2, "total_steps": 50}
    testing.check_agent(lambda: make(kind, **settings, device=device), steps=12)


@over_agents
@pytest.mark.parametrize(
    "space",
    [spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf]))],
)
def test_an_unbounded_box_is_refused_by_name(kind: Any, space: Any) -> None:
    name = kind.__name__.lower()
    with pytest.raises(SpaceError, match=rf"{name}: expected an action space Box with finite bounds, got .*inf\]"):
        make(kind, actions=space)


@over_agents
def test_other_actions_are_refused_by_name(kind: Any) -> None:
    with pytest.raises(SpaceError, match=f"{kind.__name__.lower()} serves actions of the spaces Box"):
        make(kind, actions=spaces.Discrete(3))


@over_agents
def test_the_start_is_uniform_over_the_bounds_and_computes_no_policy(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(kind, num_envs=500, learning_starts=2000, buffer_size=4000)

    def refuse(*_: Any) -> Any:
        raise AssertionError("the policy was asked")

    with monkeypatch.context() as patch:
        patch.setattr(type(agent.actor), "forward", refuse)
        actions = []
        for _ in range(4):
            actions.append(agent.act(np.zeros((500, 3), np.float32)))
            agent.observe(np.zeros((500, 3), np.float32), np.zeros(500), np.zeros(500, bool), np.zeros(500, bool))
            assert agent.num_updates == 0 or len(actions) == 4
            agent.num_updates, agent.update = 0, lambda batch: {}
    found = np.concatenate(actions)
    for entry, (low, high) in enumerate([(-2.0, 2.0), (0.0, 0.5)]):
        counts, _ = np.histogram(found[:, entry], np.linspace(low, high, 6))
        assert counts.sum() == 2000 and counts.min() > 330
    later = agent.act(np.zeros((500, 3), np.float32))
    assert np.abs(later - found[:500]).max() > 0 and later.std() < found.std()


@over_agents
def test_updates_per_step_are_as_many_as_the_settings_say(kind: Any) -> None:
    agent = make(kind, num_envs=3, learning_starts=6, updates_per_interval=2)
    feed(agent, 4)  # steps 3 6 9 12: updates after the last three
    assert agent.num_updates == 3 * 3 * 2
    agent = make(kind, num_envs=1, learning_starts=0, update_interval=3)
    feed(agent, 10)
    assert agent.num_updates == 3


@over_agents
def test_what_is_stored_are_the_actions_in_the_unit_box(kind: Any) -> None:
    agent = make(kind, actions=spaces.Box(np.float32([-2, 0]), np.float32([2, 0.5])))
    observation = np.zeros((2, 3), np.float32)
    action = agent.act(observation)
    agent.observe(observation, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    batch = agent.replay.sample(50, np.random.default_rng(0), 0.9)
    known = (action - [0, 0.25]) / [2, 0.25]
    for row in batch.action:
        assert np.isclose(row, known, atol=1e-6).all(1).any()


@over_agents
@pytest.mark.parametrize("noise", ["gaussian", "ornstein_uhlenbeck"])
def test_noise_has_its_deviation_around_the_policy(kind: Any, noise: str) -> None:
    agent = make(kind, num_envs=4000, learning_starts=0, noise=noise, noise_scale=0.05, buffer_size=4000, seed=1)
    agent.policy_actions = agent.act_greedily  # without what a stochastic policy draws
    observation = np.full((4000, 3), 0.1, np.float32)
    greedy = agent.act(observation, explore=False)
    away = (agent.act(observation) - greedy) / [2, 0.25]
    assert away.std() == pytest.approx(0.05, rel=0.03) and abs(away.mean()) < 0.003
    agent.training = False
    other = (agent.act(observation[:7]) - greedy[:7]) / [2, 0.25]  # any number of rows
    assert other.shape == (7, 2) and 0 < np.abs(other).max() < 0.5


@over_agents
def test_prioritized_replay_gets_the_mean_error_of_the_critics(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(PrioritizedReplayBuffer, "update_priorities", lambda self, i, error: seen.append((i, error)))
    agent = make(kind, prioritized=True)
    feed(agent, 3)
    index, error = seen[-1]
    assert len(seen) == agent.num_updates and index.shape == error.shape == (8,) and (error > 0).all()


@over_agents
def test_importance_weights_scale_the_gradient_of_the_critics(kind: Any) -> None:
    seen = []
    for scale in (1.0, 0.5):
        agent = make(kind, prioritized=True)
        feed(agent, 1)
        batch = agent.replay.sample(8, np.random.default_rng(0), 0.9)
        agent.update(batch.add(weight=np.full(8, scale, np.float32)))
        seen.append(agent.critic_optimizer.gradient.copy())
    np.testing.assert_allclose(seen[1], seen[0] / 2, rtol=1e-5, atol=1e-8)


@over_agents
def test_the_actors_step_leaves_the_critics_and_their_gradient_alone(kind: Any) -> None:
    agent = make(kind)
    feed(agent, 4)
    batch = agent.sample()
    noise = np.zeros((8, 2), np.float32)
    before, gradient = agent.critic_optimizer.values.copy(), agent.critic_optimizer.gradient.copy()
    actor = agent.actor_optimizer.values.copy()
    with nn.frozen(agent.critics):
        agent.actor_step(batch.add(noise=noise))
    np.testing.assert_array_equal(agent.critic_optimizer.values, before)
    np.testing.assert_array_equal(agent.critic_optimizer.gradient, gradient)
    assert np.any(agent.actor_optimizer.values != actor)
    assert all(p.requires_grad for p in agent.critics.parameters())


@over_agents
def test_a_batch_from_elsewhere_needs_no_environment(kind: Any) -> None:
    agent, rng = make(kind), np.random.default_rng(0)
    action = ACTIONS["vector"].low + rng.random((32, 2)) * (ACTIONS["vector"].high - ACTIONS["vector"].low)
    data = Batch(
        observation=rng.normal(size=(32, 3)).astype(np.float32),
        action=agent.head.from_action(action),
        reward=rng.normal(size=32).astype(np.float32),
        discount=np.full(32, 0.99, np.float32),
        next_observation=rng.normal(size=(32, 3)).astype(np.float32),
        index=np.arange(32),
        weight=None,
    )
    for batch in data.minibatches(8, rng):
        metrics = agent.update(batch)
    assert agent.num_updates == 4 and {"critic_loss", "actor_loss"} <= set(metrics)
    np.testing.assert_allclose(agent.head.to_action(data.action), action, rtol=1e-5, atol=1e-6)


@over_agents
def test_same_seed_same_bits_other_seed_others(kind: Any) -> None:
    one, same, other = (make(kind, seed=seed) for seed in (3, 3, 4))
    for agent in (one, same, other):
        feed(agent, 12)
    assert content(one) == content(same) != content(other)


@over_two_agents
@pytest.mark.parametrize("steps", [1, 5, 12])
@pytest.mark.parametrize("settings", [{}, {"noise": "ornstein_uhlenbeck", "prioritized": True, "n_step": 3}], ids=str)
def test_a_saved_agent_goes_on_bit_for_bit(kind: Any, settings: dict[str, Any], steps: int, tmp_path: Path) -> None:
    agent = make(kind, total_steps=200, learning_starts=8, **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = kind.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
    assert agent.statistics() == back.statistics()
    for one in (agent, back):
        feed(one, 15, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


@over_agents
def test_statistics_are_finite_numbers_of_every_step(kind: Any) -> None:
    agent = make(kind)
    assert agent.statistics() == {}
    feed(agent, 8)
    found = agent.statistics()
    assert {"critic_loss", "critic_error", "critic_value", "critic_grad_norm", "actor_loss"} <= set(found)
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())


@over_agents
def test_a_gradient_that_is_no_number_ends_the_run(kind: Any) -> None:
    agent = make(kind)
    feed(agent, 3)
    agent.replay.rewards[:] = np.nan
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match="reward: expected finite numbers, got nan"):
        agent.update(agent.sample())


@over_agents
@pytest.mark.parametrize("wrong", [{"gamma": 1.1}, {"tau": 0.0}, {"noise_scale": -1.0}, {"noise": "pink"}])
def test_settings_out_of_range_are_refused(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        kind.Config(**wrong)
